"""Formulas over series: what they compute, exactly, and how wrong ones are refused."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.formulas import value_of_formula
from saytics_server.errors import Refused
from saytics_server.query.formulas import FORMULA_CHARACTERS_MAX, FORMULAS_MAX, parse_formulas

NUMBERS = {"A": 3, "B": 4, "C": 0, "D": Decimal("0.3"), "E": Decimal("0.1"), "F": 0.1, "G": None}


def value(text, numbers=None):
    numbers = NUMBERS if numbers is None else numbers
    (formula,) = parse_formulas([text], list(numbers))
    return formula.value(numbers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A", 3),
        ("A / B", 0.75),
        ("A / B * 100", 75),
        ("A + B * 2", 11),
        ("(A + B) * 2", 14),
        ("A - B - 1", -2),
        ("A / B / 2", 0.375),
        ("-A", -3),
        ("A - -B", 7),
        ("--A", 3),
        (".5*A", 1.5),
        ("  A+B\t", 7),
        ("A / 3", 1),
        ("1 / 3", 1 / 3),
        # Money is exact: as doubles this is 0.19999999999999998.
        ("D - E", Decimal("0.2")),
        ("F * 3", Decimal("0.3")),
        ("A / C", None),
        ("A * (B / C)", None),
        ("C / A", 0),
        ("1 / (A - 3)", None),
        ("G", None),
        ("G * 0", None),
        ("A + G", None),
    ],
)
def test_a_formula_computes_as_arithmetic_does(text, expected):
    """Products before sums, from the left; division by 0 and null make null; decimals are exact."""
    assert value(text) == expected
    assert isinstance(value(text), int) == isinstance(expected, int)


def test_what_no_double_can_hold_is_null():
    """A result beyond 1.8e308, and an infinite operand, are null rather than no JSON."""
    assert value("A * A", {"A": 1e200}) is None
    assert value("A + 1", {"A": float("inf")}) is None
    assert value("A * B", {"A": 1e200, "B": 1e-200}) == 1


def test_large_whole_numbers_stay_whole():
    """2**53 + 1, which no double can tell from 2**53, is added exactly."""
    assert value("A + 1", {"A": 2**53}) == 2**53 + 1


@given(
    text=st.recursive(
        st.sampled_from(["A", "B", "C", "D", "2", "0.5"]),
        lambda inner: st.one_of(
            st.builds(lambda a, sign, b: f"{a} {sign} {b}", inner, st.sampled_from("+-*/"), inner),
            st.builds(lambda a: f"({a})", inner),
            st.builds(lambda a: f"-{a}", inner),
        ),
        max_leaves=12,
    ).filter(lambda text: len(text) <= FORMULA_CHARACTERS_MAX)
)
def test_a_formula_gives_what_python_gives(text):
    """On fractions Python's own arithmetic gives the same number for the same text."""
    numbers = {"A": 3, "B": 0, "C": Decimal("0.1"), "D": 7}
    expected = value_of_formula(text, numbers)
    found = value(text, numbers)
    if expected is None:
        assert found is None
    else:
        assert float(found) == float(expected)


@pytest.mark.parametrize(
    "text",
    ["", " ", "A +", "A B", "A // B", "(A", "A)", "()", "A ** B", "A % B", "a", "AA", "H + 1",
     "1e3", "A.real", "A; B", "A, B", "__import__('os')", "A == B", "٣", "+A", "1.", "."],
)  # fmt: skip
def test_a_wrong_formula_is_refused_by_name(text):
    """What is no arithmetic over the series answers invalid_parameter with the formula's place."""
    with pytest.raises(Refused) as refusal:
        parse_formulas(["A", text], list(NUMBERS))
    rejection = refusal.value.rejection
    assert (rejection.code, rejection.field) == ("invalid_parameter", "formulas[1]")


def test_formulas_have_limits():
    """Neither more formulas nor longer ones than a chart can hold; deep parentheses do no harm."""
    with pytest.raises(Refused, match="invalid_parameter"):
        parse_formulas(["A"] * (FORMULAS_MAX + 1), ["A"])
    with pytest.raises(Refused, match="invalid_parameter"):
        parse_formulas(["A+" * FORMULA_CHARACTERS_MAX + "A"], ["A"])
    with pytest.raises(Refused, match="invalid_parameter"):
        parse_formulas(["(" * FORMULA_CHARACTERS_MAX], ["A"])
    deep = "(" * 99 + "A" + ")" * 99
    assert value(deep) == 3
