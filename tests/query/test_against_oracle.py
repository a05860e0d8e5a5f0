"""Generated histories give the same numbers from the store and from the naive oracle."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import fresh_workspace_id, insert_history

from oracle import reports
from oracle.reports import Question
from saytics_server.query import active_users, trends
from saytics_server.query.model import Frame
from saytics_server.query.periods import utc_text
from saytics_server.query.reading import Reader

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

# Around a change of the clock in each direction, and what a quarter of an hour can miss.
ZONES = {
    "UTC": [1704067200000, 1709164800000],  # a turn of the year; a 29th of February
    "Europe/Berlin": [1711846800000, 1729990800000],
    "America/New_York": [1710054000000, 1730613600000],
    "Australia/Lord_Howe": [1712417400000, 1728142200000],
    "Asia/Kolkata": [1704047400000],
    "America/Sao_Paulo": [1541300400000],  # midnight does not exist on this day
    "Pacific/Apia": [1325239200000],  # nor does the whole 30th of December 2011
    "Pacific/Chatham": [1712412000000],
}
KEYS = ["plan", "a.b", "q\"uo'te", "größe 😀", "$set", "100%", "", "a b", "back\\slash", "x!=y~<>"]
TEXTS = ["", "pro", "Pro", "5", "5.0", "true", "null", "other", "ß😀", "2024-03-31",
         "2024-03-31T01:30:00Z", "2024-03-31T03:30:00+02:00", "it's", "{x:String}"]  # fmt: skip
NUMBERS = [0, -0.0, 5, 5.0, -3, 0.1, 0.2, 49.99, 1e300, 2**53 + 1, 2**63, 2**64 - 1, -(2**63), 1e-9]

scalars = st.one_of(
    st.sampled_from(TEXTS), st.sampled_from(NUMBERS), st.booleans(), st.none(),
    st.just({}), st.lists(st.sampled_from(["pro", "ß😀", ""]), max_size=2),
    # Not both: the store reads an array of numbers and booleans as one of numbers.
    st.lists(st.sampled_from([5, "5", 2.5]), max_size=3), st.lists(st.booleans(), max_size=3),
)  # fmt: skip
properties = st.dictionaries(
    st.sampled_from(KEYS),
    st.one_of(scalars, st.dictionaries(st.sampled_from(KEYS[:3]), scalars, max_size=2)),
    max_size=4,
)
ids = st.sampled_from(["x", "y", "ü"])
anonymous_ids = st.sampled_from(["x", "anon", "ø"])


@st.composite
def histories(draw: st.DrawFn, around: list[int]) -> list[dict[str, Any]]:
    offsets = st.one_of(
        st.sampled_from([0, 1, -1, HOUR_MS, -HOUR_MS, HOUR_MS // 2, DAY_MS, -DAY_MS]),
        st.integers(-40 * DAY_MS, 9 * DAY_MS),
        st.integers(-2 * DAY_MS, 2 * DAY_MS),
    )
    times = st.builds(lambda base, offset: base + offset, st.sampled_from(around), offsets)
    shared = {
        "timestamp": times,
        "keyType": st.sampled_from(["secret", "write"]),
        "messageId": st.sampled_from(["", "m1", "m2"]),
    }
    tracks = st.fixed_dictionaries(
        {**shared, "event": st.sampled_from(["A", "B ü"]), "properties": properties,
         "context": properties},
        optional={"userId": ids, "anonymousId": anonymous_ids},
    ).map(lambda item: item if "userId" in item else {"anonymousId": "anon", **item})  # fmt: skip
    identifies = st.fixed_dictionaries(
        {**shared, "type": st.just("identify"), "userId": ids, "traits": properties},
        optional={"anonymousId": anonymous_ids},
    )
    return draw(st.lists(st.one_of(tracks, tracks, identifies), max_size=14))


paths = st.one_of(
    st.tuples(st.sampled_from(["properties", "context", "user"]), st.sampled_from(KEYS)),
    st.tuples(
        st.sampled_from(["properties", "user"]), st.sampled_from(KEYS), st.sampled_from(KEYS[:3])
    ),
    st.tuples(st.just("field"), st.sampled_from(["event", "userId", "anonymousId"])),
)
conditions = st.tuples(
    paths,
    st.sampled_from(["=", "!=", ">", ">=", "<", "<=", "~"]),
    st.one_of(st.sampled_from(TEXTS), st.sampled_from([json.dumps(n) for n in NUMBERS])),
)


@st.composite
def cases(draw: st.DrawFn, metrics: list[str]) -> tuple[Question, list[dict[str, Any]]]:
    zone = draw(st.sampled_from(sorted(ZONES)))
    around = ZONES[zone]
    history = draw(histories(around))
    interval = draw(st.sampled_from(["hour", "day", "week", "month"]))
    middle = draw(st.sampled_from(around))
    from_ms = middle + draw(st.integers(-3 * DAY_MS, 0))
    to_ms = middle + draw(st.integers(0, 3 * DAY_MS if interval != "month" else 40 * DAY_MS))
    metric, _, needs_property = draw(st.sampled_from(metrics)).partition(":")
    question = Question(
        timezone=zone,
        week_start=draw(st.integers(0, 6)),
        now_ms=middle + draw(st.integers(-DAY_MS, 5 * DAY_MS)),
        from_ms=from_ms,
        to_ms=to_ms,
        interval=interval,
        event=draw(st.sampled_from([None, None, "A"])),
        conditions=draw(st.lists(conditions, max_size=2)),
        metric=metric,
        property=("properties", draw(st.sampled_from(KEYS))) if needs_property else None,
        breakdown=draw(st.one_of(st.none(), paths)),
    )
    return question, history


def written(path: tuple[str, ...]) -> str:
    """Return a path as a filter string names it."""
    source, *keys = path
    if source == "field":
        return keys[0]
    return ".".join([source, *("".join(_escaped(c) for c in key) for key in keys)])


def _escaped(character: str) -> str:
    return "\\" + character if character in "=!><~.\\" else character


def parameters_of(question: Question) -> list[tuple[str, str]]:
    metric = question.metric
    if question.property is not None:
        metric += ":" + written(question.property)
    parameters = [
        ("from", utc_text(question.from_ms)),
        ("to", utc_text(question.to_ms)),
        ("interval", question.interval),
        ("metric", metric),
    ]
    parameters += [
        ("filter", written(path) + operator + "".join(_escaped(c) for c in text))
        for path, operator, text in question.conditions
    ]
    if question.event is not None:
        parameters.append(("event", question.event))
    if question.breakdown is not None:
        parameters.append(("breakdown", written(question.breakdown)))
    return parameters


def compared(answer: dict[str, Any], expected: dict[str, Any], key: str) -> None:
    """Assert that a table of the answer says what the oracle says."""
    labels = [(row["date"], row.get("complete", True)) for row in answer["data"]]
    assert labels == [(label, complete) for label, _, complete in expected["data"]]
    numbers = [row[key] for row in answer["data"]] + [answer["total"]]
    wanted = [number for _, number, _ in expected["data"]] + [expected["total"]]
    for number, want in zip(numbers, wanted, strict=True):
        assert same(number, want), (numbers, wanted)


def same(number: Any, want: Any) -> bool:
    """Return whether two numbers are equal; doubles may differ in their last digits."""
    if number is None or want is None:
        return number is want
    if isinstance(number, float) or isinstance(want, float):
        return math.isclose(float(number), float(want), rel_tol=1e-12)
    return Fraction(number) == Fraction(want)


def compare(report: Any, oracle: Any, store: Any, question: Question, history: list[Any]) -> None:
    workspace = fresh_workspace_id()
    insert_history(store, workspace, history)
    frame = Frame(workspace, question.timezone, question.week_start, question.now_ms)
    answer = report.run(Reader(store, frame), report.parse(parameters_of(question), frame))
    expected = oracle(question, history)
    key = "count" if question.metric in ("count", "users", "dau", "wau", "mau") else "value"
    compared(answer, expected, key)
    if question.breakdown is not None:
        values = {json.dumps(part["value"]): part for part in answer["breakdown"]}
        assert not any("other" in part for part in answer["breakdown"])
        assert set(values) == set(expected["breakdown"])
        for value, table in expected["breakdown"].items():
            compared(values[value], table, key)


PROPERTY_METRICS = ["sum:p", "avg:p", "min:p", "max:p", "median:p", "p90:p", "p95:p", "p99:p"]
TREND_METRICS = ["count", "users", "per_person", *PROPERTY_METRICS]
checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
# An example is half a dozen durable inserts and a few queries: a third of a second.
# The same examples every time: a run that lands or not must not depend on chance.
quick = settings(derandomize=True, max_examples=25, deadline=None, suppress_health_check=checks)
thorough = settings(derandomize=True, max_examples=300, deadline=None, suppress_health_check=checks)


@quick
@given(case=cases(TREND_METRICS))
def test_trends_count_as_the_oracle_does(store, case):
    """Every metric, interval, filter and breakdown gives the numbers of the naive definition."""
    compare(trends, reports.trends, store, *case)


@quick
@given(case=cases(["dau", "wau", "mau"]))
def test_active_users_count_as_the_oracle_does(store, case):
    """Day, trailing and calendar windows hold the persons of the naive definition."""
    compare(active_users, reports.active_users, store, *case)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@thorough
@given(case=cases(TREND_METRICS))
def test_trends_count_as_the_oracle_does_in_many_histories(store, case):
    """The numbers stay those of the naive definition over hundreds of histories."""
    compare(trends, reports.trends, store, *case)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@thorough
@given(case=cases(["dau", "wau", "mau"]))
def test_active_users_count_as_the_oracle_does_in_many_histories(store, case):
    """The numbers stay those of the naive definition over hundreds of histories."""
    compare(active_users, reports.active_users, store, *case)
