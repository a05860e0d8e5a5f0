"""The operations of reports, catalogue, cohorts and links: short GET forms, and JSON documents.

The schemas of the documents are made from the structs that read them, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from saytics_server.openapi.refusals import KEPT_HEADERS, READ_CODES, Json, as_json, ref, refusals
from saytics_server.query import activity, catalogue, funnel_question, path_question, retention
from saytics_server.query.cohorts import CohortDocument
from saytics_server.query.model import INTERVALS
from saytics_server.query.reports import REPORTS, ExplainDocument, PersonsDocument

_READERS: list[Json] = [{"secretKey": []}]
_REFERENCES = "#/components/schemas/{name}"
_TEXT: Json = {"type": "string"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_OBJECTS: Json = {"type": "array", "items": {"type": "object"}}
_DEFINITION = ref("Definition")
_ANY: Json = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"const": "ok"}},
}
_PERSON: Json = {
    "type": "object",
    "required": ["type", "id"],
    "properties": {"type": {"enum": ["user", "anonymous"]}, "id": _TEXT},
}
_PAGE: Json = {
    "type": "object",
    "required": ["status", "count", "persons", "next_cursor"],
    "properties": {
        "status": {"const": "ok"},
        "count": _COUNT,
        "persons": {"type": "array", "items": _PERSON},
        "next_cursor": {"type": ["string", "null"]},
    },
}


def paths() -> Json:
    """Return the operations by address."""
    return {
        **{address: {"get": operation} for address, operation in _reports().items()},
        "/v1/reports/query": {"post": _query()},
        "/v1/reports/persons": {"post": _persons()},
        "/v1/reports/explain": {"post": _explain()},
        **{address: {"get": operation} for address, operation in _catalogue().items()},
        **_cohorts(),
        **_links(),
    }


def document_schemas() -> Json:
    """Return the schemas of the JSON documents by name."""
    schemas: Json = {}
    for name, report in REPORTS.items():
        (shape,), parts = msgspec.json.schema_components(
            [report.Document], ref_template=_REFERENCES
        )
        own = shape["$ref"].rsplit("/", 1)[1]
        question = dict(parts.pop(own))
        question["properties"] = {"report": {"const": name}, **question["properties"]}
        question["required"] = ["report", *question.get("required", ())]
        schemas |= parts
        schemas[_document_name(name)] = question
    _, parts = msgspec.json.schema_components(
        [PersonsDocument, ExplainDocument, CohortDocument], ref_template=_REFERENCES
    )
    for name in ("PersonsDocument", "ExplainDocument"):
        parts[name]["properties"]["query"] = _any_document()
    parts["SavedCohort"] = {
        "type": "object",
        "required": ["name", "definition"],
        "additionalProperties": False,
        "properties": {"name": _TEXT, "definition": ref("CohortDocument")},
    }
    return {**schemas, **parts}


def _document_name(report: str) -> str:
    return f"{report.capitalize()}Query"


def _any_document() -> Json:
    return {"oneOf": [ref(_document_name(name)) for name in REPORTS]}


def _reports() -> dict[str, Json]:
    return {
        "/v1/reports/funnels": _get(
            "reportFunnels",
            "How many persons come how far through a sequence of steps",
            funnel_question.PARAMETERS,
            _answer("steps", "conversion", "median_time_s"),
            "missing_parameter",
        ),
        "/v1/reports/retention": _get(
            "reportRetention",
            "Who comes back, by when they began",
            retention.PARAMETERS,
            _answer("cohorts", "overall"),
        ),
        "/v1/reports/lifecycle": _get(
            "reportLifecycle",
            "New, returning, resurrecting and dormant persons",
            activity.PARAMETERS,
            _answer("event", "interval", "data"),
        ),
        "/v1/reports/stickiness": _get(
            "reportStickiness",
            "On how many intervals persons are active, and DAU over MAU",
            activity.PARAMETERS,
            _answer("event", "interval", "data", "dau_mau"),
        ),
        "/v1/reports/paths": _get(
            "reportPaths",
            "What persons do after an event, or on the way to it",
            path_question.PARAMETERS,
            _answer("nodes", "edges", "total"),
        ),
    }


def _catalogue() -> dict[str, Json]:
    listed: Json = {
        "type": "object",
        "required": ["status", "data", "more"],
        "properties": {
            "status": {"const": "ok"},
            "data": {"type": "array"},
            "more": {"type": "boolean"},
        },
    }
    return {
        "/v1/catalogue/events": _get(
            "listEventNames", "Event names with counts", ("search", "limit"), listed
        ),
        "/v1/catalogue/properties": _get(
            "listProperties",
            "Properties, context and traits with types and samples",
            ("event", "source", "search", "limit"),
            listed,
        ),
        "/v1/catalogue/values": _get(
            "listValues",
            "Values of a property, most frequent first",
            ("property", "event", "search", "limit"),
            listed,
        ),
    }


def _cohorts() -> Json:
    cohort: Json = {
        "type": "object",
        "required": ["id", "name", "created_at", "updated_at"],
        "properties": dict.fromkeys(("id", "name", "created_at", "updated_at"), _TEXT),
    }
    one: Json = {
        "type": "object",
        "required": ["status", "cohort"],
        "properties": {"status": {"const": "ok"}, "cohort": cohort},
    }
    many: Json = {
        "type": "object",
        "required": ["status", "data"],
        "properties": {"status": {"const": "ok"}, "data": {"type": "array", "items": cohort}},
    }
    saved = ref("SavedCohort")
    example = {"name": "Big spenders", "definition": {"traits": ["user.plan=pro"]}}
    by_id: Json = {
        "name": "cohort_id",
        "in": "path",
        "required": True,
        "schema": _TEXT,
        "description": "The cohort's id.",
    }
    known = ("not_found", "invalid_parameter")
    return {
        "/v1/cohorts": {
            "get": _get("listCohorts", "Saved cohorts", (), many),
            "post": _post("createCohort", "Save a cohort", saved, example, one),
        },
        "/v1/cohorts/{cohort_id}": {
            "get": _at(by_id, _get("getCohort", "One cohort", (), one), *known),
            "put": _at(
                by_id, _post("replaceCohort", "Change a cohort", saved, example, one), *known
            ),
            "delete": _at(by_id, _get("deleteCohort", "Delete a cohort", (), _ANY), *known),
        },
        "/v1/cohorts/{cohort_id}/persons": {
            "get": _at(
                by_id,
                _get("listCohortPersons", "Who is in a cohort now", ("limit", "cursor"), _PAGE),
                *known,
            )
        },
    }


def _links() -> Json:
    listed: Json = {
        "type": "object",
        "required": ["status", "data", "next_cursor"],
        "properties": {
            "status": {"const": "ok"},
            "data": _OBJECTS,
            "next_cursor": {"type": ["string", "null"]},
        },
    }
    user_id: Json = {
        "name": "id",
        "in": "path",
        "required": True,
        "schema": _TEXT,
        "description": "The userId, percent-encoded.",
    }
    undo: Json = {
        "type": "object",
        "required": ["anonymousId", "userId"],
        "additionalProperties": False,
        "properties": {
            "anonymousId": {"type": "string", "minLength": 1, "maxLength": 256},
            "userId": {"type": "string", "minLength": 1, "maxLength": 256},
        },
    }
    undoing = _post(
        "undoLink",
        "Undo every link between two ids",
        undo,
        {"anonymousId": "visitor_9", "userId": "user_456"},
        _ANY,
    )
    late = ("overloaded", "storage_full", "clock_invalid")
    undoing["responses"] = {
        **undoing["responses"],
        **refusals(*READ_CODES, "invalid_parameter", "invalid_json", "body_too_large", *late),
    }
    cursor = ("invalid_cursor", "invalid_parameter", "missing_parameter")
    page = ("limit", "cursor")
    return {
        "/v1/links": {
            "get": _with_codes(
                _get("listLinks", "Links of an id", ("userId", "anonymousId", *page), listed),
                *cursor,
            )
        },
        "/v1/users/{id}/links": {
            "get": _at(user_id, _get("listUserLinks", "Links of a user", page, listed), *cursor)
        },
        "/v1/links/undo": {"post": undoing},
    }


def _at(parameter: Json, operation: Json, *codes: str) -> Json:
    """Return an operation on what a path names."""
    given = operation.get("parameters", [])
    return _with_codes({**operation, "parameters": [parameter, *given]}, *codes)


def _with_codes(operation: Json, *codes: str) -> Json:
    body = ("invalid_json", "body_too_large") if "requestBody" in operation else ()
    answered = {"200": operation["responses"]["200"], **refusals(*READ_CODES, *codes, *body)}
    return {**operation, "responses": answered}


def _query() -> Json:
    answer: Json = {
        "type": "object",
        "required": ["definition"],
        "properties": {"definition": _DEFINITION},
    }
    return _post(
        "queryReport",
        "Any report as one JSON document",
        _any_document(),
        {"report": "events", "event": "Subscription Upgraded", "metric": "sum:mrr"},
        answer,
    )


def _persons() -> Json:
    return _post(
        "listPersons",
        "The persons behind one cell of a report",
        ref("PersonsDocument"),
        {"query": {"report": "users", "metric": "dau"}, "cell": {"date": "2024-01-15"}},
        _PAGE,
    )


def _explain() -> Json:
    return _post(
        "explainPerson",
        "What one person did for a report, and what was missing",
        ref("ExplainDocument"),
        {"query": {"report": "users", "metric": "dau"}, "person": {"user_id": "user_456"}},
        {
            "type": "object",
            "required": ["status", "person"],
            "properties": {"status": {"const": "ok"}, "person": {"type": "object"}},
        },
    )


def _answer(*names: str) -> Json:
    known: Json = {name: {} for name in names}
    known["definition"] = _DEFINITION
    return {"type": "object", "required": list(known), "properties": known}


def _found(answer: Json) -> Json:
    return {"description": "The answer", "headers": KEPT_HEADERS, "content": as_json(answer)}


def _get(
    operation: str, summary: str, parameters: Sequence[str], answer: Json, *codes: str
) -> Json:
    return {
        "operationId": operation,
        "tags": ["read"],
        "summary": summary,
        "security": _READERS,
        "parameters": [{"name": name, "in": "query", **_PARAMETERS[name]} for name in parameters],
        "responses": {
            "200": _found(answer),
            **refusals(*READ_CODES, "invalid_parameter", "range_too_large", *codes),
        },
    }


def _post(operation: str, summary: str, body: Json, example: Json, answer: Json) -> Json:
    codes = ("invalid_parameter", "range_too_large", "invalid_json")
    return {
        "operationId": operation,
        "tags": ["read"],
        "summary": summary,
        "security": _READERS,
        "requestBody": {"required": True, "content": as_json(body, example)},
        "responses": {
            "200": _found(answer),
            **refusals(*READ_CODES, *codes, "body_too_large"),
        },
    }


def _parameter(description: str, schema: Json, **more: Any) -> Json:
    return {"description": description, "schema": schema, **more}


_MANY: Json = {"type": "array", "items": _TEXT}
_EXPLODED: Json = {"style": "form", "explode": True}
_PARAMETERS: dict[str, Json] = {
    "event": _parameter("Only events of this name; any by default.", _TEXT),
    "from": _parameter("First date or time, included.", _TEXT),
    "to": _parameter("Last date or time, included.", _TEXT),
    "as_of": _parameter("Leave out what was received later.", _TEXT),
    "interval": _parameter("Length of a bucket.", {"enum": list(INTERVALS), "default": "day"}),
    "filter": _parameter("A condition such as `plan=pro`; all must hold.", _MANY, **_EXPLODED),
    "breakdown": _parameter("A property, `user.TRAIT` or `cohort=ID`.", _TEXT),
    "breakdown_limit": _parameter(
        "How many values are shown.", {"type": "integer", "minimum": 1, "maximum": 200}
    ),
    "steps": _parameter(
        "The events, in order; give it 2 to 20 times.", _MANY, **_EXPLODED, required=True
    ),
    "order": _parameter(
        "In this order; with no other event between; or in any order.",
        {"enum": ["ordered", "strict", "any"], "default": "ordered"},
    ),
    "tie": _parameter(
        "Whether events of the same time convert.",
        {"enum": ["either", "strict"], "default": "either"},
    ),
    "attribution": _parameter(
        "Whose value counts: `first`, `last` or the number of a step.", _TEXT
    ),
    "start": _parameter("The event that starts.", _TEXT),
    "end": _parameter("The event that paths lead up to.", _TEXT),
    "return": _parameter("The event that counts as a return; any by default.", _TEXT),
    "periods": _parameter("Number of periods.", {"type": "integer", "minimum": 1}),
    "mode": _parameter("Return in the period, or in it or later.", {"enum": ["on", "on_or_after"]}),
    "cohort": _parameter(
        "Which start events make a cohort.", {"enum": ["first_time", "first_ever", "recurring"]}
    ),
    "window": _parameter("Retention: `calendar` or `elapsed`. Else a length, as `14d`.", _TEXT),
    "depth": _parameter("Steps, the event included.", {"type": "integer", "minimum": 2}),
    "session": _parameter("The pause that ends a session, as `30m`.", _TEXT),
    "collapse": _parameter("Repeats of an event are one step.", {"enum": ["true", "false"]}),
    "top": _parameter("Edges shown per step.", {"type": "integer", "minimum": 1}),
    "exclude": _parameter("Events that are no steps.", _MANY, **_EXPLODED),
    "search": _parameter("A part of the name, in any case.", _TEXT),
    "limit": _parameter(
        "How many.", {"type": "integer", "minimum": 1, "maximum": catalogue.LIMIT_MAX}
    ),
    "source": _parameter("Where it is kept.", {"enum": ["properties", "context", "user"]}),
    "userId": _parameter("Links to this user.", _TEXT),
    "anonymousId": _parameter("Links of this anonymous id.", _TEXT),
    "cursor": _parameter("`next_cursor` of the page before.", _TEXT),
    "property": _parameter("A name as filters take it.", _TEXT, required=True),
}
