"""Saved cohorts: per workspace a name and a definition, a JSON document this module keeps as it is.

What a definition means, and whether it may be saved, is the queries' business: who saves one brings
a check, which runs inside the transaction on all that would be saved, so that two changes at once
cannot make two cohorts of each other. The definitions of a workspace stay in memory, as one mapping
that a change replaces: whoever holds it sees the old ones whole or the new ones whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from saytics_server.accounts import rows, rules, tables
from saytics_server.clock import Clock
from saytics_server.errors import Refused

# As many as one list on a page can show.
COHORTS_MAX = 500
# Of one definition: a list of 10,000 ids of 36 characters is 400 kB.
DEFINITION_BYTES_MAX = 1_000_000
# Of all definitions of a workspace together, for they are in memory.
DEFINITIONS_BYTES_MAX = 8_000_000


class Cohort(msgspec.Struct, frozen=True, kw_only=True):
    """One saved cohort."""

    id: int
    workspace_id: int
    name: str
    definition: Mapping[str, Any]
    created_at_ms: int
    updated_at_ms: int


# Cohorts by id, as they would be after the change, and the id of the one that is changed.
Check = Callable[[Mapping[int, Cohort], int], None]
Change = Callable[[], contextlib.AbstractContextManager[sa.Connection]]


class Cohorts:
    """The cohorts of every workspace. Thread-safe."""

    def __init__(self, engine: sa.Engine, change: Change, clock: Clock) -> None:
        """Take `change`, which runs one writing transaction at a time."""
        self._engine = engine
        self._change = change
        self._clock = clock
        self._known: dict[int, Mapping[int, Cohort]] = {}

    def all(self, workspace_id: int) -> Mapping[int, Cohort]:
        """Return a workspace's cohorts by id, oldest first. Another mapping after a change."""
        known = self._known.get(workspace_id)
        if known is None:
            with self._engine.connect() as connection:
                known = _read(connection, workspace_id)
            # A change that commits meanwhile has put a newer one there, which stays.
            known = self._known.setdefault(workspace_id, known)
        return known

    def get(self, workspace_id: int, cohort_id: int) -> Cohort:
        """Return one cohort. Raises Refused("not_found")."""
        found = self.all(workspace_id).get(cohort_id)
        if found is None:
            raise Refused("not_found", "There is no cohort of this id.")
        return found

    def create(
        self, workspace_id: int, name: str, definition: Mapping[str, Any], check: Check
    ) -> Cohort:
        """Save a new cohort. Raises Refused("invalid_parameter" | "not_found"), as `check` does."""
        now_ms = self._clock.now_ms()
        times = {"created_at_ms": now_ms, "updated_at_ms": now_ms}
        with self._changing(workspace_id) as connection:
            if not rows.has_row(connection, tables.workspaces, id=workspace_id):
                raise Refused("not_found")
            before = _read(connection, workspace_id)
            if len(before) >= COHORTS_MAX:
                raise _invalid("name", f"is one more than the {COHORTS_MAX} a workspace may have")
            kept = _checked(before, None, name, definition)
            inserted = connection.execute(
                sa.insert(tables.cohorts).values(workspace_id=workspace_id, **kept, **times)
            ).inserted_primary_key
            assert inserted is not None
            after = _read(connection, workspace_id)
            check(after, inserted[0])
        return after[inserted[0]]

    def update(
        self,
        workspace_id: int,
        cohort_id: int,
        name: str,
        definition: Mapping[str, Any],
        check: Check,
    ) -> Cohort:
        """Replace a cohort's name and definition. Raises as `create` does."""
        with self._changing(workspace_id) as connection:
            before = _read(connection, workspace_id)
            if cohort_id not in before:
                raise Refused("not_found", "There is no cohort of this id.")
            kept = _checked(before, cohort_id, name, definition)
            connection.execute(
                sa.update(tables.cohorts)
                .filter_by(id=cohort_id)
                .values(**kept, updated_at_ms=self._clock.now_ms())
            )
            after = _read(connection, workspace_id)
            check(after, cohort_id)
        return after[cohort_id]

    def delete(self, workspace_id: int, cohort_id: int, check: Check) -> None:
        """Delete a cohort, unless `check`, asked while it is still there, refuses."""
        with self._changing(workspace_id) as connection:
            before = _read(connection, workspace_id)
            if cohort_id not in before:
                raise Refused("not_found", "There is no cohort of this id.")
            check(before, cohort_id)
            connection.execute(sa.delete(tables.cohorts).filter_by(id=cohort_id))

    @contextlib.contextmanager
    def _changing(self, workspace_id: int) -> Iterator[sa.Connection]:
        with self._change() as connection:
            yield connection
            after = _read(connection, workspace_id)
        self._known[workspace_id] = after


def _read(connection: sa.Connection, workspace_id: int) -> Mapping[int, Cohort]:
    statement = (
        sa.select(tables.cohorts).filter_by(workspace_id=workspace_id).order_by(tables.cohorts.c.id)
    )
    return {row.id: Cohort(**row._mapping) for row in connection.execute(statement)}


def _checked(
    others: Mapping[int, Cohort], cohort_id: int | None, name: str, definition: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the columns of a name and a definition. Raises Refused("invalid_parameter")."""
    if problem := rules.name_problem(name):
        raise _invalid("name", problem)
    name = name.strip()
    if any(other.name == name for other in others.values() if other.id != cohort_id):
        raise _invalid("name", "is taken by another cohort")
    size = _size(definition)
    if size > DEFINITION_BYTES_MAX:
        raise _invalid("definition", f"must be at most {DEFINITION_BYTES_MAX:,} bytes of JSON")
    rest = sum(_size(other.definition) for other in others.values() if other.id != cohort_id)
    if size + rest > DEFINITIONS_BYTES_MAX:
        raise _invalid(
            "definition",
            f"is too large: all of a workspace are at most {DEFINITIONS_BYTES_MAX:,} bytes of JSON",
        )
    return {"name": name, "definition": definition}


def _size(definition: Mapping[str, Any]) -> int:
    return len(msgspec.json.encode(definition))


def _invalid(field: str, problem: str) -> Refused:
    return Refused("invalid_parameter", f"`{field}` {problem}.", field=field)
