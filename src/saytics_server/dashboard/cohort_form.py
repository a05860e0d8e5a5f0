"""The cohort builder's form: fields named by their place, and the API's JSON document. Pure.

A definition is a tree. In the form each of its nodes has a path, `d` for the root and `d.0`, `d.1`
for its parts, and its fields are named `PATH.kind`, `PATH.event` and so on. What the form has no
fields for stays as JSON in a field of its own, so that nothing an API client saved gets lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from saytics_server.errors import Refused
from saytics_server.query.catalogue import written
from saytics_server.query.cohorts import DEPTH_MAX, PARTS_MAX
from saytics_server.query.document import FilterInput
from saytics_server.query.filters import filters_of
from saytics_server.query.model import Filter, Group

ROOT = "d"
GROUPS = ("all", "any")
# Kind: what the form calls it.
KINDS = {
    "trait": "has the trait",
    "did": "did",
    "did_not": "did not do",
    "list": "is one of these ids",
    "cohort": "is in the cohort",
    "all": "all of these hold",
    "any": "one of these holds",
    "json": "as JSON",
}
# Operator of a filter: what the form calls it.
OPERATORS = {
    "=": "is",
    "!=": "is not",
    ">": "is more than",
    ">=": "is at least",
    "<": "is less than",
    "<=": "is at most",
    "contains": "contains",
    "not_contains": "does not contain",
    "matches": "matches the pattern",
    "in": "is one of",
    "not_in": "is none of",
    "is_set": "is set",
    "is_not_set": "is not set",
}
WITHOUT_VALUE = ("is_set", "is_not_set")
WITH_LIST = ("in", "not_in")
WINDOWS = {"ever": "ever", "last": "in the last", "between": "between"}

_FIELDS = (
    "trait", "operator", "value", "event", "at_least", "window", "days", "from", "to", "where",
    "users", "anonymous", "cohort", "json",
)  # fmt: skip
_DEFAULTS = {"operator": "=", "at_least": "1", "window": "ever", "days": "30"}


class Node(msgspec.Struct, frozen=True):
    """One node as the form shows it. `fields` has every field's text, used or not."""

    path: str
    kind: str
    negated: bool
    fields: dict[str, str]
    parts: list[Node]

    @property
    def is_group(self) -> bool:
        """Tell whether it is made of others."""
        return self.kind in GROUPS


def new_node(path: str, kind: str = "trait", **fields: str) -> Node:
    """Return a node as it is before anything was typed."""
    empty = dict.fromkeys(_FIELDS, "")
    return Node(path, kind, False, {**empty, **_DEFAULTS, **fields}, [])


# --- from the form --------------------------------------------------------------------------------


def node_of(form: Mapping[str, str], path: str = ROOT, depth: int = DEPTH_MAX) -> Node:
    """Return what a posted form holds, as typed."""
    kind = form.get(f"{path}.kind", "all" if path == ROOT else "trait")
    if kind not in KINDS:
        kind = "trait"
    parts: list[Node] = []
    while kind in GROUPS and depth > 0 and f"{path}.{len(parts)}.kind" in form:
        parts.append(node_of(form, f"{path}.{len(parts)}", depth - 1))
    given = {name: form[f"{path}.{name}"] for name in _FIELDS if f"{path}.{name}" in form}
    blank = new_node(path, kind, **given)
    return msgspec.structs.replace(blank, negated=f"{path}.not" in form, parts=parts)


def after(root: Node, action: str) -> Node:
    """Return the tree after a button was pressed: `add:PATH`, `group:PATH` or `remove:PATH`."""
    verb, _, path = action.partition(":")
    return _placed(_changed(root, verb, path), ROOT)


def _changed(node: Node, verb: str, path: str) -> Node:
    parts = [_changed(part, verb, path) for part in node.parts]
    if verb == "remove":
        parts = [part for part in parts if part.path != path]
    elif node.path == path and node.is_group and len(parts) < PARTS_MAX:
        if verb == "add":
            parts.append(new_node(""))
        elif verb == "group" and path.count(".") < DEPTH_MAX - 1:
            inner = "any" if node.kind == "all" else "all"
            group = msgspec.structs.replace(new_node("", inner), parts=[new_node("")])
            parts.append(group)
    elif node.is_group and not parts and node.path != ROOT:
        # A condition that was just made a group begins with a part to fill in.
        parts = [new_node("")]
    return msgspec.structs.replace(node, parts=parts)


def _placed(node: Node, path: str) -> Node:
    parts = [_placed(part, f"{path}.{place}") for place, part in enumerate(node.parts)]
    return msgspec.structs.replace(node, path=path, parts=parts)


def document_of(node: Node) -> dict[str, Any]:
    """Return the definition that a tree stands for. Raises Refused for a number or JSON that is
    none; all else is left to the check of the definition."""
    # A group of one is that one.
    if node.is_group and len(node.parts) == 1:
        document = document_of(node.parts[0])
    elif node.is_group:
        name = "and" if node.kind == "all" else "or"
        document = {name: [document_of(part) for part in node.parts]}
    else:
        document = _leaf(node)
    return {"not": document} if node.negated else document


def _leaf(node: Node) -> dict[str, Any]:
    fields = node.fields
    if node.kind == "trait":
        return {"traits": [_trait_document(fields)]}
    if node.kind == "list":
        ids = {"user_ids": fields["users"], "anonymous_ids": fields["anonymous"]}
        return {"list": {name: _lines(text) for name, text in ids.items() if _lines(text)}}
    if node.kind == "cohort":
        return {"cohort": fields["cohort"]}
    if node.kind == "json":
        return _json(fields["json"])
    return {node.kind: _did_document(fields)}


def _trait_document(fields: Mapping[str, str]) -> dict[str, Any]:
    trait, operator, value = fields["trait"].strip(), fields["operator"], fields["value"]
    if not trait:
        raise _invalid("trait", "A condition on a trait names the trait.")
    document: dict[str, Any] = {"property": f"user.{trait}", "operator": operator}
    if operator in WITHOUT_VALUE:
        return document
    values = [each.strip() for each in value.split(",")] if operator in WITH_LIST else value
    return {**document, "value": values}


def _did_document(fields: Mapping[str, str]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if fields["event"]:
        document["event"] = fields["event"]
    if (least := _whole_number("at_least", fields["at_least"] or "1")) != 1:
        document["at_least"] = least
    if fields["window"] == "last":
        document["last_days"] = _whole_number("days", fields["days"])
    elif fields["window"] == "between":
        document |= {name: fields[name].strip() for name in ("from", "to") if fields[name].strip()}
    if filters := _lines(fields["where"]):
        document["filter"] = filters
    return document


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _whole_number(name: str, text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        words = "how often" if name == "at_least" else "how many days"
        raise _invalid(name, f"Say {words} as a whole number.")
    return int(text)


def _json(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise _invalid("json", "What is given as JSON is no JSON object.") from None


def _invalid(field: str, message: str) -> Refused:
    return Refused("invalid_parameter", message, field=field)


# --- from a definition ----------------------------------------------------------------------------


def tree_of(definition: Mapping[str, Any]) -> Node:
    """Return a saved definition as the form shows it: a group at the root."""
    node = _node(definition)
    if not node.is_group or node.negated:
        node = msgspec.structs.replace(new_node("", "all"), parts=[node])
    return _placed(node, ROOT)


def _node(definition: Mapping[str, Any]) -> Node:
    # A client may have sent the other fields as null.
    kind, content = next(item for item in definition.items() if item[1] is not None)
    if kind in ("and", "or"):
        return _group("all" if kind == "and" else "any", [_node(part) for part in content])
    if kind == "not":
        inner = _node(content)
        return (
            _as_json(definition) if inner.negated else msgspec.structs.replace(inner, negated=True)
        )
    if kind == "traits":
        filters = [_trait_node(each) for each in filters_of(msgspec.convert(content, FilterInput))]
        return filters[0] if len(filters) == 1 else _group("all", filters)
    if kind == "list" and all(map(_is_line, (each for ids in content.values() for each in ids))):
        users = "\n".join(content.get("user_ids", ()))
        return new_node(
            "", "list", users=users, anonymous="\n".join(content.get("anonymous_ids", ()))
        )
    if kind == "cohort":
        return new_node("", "cohort", cohort=content)
    did = _did_node(kind, content) if kind in ("did", "did_not") else None
    return did or _as_json(definition)


def _is_typed(text: str) -> bool:
    """Tell whether a field of one line keeps a text: browsers drop line breaks in it."""
    return not any(character in text for character in "\r\n")


def _is_line(text: str) -> bool:
    """Tell whether a text comes back from a field of lines as it went in."""
    return _lines(text) == [text]


def _group(kind: str, parts: list[Node]) -> Node:
    return msgspec.structs.replace(new_node("", kind), parts=parts)


def _as_json(definition: Mapping[str, Any]) -> Node:
    return new_node("", "json", json=msgspec.json.encode(definition).decode())


def _trait_node(asked: Filter) -> Node:
    if isinstance(asked, Group):
        return _group("all" if asked.every else "any", [_trait_node(part) for part in asked.parts])
    is_list = asked.operator in WITH_LIST
    if not all(map(_is_typed, (*asked.values, *asked.reference.keys))) or (
        is_list and not all(_is_line(each) and "," not in each for each in asked.values)
    ):
        condition: dict[str, Any] = {
            "property": written(asked.reference),
            "operator": asked.operator,
        }
        if asked.values:
            condition["value"] = list(asked.values) if is_list else asked.values[0]
        return _as_json({"traits": [condition]})
    return new_node(
        "",
        "trait",
        trait=written(asked.reference).removeprefix("user."),
        operator=asked.operator,
        value=", ".join(asked.values),
    )


def _did_node(kind: str, content: Mapping[str, Any]) -> Node | None:
    """Return a node with the fields of the form; None where there is more to it."""
    filters = content.get("filter", [])
    filters = [filters] if isinstance(filters, str) else filters
    # An object of filters is no string, nor is what stands in a list of objects.
    if not all(isinstance(each, str) and _is_line(each) for each in filters):
        return None
    if content.get("events") or not _is_typed(content.get("event") or ""):
        return None
    window = "last" if content.get("last_days") else "ever"
    if content.get("from") or content.get("to"):
        window = "between"
    return new_node(
        "",
        kind,
        event=content.get("event") or "",
        at_least=str(content.get("at_least", 1)),
        window=window,
        days=str(content.get("last_days") or _DEFAULTS["days"]),
        where="\n".join(filters),
        **{name: content.get(name) or "" for name in ("from", "to")},
    )


# --- in words -------------------------------------------------------------------------------------


def words_of(node: Node, names: Mapping[str, str]) -> str:
    """Return a tree as a sentence's end: `plan is pro and did Order at least 3 times ever`.

    `names` has the cohorts' names by id.
    """
    if node.is_group:
        joint = " and " if node.kind == "all" else " or "
        parts = [words_of(part, names) for part in node.parts]
        words = joint.join(
            f"({text})" if part.is_group and len(part.parts) > 1 else text
            for part, text in zip(node.parts, parts, strict=True)
        )
        return f"not ({words})" if node.negated else words
    words = _leaf_words(node, names)
    return f"not: {words}" if node.negated else words


def _leaf_words(node: Node, names: Mapping[str, str]) -> str:
    fields = node.fields
    if node.kind == "trait":
        operator = OPERATORS.get(fields["operator"], fields["operator"])
        value = "" if fields["operator"] in WITHOUT_VALUE else f" {fields['value']}"
        return f"{fields['trait']} {operator}{value}"
    if node.kind == "list":
        count = len(_lines(fields["users"])) + len(_lines(fields["anonymous"]))
        return f"one of {count:,} listed ids"
    if node.kind == "cohort":
        return f"in {names.get(fields['cohort'], fields['cohort'])}"
    if node.kind == "json":
        return fields["json"]
    return _did_words(node)


def _did_words(node: Node) -> str:
    fields = node.fields
    verb = "did" if node.kind == "did" else "did not do"
    often = "" if fields["at_least"] in ("", "1") else f" at least {fields['at_least']} times"
    where = f" where {' and '.join(_lines(fields['where']))}" if fields["where"].strip() else ""
    when = " ever"
    if fields["window"] == "last":
        when = f" in the last {fields['days']} days"
    elif fields["window"] == "between":
        ends = (("from", fields["from"]), ("to", fields["to"]))
        when = "".join(f" {name} {end}" for name, end in ends if end)
    return f"{verb} {fields['event'] or 'anything'}{where}{often}{when}"
