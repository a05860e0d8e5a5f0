"""Formulas over the series of a trend: `A / B * 100`, read once and computed per bucket. Pure.

Names stand for series, numbers are written as decimals, `+ - * /` and parentheses mean what they
do in arithmetic. Everything is computed in fractions: a difference of money is exact, and only a
result that no decimal can name is rounded, once, to a double. What has an operand of null, divides
by 0 or is beyond a double is null.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from decimal import Context, Decimal, Inexact
from fractions import Fraction

import msgspec

from saytics_server.query.metrics import Number, tidy
from saytics_server.query.model import invalid

# Each is a line of the chart.
FORMULAS_MAX = 10
# Room for every series and a factor for each; it bounds how deep parentheses nest, too.
FORMULA_CHARACTERS_MAX = 200
SERIES_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}", re.ASCII)

_TOKEN = re.compile(
    rf"\s*(?:(?P<name>{SERIES_NAME.pattern})|(?P<number>\d+(\.\d+)?|\.\d+)|(?P<sign>[-+*/()]))",
    re.ASCII,
)
# Beyond these digits a result is shown as the nearest double; sums have at most 76.
_EXACT = Context(prec=80, traps=[Inexact])


class Operation(msgspec.Struct, frozen=True):
    """An operation on two terms; a negative term is 0 minus it."""

    sign: str
    left: Term
    right: Term


Term = str | Fraction | Operation  # a series' name, a number, or what is made of them


class Formula(msgspec.Struct, frozen=True):
    """A formula as written, and what it says."""

    text: str
    term: Term

    def value(self, numbers: Mapping[str, Number | None]) -> Number | None:
        """Return the formula's value where its series have these values."""
        try:
            result = _value(self.term, numbers)
            return None if result is None else _number(result)
        except OverflowError:  # an infinite operand, or a result beyond a double
            return None


def parse_formulas(texts: Collection[str], names: Collection[str]) -> tuple[Formula, ...]:
    """Return the formulas over series of these names. Raises Refused("invalid_parameter")."""
    if len(texts) > FORMULAS_MAX:
        raise invalid("formulas", f"There are at most {FORMULAS_MAX} formulas.")
    return tuple(
        Formula(text, _Parser(text, names, f"formulas[{place}]").parse())
        for place, text in enumerate(texts)
    )


def _value(term: Term, numbers: Mapping[str, Number | None]) -> Fraction | None:
    if isinstance(term, Fraction):
        return term
    if isinstance(term, str):
        number = numbers[term]
        # A double means the shortest decimal that names it, as it does in a sum.
        return (
            None if number is None else Fraction(Decimal(repr(number)))
            if isinstance(number, float) else Fraction(number)
        )  # fmt: skip
    left, right = _value(term.left, numbers), _value(term.right, numbers)
    if left is None or right is None:
        return None
    if term.sign == "/":
        return left / right if right else None
    if term.sign == "*":
        return left * right
    return left + right if term.sign == "+" else left - right


def _number(result: Fraction) -> Number | None:
    nearest = float(result)
    try:
        return tidy(_EXACT.divide(Decimal(result.numerator), Decimal(result.denominator)))
    except Inexact:
        return tidy(nearest)


class _Parser:
    """sum = product (`+`|`-` product)*; product = atom (`*`|`/` atom)*; atom = name, number,
    `-` atom or `(` sum `)`."""

    def __init__(self, text: str, names: Collection[str], at: str) -> None:
        self._at = at
        self._names = names
        if len(text) > FORMULA_CHARACTERS_MAX:
            raise invalid(at, f"A formula has at most {FORMULA_CHARACTERS_MAX} characters.")
        self._tokens = list(self._tokens_of(text))

    def parse(self) -> Term:
        term = self._sum()
        if self._tokens:
            raise self._refused(f"`{self._tokens[0]}` is not expected there")
        return term

    def _tokens_of(self, text: str) -> Iterator[str]:
        text = text.rstrip()
        position = 0
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None:
                raise self._refused(f"`{text[position:].strip()}` cannot be read")
            yield found.group().strip()
            position = found.end()

    def _sum(self) -> Term:
        term = self._product()
        while self._next_is("+", "-"):
            term = Operation(self._tokens.pop(0), term, self._product())
        return term

    def _product(self) -> Term:
        term = self._atom()
        while self._next_is("*", "/"):
            term = Operation(self._tokens.pop(0), term, self._atom())
        return term

    def _atom(self) -> Term:
        if not self._tokens:
            raise self._refused("it ends too early")
        word = self._tokens.pop(0)
        if word == "-":
            return Operation("-", Fraction(0), self._atom())
        if word == "(":
            term = self._sum()
            if not self._next_is(")"):
                raise self._refused("a parenthesis is not closed")
            self._tokens.pop(0)
            return term
        if word[0] in ".0123456789":
            return Fraction(word)
        if word in self._names:
            return word
        known = ", ".join(f"`{name}`" for name in self._names)
        raise self._refused(f"`{word}` is not a series; there are {known}")

    def _next_is(self, *signs: str) -> bool:
        return bool(self._tokens) and self._tokens[0] in signs

    def _refused(self, why: str) -> Exception:
        return invalid(
            self._at, f"The formula is not understood: {why}. Write it as in `A / B * 100`."
        )
