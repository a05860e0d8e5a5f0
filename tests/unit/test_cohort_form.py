"""The cohort builder's form says what the API's document says, both ways."""

from __future__ import annotations

from typing import Any

import pytest

from saytics_server.dashboard import cohort_form
from saytics_server.dashboard.cohort_form import Node
from saytics_server.errors import Refused
from saytics_server.query import cohorts
from saytics_server.query.model import Frame, Group

FRAME = Frame(1, "Asia/Kathmandu", 0, 1_795_417_200_000)

DEFINITIONS: list[dict[str, Any]] = [
    {"traits": ["user.plan=pro"]},
    {"traits": r"user.a\.b!=x, y"},
    {"traits": ["user.company.size>=10", {"property": "user.größe", "operator": "is_set"}]},
    {
        "traits": [
            {"or": ["user.plan=pro", {"property": "user.n", "operator": "in", "value": [1, 2]}]}
        ]
    },
    {"did": {"event": "Order", "at_least": 3, "last_days": 30, "filter": ["plan=pro", "n>3"]}},
    {"did": {"from": "2026-01-01", "to": "2026-02-01T10:00:00Z", "filter": "plan=pro"}},
    {"traits": [{"property": "user.n", "operator": "in", "value": ["a,b", " c"]}]},
    {"list": {"user_ids": ["two\nlines"]}},
    {"did": {"filter": ["plan= pro "]}},
    {"did": {"event": "two\nlines"}},
    {"traits": [{"property": "user.plan", "value": "two\nlines"}]},
    {"and": None, "cohort": "7", "not": None},
    {"did": {"events": ["A", "B"], "at_least": 2}},
    {"did_not": {"event": "Login", "filter": [{"property": "method", "value": "sso"}]}},
    {"did_not": {}},
    {"list": {"user_ids": ["u1", "u2"], "anonymous_ids": ["a1"]}},
    {"cohort": "7"},
    {"not": {"cohort": "7"}},
    {"not": {"not": {"cohort": "7"}}},
    {"not": {"and": [{"cohort": "7"}, {"cohort": "8"}]}},
    {"or": [{"and": [{"cohort": "7"}, {"did": {}}]}, {"not": {"did_not": {"event": "X"}}}]},
]


def posted(node: Node) -> dict[str, str]:
    """Return the fields a browser sends of a tree."""
    fields = {f"{node.path}.{name}": value for name, value in node.fields.items()}
    fields[f"{node.path}.kind"] = node.kind
    if node.negated:
        fields[f"{node.path}.not"] = "1"
    for part in node.parts:
        fields |= posted(part)
    return fields


def meaning(part: Any) -> Any:
    """Return a definition with filters of a group as parts of one, and no group of one."""
    if isinstance(part, cohorts.Traits):
        return meaning(Group(True, part.filters))
    if isinstance(part, Group | cohorts.Joint):
        parts = [meaning(each) for each in part.parts]
        return parts[0] if len(parts) == 1 else (part.every, *parts)
    if isinstance(part, cohorts.Not):
        return "not", meaning(part.part)
    return part


@pytest.mark.parametrize("definition", DEFINITIONS, ids=str)
def test_a_definition_comes_back_from_the_form_as_it_was(definition: dict[str, Any]):
    """Shown, sent unchanged and read again, it means the same."""
    tree = cohort_form.tree_of(definition)
    again = cohort_form.document_of(cohort_form.node_of(posted(tree)))
    assert meaning(cohorts.parse(again, FRAME)) == meaning(cohorts.parse(definition, FRAME))


def test_conditions_and_groups_come_and_go():
    """A button adds or removes at its place; paths follow the places."""
    root = cohort_form.after(cohort_form.new_node("d", "all"), "add:d")
    root = cohort_form.after(root, "group:d")
    root = cohort_form.after(root, "add:d.1")
    assert [part.path for part in root.parts[1].parts] == ["d.1.0", "d.1.1"]
    root = cohort_form.after(root, "remove:d.0")
    assert [(part.path, part.kind, len(part.parts)) for part in root.parts] == [("d.0", "any", 2)]
    assert cohort_form.after(root, "add:nowhere") == cohort_form.after(root, "nonsense") == root


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"d.0.kind": "trait"}, "trait"),
        ({"d.0.kind": "did", "d.0.at_least": "often"}, "at_least"),
        ({"d.0.kind": "did", "d.0.window": "last", "d.0.days": "٣"}, "days"),
        ({"d.0.kind": "json", "d.0.json": "[]"}, "json"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(fields: dict[str, str], field: str):
    """A number that is none, JSON that is none, a trait without a name."""
    with pytest.raises(Refused) as refused:
        cohort_form.document_of(cohort_form.node_of({"d.kind": "all", **fields}))
    assert refused.value.rejection.field == field


def test_a_form_nested_without_end_is_cut():
    """However deep a form says its groups are, reading it ends."""
    path, form = "d", {}
    for _ in range(500):
        form[f"{path}.kind"] = "all"
        path += ".0"
    node, depth = cohort_form.node_of(form), 0
    while node.parts:
        node, depth = node.parts[0], depth + 1
    assert depth == cohorts.DEPTH_MAX
