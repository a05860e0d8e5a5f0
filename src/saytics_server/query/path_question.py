"""Paths as they are asked for: the JSON document and the query string, checked and typed. Pure.

In comes what a client wrote; out goes a `PathsQuery`, or a refusal that names the field.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from saytics_server.query.document import ReportDocument, StepDocument, shared_fields
from saytics_server.query.filters import filters_of, selection_of
from saytics_server.query.model import Frame, Parameters, Range, Selection, invalid
from saytics_server.query.periods import HOUR_MS, LATEST_MS, parse_length, parse_range

PARAMETERS = (
    "start", "end", "from", "to", "depth", "filter", "window", "session", "collapse", "top",
    "exclude", "as_of",
)  # fmt: skip

# A picture of more columns than these does not fit a screen; twenty is what a funnel has, too.
DEPTH_DEFAULT, DEPTH_MAX = 5, 20
# Lines between two columns that an eye can follow, and that a table can list.
TOP_DEFAULT, TOP_MAX = 25, 200
SESSION_DEFAULT, SESSION_MAX = "30m", "24h"
WINDOW_MAX = "366d"
# How far from its anchor a path within a session goes: days without half an hour of rest are a
# machine's, and what is read beyond the range must end somewhere.
SESSION_REACH_MS = 24 * HOUR_MS
# One of these is a button pressed on many screens; more are a property, not a list of names.
NAMES_MAX = 50

# Longer than there can be between two events.
FOREVER_MS = 2**62


class Document(ReportDocument, frozen=True):
    """The JSON form of the question."""

    start: str | StepDocument | None = None
    end: str | StepDocument | None = None
    depth: int = DEPTH_DEFAULT
    window: str | None = None
    session: str | None = None
    collapse: bool = True
    top: int = TOP_DEFAULT
    exclude: list[str] = msgspec.field(default_factory=list)


class PathsQuery(msgspec.Struct, frozen=True):
    """The question, typed. The anchor is the start or end event; `gap_ms` ends a session."""

    frame: Frame
    selection: Selection
    span: Range
    anchor: Selection
    backward: bool
    depth: int
    gap_ms: int
    reach_ms: int
    collapse: bool
    top: int
    exclude: tuple[str, ...]

    @property
    def in_sessions(self) -> bool:
        """Return whether a path ends with its session; else with a window."""
        return self.gap_ms < FOREVER_MS

    @property
    def reading(self) -> Range:
        """Return the range with as much beside it as a path can reach."""
        if self.backward:
            return Range(max(self.span.from_ms - self.reach_ms, 0), self.span.to_ms)
        return Range(self.span.from_ms, min(self.span.to_ms + self.reach_ms, LATEST_MS))

    def shown_step(self, step: int) -> int:
        """Return the column of a step counted from the anchor: the anchor is first, or last."""
        return self.depth + 1 - step if self.backward else step


def document_of(parameters: Sequence[tuple[str, str]]) -> Document:
    """Return what decoded query parameters ask. Raises Refused("invalid_parameter")."""
    given = Parameters(parameters, PARAMETERS, repeatable=("filter", "exclude"))
    return Document(
        start=given.one("start"),
        end=given.one("end"),
        depth=given.whole_number("depth", DEPTH_DEFAULT, most=DEPTH_MAX),
        window=given.one("window"),
        session=given.one("session"),
        collapse=given.choice("collapse", ("true", "false"), "true") == "true",
        top=given.whole_number("top", TOP_DEFAULT, most=TOP_MAX),
        exclude=list(given.every("exclude")),
        **shared_fields(given),
    )


def question(document: Document, frame: Frame) -> PathsQuery:
    """Return the question, checked. Raises Refused("invalid_parameter")."""
    backward = document.start is None
    if backward == (document.end is None):
        raise invalid("start", "Paths have one of `start` and `end`, the name of an event.")
    at = "end" if backward else "start"
    anchor = _anchor(document.end if backward else document.start, at)
    if document.window is not None and document.session is not None:
        raise invalid("window", "Paths end with a session or with a window, not both.")
    if not 2 <= document.depth <= DEPTH_MAX:
        raise invalid("depth", f"`depth` is a whole number from 2 to {DEPTH_MAX}.")
    if not 1 <= document.top <= TOP_MAX:
        raise invalid("top", f"`top` is a whole number from 1 to {TOP_MAX}.")
    if len(document.exclude) > NAMES_MAX:
        raise invalid("exclude", f"`exclude` holds more than {NAMES_MAX} names.")
    if set(document.exclude) & set(anchor.events):
        raise invalid("exclude", f"`exclude` names the event of `{at}`.")
    gap_ms, reach_ms = FOREVER_MS, SESSION_REACH_MS
    if document.window is not None:
        reach_ms = parse_length(document.window, "window", WINDOW_MAX)
    else:
        gap_ms = parse_length(document.session or SESSION_DEFAULT, "session", SESSION_MAX)
    return PathsQuery(
        frame=frame,
        selection=Selection((), filters_of(document.filter)),
        span=parse_range(document.from_, document.to, frame),
        anchor=anchor,
        backward=backward,
        depth=document.depth,
        gap_ms=gap_ms,
        reach_ms=reach_ms,
        collapse=document.collapse,
        top=document.top,
        exclude=tuple(document.exclude),
    )


def _anchor(step: str | StepDocument | None, at: str) -> Selection:
    if step is None or isinstance(step, str):
        step = StepDocument(event=step)
    if (step.event is None) == (not step.events):
        raise invalid(at, f"`{at}` has a name, `event`, or alternatives, `events`.")
    return selection_of(step, at)
