"""How filter strings, names and metrics are read, and how wrong ones are refused."""

from __future__ import annotations

import pytest

from saytics_server.errors import Refused
from saytics_server.query import active_users, event_list, trends
from saytics_server.query.filters import parse_filter
from saytics_server.query.model import Condition, Frame, Reference

FRAME = Frame(1, "UTC", 0, 1_711_886_400_000)


@pytest.mark.parametrize(
    ("text", "source", "keys", "operator", "value"),
    [
        ("plan=pro", "properties", ("plan",), "=", "pro"),
        ("plan!=pro", "properties", ("plan",), "!=", "pro"),
        ("plan=", "properties", ("plan",), "=", ""),
        ("amount>=5", "properties", ("amount",), ">=", "5"),
        ("amount<=5", "properties", ("amount",), "<=", "5"),
        ("amount>5", "properties", ("amount",), ">", "5"),
        ("amount<5", "properties", ("amount",), "<", "5"),
        ("path~a=b", "properties", ("path",), "~", "a=b"),
        ("cart.total>1", "properties", ("cart", "total"), ">", "1"),
        (r"a\.b=1", "properties", ("a.b",), "=", "1"),
        (r"a\=b\\c=\=x", "properties", (r"a=b\c",), "=", "=x"),
        (r"a\!=b", "properties", ("a!",), "=", "b"),
        ("hello!=b", "properties", ("hello",), "!=", "b"),
        (r"path=C:\temp", "properties", ("path",), "=", r"C:\temp"),
        ("user.plan=pro", "user", ("plan",), "=", "pro"),
        (r"user\.plan=pro", "properties", ("user.plan",), "=", "pro"),
        ("user=pro", "properties", ("user",), "=", "pro"),
        ("context.page.url~x", "context", ("page", "url"), "~", "x"),
        ("properties.user.x=1", "properties", ("user", "x"), "=", "1"),
        ("properties.=1", "properties", ("",), "=", "1"),
        ("properties.cohort=1", "properties", ("cohort",), "=", "1"),
        ("event=Login", "field", ("event",), "=", "Login"),
        ("properties.event=Login", "properties", ("event",), "=", "Login"),
        ("größe 😀$%=1", "properties", ("größe 😀$%",), "=", "1"),
    ],
)
def test_a_filter_string_splits_at_its_first_operator(text, source, keys, operator, value):
    """Dots lead into objects, prefixes name the source, backslashes take meanings away."""
    expected = "contains" if operator == "~" else operator
    assert parse_filter(text) == Condition(Reference(source, keys), expected, (value,))


@pytest.mark.parametrize(
    ("report", "name", "value"),
    [
        (trends, "filter", "plan"),
        (trends, "filter", "=pro"),
        (trends, "filter", r"plan\=pro"),
        (trends, "metric", "sum"),
        (trends, "metric", "count:x"),
        (trends, "metric", "sum:"),
        (trends, "metric", "sum:user.mrr"),
        (trends, "metric", "p50:x"),
        (trends, "interval", "minute"),
        (trends, "breakdown", "cohort"),
        (trends, "colour", "red"),
        (active_users, "metric", "yau"),
        (active_users, "limit", "3"),
        (event_list, "limit", "0"),
        (event_list, "limit", "1001"),
        (event_list, "limit", "1e2"),
        (event_list, "limit", "٣"),
        (event_list, "order", "up"),
        (event_list, "filter", "plan=pro"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(report, name, value):
    """Unknown names and wrong values answer invalid_parameter with the field."""
    with pytest.raises(Refused) as refusal:
        report.parse([(name, value)], FRAME)
    assert (refusal.value.rejection.code, refusal.value.rejection.field) == (
        "invalid_parameter",
        name,
    )


def test_a_parameter_given_twice_is_refused():
    """Only `filter` may be repeated."""
    with pytest.raises(Refused, match="invalid_parameter"):
        trends.parse([("event", "A"), ("event", "B")], FRAME)
    parsed = trends.parse([("filter", "a=1"), ("filter", "b=2")], FRAME)
    assert len(parsed.selection.filters) == 2
