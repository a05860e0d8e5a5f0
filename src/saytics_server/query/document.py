"""A report as one JSON document: what all reports' documents share, and how one is read.

Each report declares its own `Document`; the query string of its GET form is read into the same
struct, so that both forms mean the same by construction. Unknown fields are refused by name.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from saytics_server.query.model import Parameters, invalid

T = TypeVar("T")

_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<name>[^`]*)`")
_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


class FilterDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A condition (`property`, `operator`, `value`) or a group (`and`, `or`) of filters."""

    property: str | None = None
    operator: str = "="
    value: str | int | float | bool | list[str | int | float | bool] | None = None
    and_: list[str | FilterDocument] | None = msgspec.field(name="and", default=None)
    or_: list[str | FilterDocument] | None = msgspec.field(name="or", default=None)


# A filter string, a condition or group, or several that all must hold.
FilterInput = str | FilterDocument | list[str | FilterDocument]


class ReportDocument(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What every report can be asked: the range, filters on all it reads, and as of when."""

    from_: str | None = msgspec.field(name="from", default=None)
    to: str | None = None
    filter: FilterInput = msgspec.field(default_factory=list)
    as_of: str | None = None


def shared_fields(given: Parameters) -> dict[str, Any]:
    """Return the fields of ReportDocument that a query string gives."""
    return {
        "from_": given.one("from"),
        "to": given.one("to"),
        "filter": list(given.every("filter")),
        "as_of": given.one("as_of"),
    }


class StepDocument(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Events of a name, or of one of several, with filters of their own; no name means any."""

    event: str | None = None
    events: list[str] = msgspec.field(default_factory=list)
    filter: FilterInput = msgspec.field(default_factory=list)


def read_document(content: Any, kind: type[T], at: str = "") -> T:
    """Return decoded JSON as a document. Raises Refused("invalid_parameter") naming the field."""
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        message = str(error)
        path = found["path"] if (found := _PATH.search(message)) else ""
        if unknown := _UNKNOWN_FIELD.search(message):
            path = f"{path}.{unknown['name']}" if path else unknown["name"]
        message = _PATH.sub("", message)
        raise invalid(f"{at}{path}", f"{message}.") from None
