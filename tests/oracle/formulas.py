"""Formulas, computed by Python itself on fractions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any


def value_of_formula(text: str, numbers: Mapping[str, Any]) -> Fraction | None:
    """Return what a formula gives; None where a number is missing or it divides by zero."""
    used = set(re.findall(r"[A-Za-z_]\w*", text))
    if any(numbers[name] is None for name in used):
        return None
    exact = {name: _exact(numbers[name]) for name in used}
    python = re.sub(r"(?<![\w.])(\d*\.?\d+)", r"Fraction('\1')", text)
    try:
        return eval(python, {"Fraction": Fraction, "__builtins__": {}}, exact)
    except ZeroDivisionError:
        return None


def _exact(number: Any) -> Fraction:
    return Fraction(Decimal(repr(number))) if isinstance(number, float) else Fraction(number)
