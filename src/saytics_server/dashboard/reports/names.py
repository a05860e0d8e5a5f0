"""What a builder's fields suggest: the events, properties and values there really are.

Each answer is the entries of a list under a text field; `detail` says how many, or where from.
"""

from __future__ import annotations

from typing import Any

import msgspec

from saytics_server.dashboard import wording
from saytics_server.dashboard.reports.visit import Visit
from saytics_server.query import catalogue

# What a browser shows under a field without becoming slow.
SUGGESTIONS_MAX = 500


class Suggestion(msgspec.Struct, frozen=True):
    """One entry: what is taken, and what is said beside it."""

    value: str
    detail: str


class Suggestions(msgspec.Struct, frozen=True):
    """The entries of one list."""

    entries: list[Suggestion]


def events(visit: Visit) -> Suggestions:
    """Return the names of events, the most frequent first. Blocks."""
    query = catalogue.EventsQuery(visit.frame, _search(visit), SUGGESTIONS_MAX)
    found = catalogue.events(visit.context.store, query)
    return Suggestions(
        [
            Suggestion(row["event"], f"{row['count']:,} {wording.counted(row['count'], 'event')}")
            for row in found["data"]
        ]
    )


def properties(visit: Visit) -> Suggestions:
    """Return the properties, context and traits, and the saved cohorts. Blocks."""
    query = catalogue.PropertiesQuery(visit.frame, None, None, _search(visit), SUGGESTIONS_MAX)
    found = catalogue.properties(visit.context.store, query)
    entries = [
        Suggestion(row["property"], _detail(row["types"], row["samples"])) for row in found["data"]
    ]
    names = visit.cohort_names()
    if visit.request.query_params.get("for") == "breakdown":
        entries += [Suggestion(f"cohort={id_}", f"cohort: {name}") for id_, name in names.items()]
    elif names:
        entries.append(Suggestion("cohort", "a saved cohort"))
    return Suggestions(entries)


def _detail(types: list[str], samples: list[Any]) -> str:
    return " ".join([*types, *(f"\N{MIDDLE DOT} {_text(value)}" for value in samples[:2])])


def values(visit: Visit) -> Suggestions:
    """Return the values of the property that the address names. Blocks. Raises Refused."""
    name = visit.request.query_params.get("property", "")
    if name == "cohort":
        return Suggestions([Suggestion(*item) for item in visit.cohort_names().items()])
    if not name:
        return Suggestions([])
    query = catalogue.parse_values(
        [("property", name), ("search", _search(visit)), ("limit", "100")], visit.frame
    )
    found = catalogue.values(visit.context.store, query)
    return Suggestions([Suggestion(_text(value), "") for value in found["data"]])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _search(visit: Visit) -> str:
    return visit.request.query_params.get("search", "")[: catalogue.SEARCH_CHARACTERS_MAX]
