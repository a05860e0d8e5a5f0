"""A funnel as it is asked for: the JSON document and the query string, checked and typed. Pure.

In comes what a client wrote; out goes a `FunnelQuery`, or a refusal that names the field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import msgspec

from saytics_server.query.breakdown import (
    breakdown_fields,
    parse_breakdown,
    parse_limit,
)
from saytics_server.query.document import ReportDocument, StepDocument, shared_fields
from saytics_server.query.filters import filters_of, selection_of
from saytics_server.query.model import (
    Frame,
    Parameters,
    Range,
    Reference,
    Selection,
    choice,
    invalid,
)
from saytics_server.query.periods import (
    LATEST_MS,
    Buckets,
    buckets_of,
    parse_interval,
    parse_length,
    parse_range,
)

PARAMETERS = (
    "steps", "from", "to", "window", "order", "tie", "filter", "breakdown", "breakdown_limit",
    "attribution", "interval", "as_of",
)  # fmt: skip

STEPS_MIN, STEPS_MAX = 2, 20
# Each is one more look at every attempt; nobody has named more than three.
EXCLUSIONS_MAX = 10
WINDOW_DEFAULT = "14d"
# A longer window reads more than a year beyond the range.
WINDOW_MAX = "366d"

Order = Literal["ordered", "strict", "any"]
Tie = Literal["either", "strict"]
# A number is the place, from 0, of the step whose value counts.
Attribution = Literal["first", "last"] | int


class FunnelStepDocument(StepDocument, frozen=True):
    """A step: events of a name or of one of several, with filters; optional ones may be skipped."""

    optional: bool = False


class ExclusionDocument(StepDocument, frozen=True):
    """Events that end an attempt at `from_step` if they come before `to_step` (from 1)."""

    from_step: int
    to_step: int


class AttributionDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The step, from 1, whose event has the value that counts."""

    step: int


class Document(ReportDocument, frozen=True):
    """The JSON form of the question."""

    steps: list[str | FunnelStepDocument] = msgspec.field(default_factory=list)
    exclusions: list[ExclusionDocument] = msgspec.field(default_factory=list)
    window: str = WINDOW_DEFAULT
    order: str = "ordered"
    tie: str = "either"
    breakdown: str | None = None
    breakdown_limit: int | None = None
    attribution: str | AttributionDocument = "first"
    interval: str | None = None


class Step(msgspec.Struct, frozen=True):
    """One step; `label` is how answers name it."""

    selection: Selection
    optional: bool
    label: str


class Exclusion(msgspec.Struct, frozen=True):
    """What must not happen between two steps, named by their places from 0."""

    selection: Selection
    from_step: int
    to_step: int
    label: str


class FunnelQuery(msgspec.Struct, frozen=True):
    """The question, typed. `span` holds the attempts' starts, `reach` all that can matter."""

    frame: Frame
    selection: Selection
    span: Range
    reach: Range
    steps: tuple[Step, ...]
    exclusions: tuple[Exclusion, ...]
    window: str
    window_ms: int
    order: Order
    tie: Tie
    breakdown: Reference | None
    values_most: int
    attribution: Attribution
    buckets: Buckets | None

    @property
    def required(self) -> tuple[int, ...]:
        """Return the places, from 0, of the steps that may not be skipped."""
        return tuple(place for place, step in enumerate(self.steps) if not step.optional)


def document_of(parameters: Sequence[tuple[str, str]]) -> Document:
    """Return what decoded query parameters ask. Raises Refused("invalid_parameter")."""
    given = Parameters(parameters, PARAMETERS, repeatable=("steps", "filter"))
    attribution = given.one("attribution") or "first"
    return Document(
        steps=list(given.every("steps")),
        window=given.one("window") or WINDOW_DEFAULT,
        order=given.one("order") or "ordered",
        tie=given.one("tie") or "either",
        attribution=AttributionDocument(given.whole_number("attribution", 1, most=STEPS_MAX))
        if attribution.isdigit()
        else attribution,
        interval=given.one("interval"),
        **shared_fields(given),
        **breakdown_fields(given),
    )


def question(document: Document, frame: Frame) -> FunnelQuery:
    """Return the question, checked. Raises Refused("invalid_parameter" | "range_too_large")."""
    span = parse_range(document.from_, document.to, frame)
    window_ms = parse_length(document.window, "window", WINDOW_MAX)
    order = cast("Order", choice("order", document.order, ("ordered", "strict", "any")))
    tie = cast("Tie", choice("tie", document.tie, ("either", "strict")))
    if order == "any" and tie == "strict":
        raise invalid("tie", "With `order=any` no step comes before another: leave `tie` out.")
    steps = _steps(document, order)
    interval = None if document.interval is None else parse_interval(document.interval)
    return FunnelQuery(
        frame=frame,
        selection=Selection((), filters_of(document.filter)),
        span=span,
        reach=Range(span.from_ms, max(span.to_ms, min(span.to_ms + window_ms, LATEST_MS))),
        steps=steps,
        exclusions=_exclusions(document, steps, order),
        window=document.window,
        window_ms=window_ms,
        order=order,
        tie=tie,
        breakdown=parse_breakdown(document.breakdown),
        values_most=parse_limit(document.breakdown_limit),
        attribution=_attribution(document.attribution, len(steps)),
        buckets=None if interval is None else buckets_of(span, interval, frame),
    )


def _steps(document: Document, order: Order) -> tuple[Step, ...]:
    if not STEPS_MIN <= len(document.steps) <= STEPS_MAX:
        raise invalid("steps", f"A funnel has {STEPS_MIN} to {STEPS_MAX} steps.")
    steps = tuple(_step(step, f"steps[{place}]") for place, step in enumerate(document.steps))
    for place, step in enumerate(steps):
        at = f"steps[{place}].optional"
        if step.optional and place in (0, len(steps) - 1):
            raise invalid(at, "The first and the last step are not optional.")
        if step.optional and order != "ordered":
            raise invalid(at, "Only in `order=ordered` can a step be optional.")
    return steps


def _step(step: str | FunnelStepDocument, at: str) -> Step:
    if isinstance(step, str):
        if not step:
            raise invalid("steps", "A step is the name of an event.")
        return Step(Selection((step,)), optional=False, label=step)
    selection = selection_of(step, at)
    return Step(selection, step.optional, _label(selection))


def _label(selection: Selection) -> str:
    return " or ".join(selection.events) or "any event"


def _exclusions(document: Document, steps: tuple[Step, ...], order: Order) -> tuple[Exclusion, ...]:
    if len(document.exclusions) > EXCLUSIONS_MAX:
        raise invalid("exclusions", f"A funnel has at most {EXCLUSIONS_MAX} exclusions.")
    if document.exclusions and order == "any":
        raise invalid("exclusions", "With `order=any` nothing lies between two steps.")
    found = []
    for place, exclusion in enumerate(document.exclusions):
        at = f"exclusions[{place}]"
        for name, step in (("from_step", exclusion.from_step), ("to_step", exclusion.to_step)):
            if not 1 <= step <= len(steps) or steps[step - 1].optional:
                raise invalid(f"{at}.{name}", f"`{name}` is a step, from 1, that is not optional.")
        if exclusion.from_step >= exclusion.to_step:
            raise invalid(f"{at}.to_step", "`to_step` comes after `from_step`.")
        selection = selection_of(exclusion, at)
        found.append(
            Exclusion(selection, exclusion.from_step - 1, exclusion.to_step - 1, _label(selection))
        )
    return tuple(found)


def _attribution(asked: str | AttributionDocument, steps: int) -> Attribution:
    if isinstance(asked, AttributionDocument):
        if not 1 <= asked.step <= steps:
            raise invalid("attribution.step", f"`step` is from 1 to {steps}.")
        return asked.step - 1
    if asked not in ("first", "last"):
        raise invalid("attribution", "`attribution` is `first`, `last` or the number of a step.")
    return cast("Attribution", asked)
