"""The demo's events in the forms that others take: wire items, batch bodies, rows of the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import msgspec
import numpy as np

from saytics_server.demo import story
from saytics_server.demo.dice import Dice
from saytics_server.demo.history import History, Moments, habits
from saytics_server.demo.population import Calendar, Visitors, make_accounts
from saytics_server.demo.render import Lines, Renderer
from saytics_server.event import SECRET, IdentifyRow, TrackRow, claims_of

WireItem = dict[str, Any]
# One entry of each list of Lines.
Line = tuple[str, str, str, int, str, str, str, str]

EVENTS_DEFAULT = 300_000
DAYS_DEFAULT = 90
# Enough to keep a server busy, few enough that a batch is answered in a blink.
BATCH_EVENTS = 1000
# Small blocks keep their text in the processor's cache and the memory flat.
_BLOCK_EVENTS = 8000
# A rehearsal with so many persons tells how many events a history has, to about 1 %.
_REHEARSAL_PERSONS = 40_000
_REHEARSAL_EVENTS_PER_SESSION = 4.0


@dataclass(frozen=True)
class DemoPlan:
    """How large a sample company, until when (`end_ms` is its present).

    `events` is met to about 1 % (small plans: 10 %). `persons` counts visitors, too; by default
    there are as many as make sessions of a plausible length. ValueError for what cannot be played.
    """

    end_ms: int
    seed: int = 1
    days: int = DAYS_DEFAULT
    events: int = EVENTS_DEFAULT
    persons: int | None = None

    def __post_init__(self) -> None:
        if self.days < 1 or self.events < 1 or self.person_count < 1:
            raise ValueError("days, events and persons must be at least 1")

    @property
    def person_count(self) -> int:
        """The number of persons, whether given or not."""
        if self.persons is not None:
            return self.persons
        # A visitor makes four events; who stays makes more, the longer the demo is.
        return max(1, int(self.events / (4 + self.days / 8)))


class _Company:
    """A plan's population, ready to be played."""

    def __init__(self, plan: DemoPlan) -> None:
        self._seed = plan.seed
        self._calendar = Calendar(plan.days, plan.end_ms)
        self._dice = Dice(plan.seed)
        before = int(plan.person_count * story.CUSTOMERS_BEFORE)
        self._visitors = Visitors(plan.person_count - before, self._calendar, self._dice)
        self._accounts = make_accounts(self._visitors, before, self._calendar, self._dice)

    def play(self, events_per_session: float) -> Iterator[Moments]:
        """Yield the company's moments in time order."""
        return History(
            self._visitors, self._accounts, self._calendar, self._dice, events_per_session
        ).play()

    def renderer(self) -> Renderer:
        """Return who puts this company's moments into words."""
        return Renderer(self._visitors, self._accounts, self._dice, self._seed)

    def busyness(self) -> float:
        """Return a number to which the events within sessions are proportional."""
        accounts, calendar = self._accounts, self._calendar
        since = np.maximum(accounts.sign_up_ms, calendar.start_ms)
        used_ms = np.maximum(np.minimum(accounts.leave_ms, calendar.end_ms) - since, 0)
        return float((used_ms * accounts.power * habits(accounts)).sum())


def _events_per_session(plan: DemoPlan, company: _Company) -> float:
    """Find by rehearsal how busy sessions must be for the plan's number of events.

    The number of events is a line over this: some happen anyway, the others in sessions. The
    rehearsal may have fewer persons. Then its few very busy ones are more or fewer than their
    share, which the company's busyness corrects.
    """
    persons = min(plan.person_count, _REHEARSAL_PERSONS)
    rehearsal = _Company(replace(plan, persons=persons))

    def count(events_per_session: float) -> int:
        return sum(len(moments.time_ms) for moments in rehearsal.play(events_per_session))

    anyway = count(0.0)
    each = (count(_REHEARSAL_EVENTS_PER_SESSION) - anyway) / _REHEARSAL_EVENTS_PER_SESSION
    each *= company.busyness() / max(rehearsal.busyness(), 1.0)
    anyway = anyway * plan.person_count // persons
    if plan.events < anyway * 0.9:
        raise ValueError(
            f"{plan.person_count:,} persons make at least {anyway:,} events in {plan.days} days; "
            "ask for more events or fewer persons"
        )
    return max(plan.events - anyway, 0) / max(each, 1.0)


def _lines(plan: DemoPlan, block_events: int) -> Iterator[Lines]:
    """Yield the plan's events in words, in time order, in blocks of about this size."""
    company = _Company(plan)
    renderer = company.renderer()
    for moments in company.play(_events_per_session(plan, company)):
        for start in range(0, len(moments.time_ms), block_events):
            yield renderer.lines(moments.chosen(slice(start, start + block_events)))


# --- wire -------------------------------------------------------------------------------------


def generate(plan: DemoPlan) -> Iterator[list[WireItem]]:
    """Yield the events as `POST /v1/events/batch` takes them, in time order and batches."""
    for texts in _wire_texts(plan):
        yield [msgspec.json.decode(text) for text in texts]


def run_demo(
    post: Callable[[bytes], object],
    plan: DemoPlan,
    on_progress: Callable[[int], object] = lambda sent: None,
) -> int:
    """Post the plan's events as batch bodies and return how many were sent.

    `post` takes a body and raises if it was not accepted; `on_progress` is told the number of
    events of each batch after it. With a secret key: the history is older than a write key may say.
    """
    sent = 0
    for texts in _wire_texts(plan):
        post(('{"events":[' + ",".join(texts) + "]}").encode())
        sent += len(texts)
        on_progress(len(texts))
    return sent


def _wire_texts(plan: DemoPlan) -> Iterator[list[str]]:
    waiting: list[str] = []
    for lines in _lines(plan, _BLOCK_EVENTS):
        waiting += map(_wire_text, zip(*lines, strict=True))
        while len(waiting) >= BATCH_EVENTS:
            yield waiting[:BATCH_EVENTS]
            waiting = waiting[BATCH_EVENTS:]
    if waiting:
        yield waiting


def _wire_text(line: Line) -> str:
    """Return one item of a batch. No name or id of the story needs escaping in JSON."""
    event, user_id, anonymous_id, _, timestamp, properties, context, message_id = line
    ids = f'"userId":"{user_id}",' if user_id else ""
    if anonymous_id:
        ids += f'"anonymousId":"{anonymous_id}",'
    when = f'"timestamp":"{timestamp}","messageId":"{message_id}"'
    if event:
        said = f'"properties":{properties},"context":{context}'
        return f'{{"event":"{event}",{ids}{when},{said}}}'
    return f'{{"type":"identify",{ids}{when},"traits":{properties}}}'


# --- log --------------------------------------------------------------------------------------


def generate_rows(
    plan: DemoPlan,
    *,
    workspace_id: int,
    claim_key: bytes,
    received_ms: int | None = None,
    block_events: int = _BLOCK_EVENTS,
) -> Iterator[list[TrackRow | IdentifyRow]]:
    """Yield the events as the rows that sending them with a secret key would put into the log.

    `received_ms` is the time of receipt; without it each block is received when its last event
    happens, so that months of history lie in the store as if they had come in day by day.
    """
    maker = _RowMaker(workspace_id, claim_key)
    for lines in _lines(plan, block_events):
        block_ms = received_ms or lines.timestamp_ms[-1]
        yield [
            maker.track(line, block_ms) if line[0] else maker.identify(line, block_ms)
            for line in zip(*lines, strict=True)
        ]


class _RowMaker:
    """Makes what event.normalise makes of the same item, without its checks (a test compares)."""

    def __init__(self, workspace_id: int, claim_key: bytes) -> None:
        self._workspace_id = workspace_id
        self._claims = claims_of(claim_key, workspace_id, SECRET)
        self._contexts = _EncodedTexts()

    def track(self, line: Line, received_ms: int) -> TrackRow:
        """Return the row of an event."""
        event, user_id, anonymous_id, time_ms, timestamp, properties, context, message_id = line
        properties_text = properties.encode()
        said = f"{event}\0{user_id}\0{anonymous_id}\0{timestamp}"
        digest = self._claims()
        digest.update(message_id.encode())
        return TrackRow(
            self._workspace_id,
            SECRET,
            received_ms,
            event,
            user_id,
            anonymous_id,
            time_ms,
            None,
            message_id,
            digest.digest(),
            crc32(properties_text, crc32(said.encode())),
            properties_text,
            self._contexts[context],
            b"",
            b"",
            True,
        )

    def identify(self, line: Line, received_ms: int) -> IdentifyRow:
        """Return the row of an identify call."""
        _, user_id, anonymous_id, time_ms, timestamp, traits, _, message_id = line
        traits_text = traits.encode()
        said = f"\0{user_id}\0{anonymous_id}\0{timestamp}"
        digest = self._claims()
        digest.update(message_id.encode())
        return IdentifyRow(
            self._workspace_id,
            SECRET,
            received_ms,
            user_id,
            anonymous_id,
            time_ms,
            message_id,
            digest.digest(),
            crc32(traits_text, crc32(said.encode())),
            traits_text,
            True,
        )


class _EncodedTexts(dict[str, bytes]):
    """UTF-8 of texts of which there are few, made once and shared by all rows that have them."""

    def __missing__(self, text: str) -> bytes:
        encoded = self[text] = text.encode()
        return encoded
