"""Generated histories give the same numbers, persons and verdicts from the store as from the naive
oracle."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from fractions import Fraction
from random import Random
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from active_histories import BREAKDOWN_LIMIT, households
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import fresh_workspace_id, insert_history

from oracle import reports as oracle
from oracle.people import Households, Person, events_of, person_of
from oracle.reports import OTHER, Line, Question, Table
from oracle.values import holds, numbers, value_of
from saytics_server.event import event_id
from saytics_server.people import Person as ServerPerson
from saytics_server.query import reports
from saytics_server.query.model import Frame
from saytics_server.query.periods import utc_text
from saytics_server.query.reading import Reader
from saytics_server.sql import sql

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
# Every cell of a day by hour would take minutes; these are spread over all of them.
CELLS_ASKED = 6

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
TEXTS = ["", "pro", "Pro", "5", "5.0", "true", "null", "other", "ß😀", "2024-03-31", "a/b",
         "2024-03-31T01:30:00Z", "2024-03-31T03:30:00+02:00", "it's", "{x:String}"]  # fmt: skip
NUMBERS = [0, -0.0, 5, 5.0, -3, 0.1, 0.2, 49.99, 1e300, 2**53 + 1, 2**63, 2**64 - 1, -(2**63), 1e-9]
PATTERNS = ["pro", "^[Pp]ro$", "", "[0-9]{2}", "ß|t", "^.$", "x:S"]

scalars = st.one_of(
    st.sampled_from(TEXTS), st.sampled_from(NUMBERS), st.booleans(), st.none(),
    st.just({}), st.lists(st.sampled_from(["pro", "ß😀", ""]), max_size=2),
    # Not both: the store reads an array of numbers and booleans as one of numbers.
    st.lists(st.sampled_from([5, "5", 2.5]), max_size=3), st.lists(st.booleans(), max_size=3),
)  # fmt: skip
# A few keys more often, so that filters and breakdowns meet values.
keys = st.one_of(st.sampled_from(KEYS[:2]), st.sampled_from(KEYS))
inside = st.dictionaries(st.sampled_from(KEYS[:3]), scalars, max_size=2)
plans = st.one_of(st.sampled_from(["pro", "Pro", "a/b", 5, 5.0, "5"]), scalars)
properties = st.builds(
    lambda plan, others: {**plan, **others},
    st.fixed_dictionaries({"plan": plans}),
    st.dictionaries(keys, st.one_of(scalars, scalars, inside), max_size=3),
)
ids = st.sampled_from(["x", "y", "ü"])
anonymous_ids = st.sampled_from(["x", "anon", "ø"])


@st.composite
def histories(draw: st.DrawFn, from_ms: int, to_ms: int) -> Households:
    edges = [from_ms, from_ms - 1, to_ms, to_ms + 1, (from_ms + to_ms) // 2]
    length = to_ms - from_ms + 1
    times = st.one_of(
        st.integers(from_ms, to_ms),
        st.integers(from_ms, to_ms),
        st.sampled_from(edges),
        st.integers(from_ms - length, to_ms),
        st.integers(from_ms - 40 * DAY_MS, to_ms + 9 * DAY_MS),
    )
    shared = {
        "timestamp": times,
        "keyType": st.sampled_from(["secret", "write"]),
        "messageId": st.sampled_from(["", "m1", "m2"]),
    }
    tracks = st.fixed_dictionaries(
        {**shared, "event": st.sampled_from(["A", "B ü"]), "properties": properties,
         "context": properties},
    )  # fmt: skip
    who = st.one_of(
        st.fixed_dictionaries({"userId": ids}),
        st.fixed_dictionaries({"anonymousId": anonymous_ids}),
        st.fixed_dictionaries({"userId": ids, "anonymousId": anonymous_ids}),
    )
    tracks = st.builds(lambda event, whose: {**event, **whose}, tracks, who)
    identifies = st.fixed_dictionaries(
        {**shared, "type": st.just("identify"), "userId": ids, "traits": properties},
        optional={"anonymousId": anonymous_ids},
    )
    late = st.sampled_from([0, 0, DAY_MS, 20 * DAY_MS])
    # Left to itself the generator prefers histories of one event, which everything agrees on.
    kinds = st.one_of(tracks, tracks, tracks, tracks, identifies)
    items = draw(st.lists(kinds, min_size=6, max_size=14))
    drawn = [{**item, "receivedAt": item["timestamp"] + draw(late)} for item in items]
    random = Random(draw(st.integers(0, 2**32 - 1)))
    return households(random, lambda: _shuffled(random, drawn))


def _shuffled(random: Random, drawn: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return as many of the items, each at the times of another: cheaper than drawing more."""
    return [
        {**random.choice(drawn), **{name: at[name] for name in ("timestamp", "receivedAt")}}
        for at in random.choices(drawn, k=len(drawn))
    ]


paths = st.one_of(
    st.tuples(st.sampled_from(["properties", "context", "user"]), keys),
    st.tuples(
        st.sampled_from(["properties", "user"]), st.sampled_from(KEYS), st.sampled_from(KEYS[:3])
    ),
    st.tuples(st.just("field"), st.sampled_from(["event", "userId", "anonymousId"])),
)
# What every other history has a few values of.
PLAIN_PATHS = [("properties", "plan"), ("properties", "a.b"), ("user", "plan"), ("field", "userId"),
               ("field", "event")]  # fmt: skip
texts = st.one_of(st.sampled_from(TEXTS), st.sampled_from([json.dumps(n) for n in NUMBERS]))
conditions = st.one_of(
    st.tuples(
        paths,
        st.sampled_from(["=", "!=", ">", ">=", "<", "<=", "contains", "not_contains"]),
        texts,
    ),
    st.tuples(paths, st.just("matches"), st.sampled_from(PATTERNS)),
    st.tuples(paths, st.sampled_from(["in", "not_in"]), st.lists(texts, min_size=1, max_size=3)),
    st.tuples(paths, st.sampled_from(["is_set", "is_not_set"]), st.just("")),
)
filters = st.recursive(
    conditions,
    lambda parts: st.tuples(
        st.sampled_from(["and", "or"]), st.lists(parts, min_size=1, max_size=3)
    ),
    max_leaves=4,
)
numerals = st.sampled_from(["100", "0", "0.5", ".25"])


@st.composite
def formulas(draw: st.DrawFn, names: list[str]) -> str:
    terms = st.recursive(
        st.one_of(st.sampled_from(names), numerals),
        lambda inner: st.one_of(
            st.builds(lambda a, sign, b: f"{a} {sign} {b}", inner, st.sampled_from("+-*/"), inner),
            st.builds(lambda a: f"({a})", inner),
            st.builds(lambda a: f"-{a}", inner),
        ),
        max_leaves=5,
    )
    return draw(terms)


class Case(NamedTuple):
    """What is asked of one history: the series by name, the formulas, and as of when."""

    series: dict[str, Question]
    shared: list[Any]  # the filters of all series
    formulas: list[str]
    as_of_ms: int | None
    history: Households
    is_list: bool


@st.composite
def ranges(draw: st.DrawFn, zone: str, interval: str) -> tuple[int, int, int]:
    """Draw a range of instants, or one of whole local days, and what time it is."""
    middle = draw(st.sampled_from(ZONES[zone]))
    from_ms = middle + draw(st.integers(-3 * DAY_MS, 0))
    to_ms = middle + draw(st.integers(0, 3 * DAY_MS if interval != "month" else 40 * DAY_MS))
    if draw(st.booleans()):
        question = Question(zone, 0, 0, from_ms, to_ms, "day", None, [], "dau", None, None)
        days = oracle.period_of(question).rows
        from_ms, to_ms = days[0][1], days[-1][2] - 1
    return from_ms, to_ms, middle + draw(st.integers(-DAY_MS, 5 * DAY_MS))


@st.composite
def cases(draw: st.DrawFn, metrics: list[str], *, one: bool = False) -> Case:
    zone = draw(st.sampled_from(sorted(ZONES)))
    interval = draw(st.sampled_from(["hour", "day", "week", "month"]))
    from_ms, to_ms, now_ms = draw(ranges(zone, interval))
    # Most histories have nothing that fulfils two filters.
    shared_filters = draw(st.one_of(st.just([]), st.just([]), st.lists(filters, max_size=2)))
    names = ["A"] if one else ["A", "B", "C"][: draw(st.sampled_from([1, 1, 2, 3]))]
    # Values are cut where it is certain which are the largest: not by sums of doubles.
    few = draw(st.sampled_from([None, None, 1, 2]))
    metrics = [m for m in metrics if few is None or ":" not in m]
    shared = Question(
        timezone=zone,
        week_start=draw(st.integers(0, 6)),
        now_ms=now_ms,
        from_ms=from_ms,
        to_ms=to_ms,
        interval=interval,
        event=None,
        conditions=[],
        metric="",
        property=None,
        breakdown=draw(st.one_of(st.none(), st.sampled_from(PLAIN_PATHS), paths)),
        compare=draw(st.booleans()),
        cumulative=not one and draw(st.booleans()),
        limit=few or BREAKDOWN_LIMIT,
    )
    series = {}
    for name in names:
        metric, _, needs_property = draw(st.sampled_from(metrics)).partition(":")
        own = [] if one else draw(st.one_of(st.just([]), st.lists(filters, max_size=1)))
        series[name] = shared._replace(
            event=draw(st.sampled_from([None, None, "A"])),
            conditions=[*shared_filters, *own],
            metric=metric,
            property=("properties", draw(keys)) if needs_property else None,
        )
        if len(names) > 1 and draw(st.booleans()):
            series[name] = series[name]._replace(event=None, events=("A", "B ü"))
    as_of = st.integers(from_ms, to_ms + 9 * DAY_MS)
    return Case(
        series=series,
        shared=shared_filters,
        formulas=[] if one else draw(st.lists(formulas(names), max_size=2, unique=True)),
        as_of_ms=draw(st.one_of(st.none(), st.none(), as_of)),
        history=draw(histories(from_ms, to_ms)),
        is_list=len(names) > 1 or any(len(q.conditions) > len(shared_filters)
                                      for q in series.values()),
    )  # fmt: skip


# --- how it is written --------------------------------------------------------------------------


def written(path: tuple[str, ...]) -> str:
    """Return a path as a filter string names it."""
    source, *names = path
    if source == "field":
        return names[0]
    return ".".join([source, *("".join(_escaped(c) for c in name) for name in names)])


def _escaped(character: str) -> str:
    return "\\" + character if character in "=!><~.\\" else character


def filter_document(filter_: Any) -> Any:
    """Return a filter as a document writes it."""
    if len(filter_) == 2:
        return {filter_[0]: [filter_document(part) for part in filter_[1]]}
    path, operator, text = filter_
    if operator in ("=", ">", "<") and isinstance(text, str):
        return written(path) + operator + "".join(_escaped(c) for c in text)
    value = {} if operator in ("is_set", "is_not_set") else {"value": text}
    return {"property": written(path), "operator": operator, **value}


def _metric(question: Question) -> str:
    return question.metric + (":" + written(question.property) if question.property else "")


def document_of(case: Case, report: str) -> dict[str, Any]:
    """Return the question as a document."""
    first = next(iter(case.series.values()))
    document: dict[str, Any] = {
        "report": report,
        "from": utc_text(first.from_ms),
        "to": utc_text(first.to_ms),
        "interval": first.interval,
        "filter": [filter_document(f) for f in case.shared],
        "breakdown_limit": first.limit,
    }
    if first.breakdown is not None:
        document["breakdown"] = written(first.breakdown)
    if first.compare:
        document["compare"] = "previous_period"
    if case.as_of_ms is not None:
        document["as_of"] = utc_text(case.as_of_ms)
    if first.cumulative:
        document["cumulative"] = True
    if case.formulas:
        document["formulas"] = case.formulas
    if not case.is_list:
        named = {"event": first.event} if first.event else {}
        return {**document, **named, "metric": _metric(first)}
    document["series"] = [
        {
            "name": name,
            **({"event": one.event} if one.event else {}),
            **({"events": list(one.events)} if one.events else {}),
            "filter": [filter_document(f) for f in one.conditions[len(case.shared) :]],
            "metric": _metric(one),
        }
        for name, one in case.series.items()
    ]
    return document


# --- numbers ------------------------------------------------------------------------------------


def same(number: Any, want: Any) -> bool:
    """Return whether two numbers are equal; doubles may differ in their last digits."""
    if number is None or want is None:
        return number is want
    if isinstance(number, float) or isinstance(want, float):
        return math.isclose(float(number), float(want), rel_tol=1e-12)
    return Fraction(number) == Fraction(want)


def nearly(number: Any, want: Any) -> bool:
    """Return whether a formula's numbers agree: percentiles and means are doubles already, and
    what differences leave of their last digits is noise; beyond a double is null."""
    if want is not None and abs(want) > Fraction(10) ** 300:
        return number is None or abs(number) > 1e299
    if number is None or want is None:
        return number is want
    return math.isclose(float(number), float(want), rel_tol=1e-9, abs_tol=1e-6)


def tables_agree(answer: dict[str, Any], table: Table, key: str, agree: Any) -> None:
    """Assert that a table of the answer says what the oracle says."""
    labels = [(row["date"], row.get("complete", True)) for row in answer["data"]]
    assert labels == [(row.label, row.over) for row in table[:-1]]
    found = [row[key] for row in answer["data"]] + [answer["total"]]
    for number, row in zip(found, table, strict=True):
        assert agree(number, row.number), (found, [r.number for r in table])


def lines_agree(answer: dict[str, Any], line: Line, key: str, *, ordered: bool, agree: Any) -> None:
    both_agree(answer, (line.now, line.before), key, agree)
    if line.values is None:
        assert "breakdown" not in answer
        return
    values = [value_key(part) for part in answer["breakdown"]]
    wanted = [value for value in line.values if value != OTHER]
    wanted += [OTHER] if OTHER in line.values else []
    assert (values if ordered else sorted(values)) == (wanted if ordered else sorted(wanted))
    for part in answer["breakdown"]:
        both_agree(part, line.values[value_key(part)], key, agree)


def both_agree(answer: Any, tables: tuple[Table, Table | None], key: str, agree: Any) -> None:
    now, before = tables
    tables_agree(answer, now, key, agree)
    assert ("previous" in answer) == (before is not None)
    if before is not None:
        tables_agree(answer["previous"], before, key, agree)


def value_key(part: dict[str, Any]) -> str:
    return OTHER if part.get("other") else json.dumps(part["value"])


# --- persons and verdicts -----------------------------------------------------------------------


def cells_of(line: Line) -> Iterator[tuple[dict[str, Any], set[Person]]]:
    """Yield every cell of a line with the persons behind it."""
    values = {None: (line.now, line.before), **(line.values or {})}
    for value, tables in values.items():
        fields: dict[str, Any] = {}
        if value is not None:
            fields = {"value": OTHER, "other": True} if value == OTHER else named(value)
        for table, compared in zip(tables, ({}, {"compare": "previous_period"}), strict=True):
            for row in table or []:
                dated = {} if row.label is None else {"date": row.label}
                yield {**fields, **compared, **dated}, row.persons


def named(value: str) -> dict[str, Any]:
    return {"value": json.loads(value)}


def persons_agree(reader: Reader, asked: reports.Asked, line: Line, more: dict[str, Any]) -> None:
    """Assert that who is behind cells are those the oracle counts there."""
    every = list(cells_of(line))
    inhabited = [cell for cell in every if cell[1]]
    for cell, persons in [*spread(inhabited, CELLS_ASKED), *spread(every, 2)]:
        behind = asked.report.persons(reader, asked.question, {**cell, **more})
        rows = reader.rows(sql("SELECT person FROM ({behind})", behind=behind))
        assert sorted(row[0] for row in rows) == sorted(kind[0] + i for kind, i in persons), cell


def spread(cells: list[Any], most: int) -> list[Any]:
    """Return at most so many of the cells, evenly."""
    return cells[:: -(-len(cells) // most)] if cells else []


def explanations_agree(
    reader: Reader, asked: reports.Asked, case: Case, history: list[Any]
) -> None:
    """Assert that for somebody the events that count, and what others lack, are the oracle's."""
    ids_ = {id(item): event_id(place) for place, item in enumerate(case.history, start=1)}
    for person in somebody(history):
        verdict = asked.report.explain(reader, asked.question, ServerPerson(*person))
        for one, (name, question) in zip(verdict["series"], case.series.items(), strict=True):
            assert one["name"] == name
            own = [
                event
                for event in named_events(question, history)
                if person_of(event, history) == person
                and question.from_ms <= event["timestamp"] <= question.to_ms
            ]
            failed = {ids_[id(event)]: requirements_failed(question, event, history)
                      for event in own}  # fmt: skip
            listed = [event["id"] for row in one["data"] for event in row["events"]]
            assert sorted(listed) == sorted(i for i, count in failed.items() if not count)
            assert sum(row["counted"] for row in one["data"]) == one["counted"] == len(listed)
            misses = {miss["id"]: len(miss["failed"]) for miss in one["misses"]}
            assert misses == {i: count for i, count in failed.items() if count}
            assert one["missed"] == len(misses)


def named_events(question: Question, history: list[Any]) -> list[Any]:
    return oracle.matching_events(question._replace(conditions=[]), history)


def requirements_failed(question: Question, event: Any, history: list[Any]) -> int:
    held = [holds(c, event, history, ZoneInfo(question.timezone)) for c in question.conditions]
    if question.property is not None:
        held.append(bool(numbers([value_of(question.property, event, history)])))
    return held.count(False)


def somebody(history: list[Any]) -> list[Person]:
    """Return two of the persons with an event, or whom a link took out of the count."""
    found = {person_of(event, history) for event in events_of(history)}
    found |= {("anonymous", item["anonymousId"]) for item in history if item.get("anonymousId")}
    return sorted({min(found), max(found)}) if found else []


def asked_of(store: Any, case: Case, report: str) -> tuple[reports.Asked, Reader, list[Any]]:
    """Return the question put to a fresh workspace with the history, and what of it is known."""
    workspace = fresh_workspace_id()
    insert_history(store, workspace, case.history)
    first = next(iter(case.series.values()))
    frame = Frame(workspace, first.timezone, first.week_start, first.now_ms)
    asked = reports.asked_by_document(document_of(case, report), frame)
    known = case.history.only(
        lambda item: case.as_of_ms is None or item["receivedAt"] <= case.as_of_ms
    )
    return asked, Reader(store, asked.frame), known


def now_of(case: Case) -> int:
    now_ms = next(iter(case.series.values())).now_ms
    return now_ms if case.as_of_ms is None else min(now_ms, case.as_of_ms)


def trends_agree(store: Any, case: Case) -> None:
    asked, reader, history = asked_of(store, case, "events")
    answer = reports.answer(reader, asked)
    series = {name: one._replace(now_ms=now_of(case)) for name, one in case.series.items()}
    expected, formulas = oracle.trends(series, case.formulas, history)
    ordered = all(one.property is None for one in series.values())
    parts = answer["series"] if case.is_list else [{"name": "A", **answer}]
    assert [part["name"] for part in parts] == list(series)
    for part, (name, one) in zip(parts, series.items(), strict=True):
        key = "count" if one.metric in ("count", "users") else "value"
        lines_agree(part, expected[name], key, ordered=ordered, agree=same)
        persons_agree(reader, asked, expected[name], {"series": name} if case.is_list else {})
    assert [part["formula"] for part in answer.get("formulas", [])] == case.formulas
    for part in answer.get("formulas", []):
        lines_agree(part, formulas[part["formula"]], "value", ordered=ordered, agree=nearly)
    explanations_agree(reader, asked, case, history)


def active_users_agree(store: Any, case: Case) -> None:
    asked, reader, history = asked_of(store, case, "users")
    answer = reports.answer(reader, asked)
    question = case.series["A"]._replace(now_ms=now_of(case))
    line = oracle.active_users(question, history)["line"]
    lines_agree(answer, line, "count", ordered=True, agree=same)
    persons_agree(reader, asked, line, {})
    for person in somebody(history):
        verdict = asked.report.explain(reader, asked.question, ServerPerson(*person))
        active = {row["date"]: row["active"] for row in verdict["data"]}
        assert active == {row.label: person in row.persons for row in line.now[:-1]}
        assert verdict["counted"] == (person in line.now[-1].persons)


PROPERTY_METRICS = ["sum:p", "avg:p", "min:p", "max:p", "median:p", "p90:p", "p95:p", "p99:p"]
TREND_METRICS = ["count", "users", "users", "per_person", *PROPERTY_METRICS]
checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
# An example is half a dozen durable inserts and some dozen queries: half a second.
# The same examples every time: a run that lands or not must not depend on chance.
quick = settings(derandomize=True, max_examples=6, deadline=None, suppress_health_check=checks)
thorough = settings(derandomize=True, max_examples=30, deadline=None, suppress_health_check=checks)


@quick
@given(case=cases(TREND_METRICS))
def test_trends_count_as_the_oracle_does(store, case):
    """Every metric, filter, series, formula, breakdown and comparison gives the numbers of the
    naive definition, and behind each number are the persons counted in it."""
    trends_agree(store, case)


@quick
@given(case=cases(["dau", "wau", "mau"], one=True))
def test_active_users_count_as_the_oracle_does(store, case):
    """Day, trailing and calendar windows hold the persons of the naive definition."""
    active_users_agree(store, case)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@thorough
@given(case=cases(TREND_METRICS))
def test_trends_count_as_the_oracle_does_in_many_histories(store, case):
    """The numbers and persons stay those of the naive definition over many more histories."""
    trends_agree(store, case)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@thorough
@given(case=cases(["dau", "wau", "mau"], one=True))
def test_active_users_count_as_the_oracle_does_in_many_histories(store, case):
    """The numbers and persons stay those of the naive definition over many more histories."""
    active_users_agree(store, case)
