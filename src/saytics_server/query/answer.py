"""What every report's answer has in common: labelled buckets, and the definition used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saytics_server.query.model import Frame, Range, Selection
from saytics_server.query.periods import Buckets, utc_text

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

PERSON_RULE = (
    "A person is a user with the anonymous ids linked to them, or an anonymous id without a link."
)
BUCKET_RULE = (
    "Buckets follow the workspace's calendar and count only what lies in the range; both ends of"
    " the range are included."
)


def series(buckets: Buckets, numbers: Sequence[Any], key: str, now_ms: int) -> list[dict[str, Any]]:
    """Return one object per bucket; those still running are marked."""
    return [
        {"date": label, key: number, **({"complete": False} if running else {})}
        for label, number, running in zip(
            buckets.labels, numbers, buckets.running(now_ms), strict=True
        )
    ]


def definition(frame: Frame, span: Range, selection: Selection, rules: list[str]) -> dict[str, Any]:
    """Return the rules an answer was computed by, in words, with calendar and range."""
    as_of = {} if frame.as_of_ms is None else {"as_of": utc_text(frame.as_of_ms)}
    return {
        **as_of,
        "timezone": frame.timezone,
        "week_start": _WEEKDAYS[frame.week_start],
        "range": {"from": utc_text(span.from_ms), "to": utc_text(span.to_ms)},
        "filters": len(selection.filters),
        "rules": rules,
    }
