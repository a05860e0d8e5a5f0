"""What an answer means for the counts and for `on_error`. Pure."""

from __future__ import annotations

from typing import Any

from saytics.answer import Accepted, Refused, TooLarge
from saytics.batch import Batch
from saytics.errors import SayticsError
from saytics.ledger import Ledger

Loss = tuple[SayticsError, list[dict[str, Any]]]


def ending(batch: Batch, reaction: Accepted | Refused | TooLarge) -> tuple[Ledger, list[Loss]]:
    """Return how a batch's events have ended, and what is to be reported of them."""
    match reaction:
        case Accepted(delivered, duplicates, rejected):
            ends = Ledger(delivered=delivered, duplicate=duplicates, rejected=len(rejected))
            return ends, [(error, [batch.event(index)]) for index, error in rejected.items()]
        case Refused(error, reasons) if reasons:
            losses = [
                (reasons.get(index, error), [event]) for index, event in enumerate(batch.events())
            ]
            return Ledger(rejected=len(batch)), losses
        case _:
            return Ledger(rejected=len(batch)), [(reaction.error, batch.events())]
