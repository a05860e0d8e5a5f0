"""A report's way to the store: one reader per request, which finds out once what its scans need.

That is how the links stand and which cohorts are named. `scan` gives the events to a report, `rows`
asks the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from saytics_server.people import Links, Person, links_of
from saytics_server.query.model import Filter, Frame, Range, Reference, Selection, invalid
from saytics_server.query.scan import PERSONAL, Scan, references_in
from saytics_server.sql import Sql
from saytics_server.store import Row, Store


class Reader:
    """One request's view of one workspace."""

    def __init__(self, store: Store, frame: Frame) -> None:
        self.store = store
        self.frame = frame
        self._cohorts: dict[str, Sql] = {}

    @cached_property
    def links(self) -> Links:
        """Return how the workspace's links stand."""
        return links_of(self.store, self.frame.workspace_id, as_of_ms=self.frame.as_of_ms)

    def rows(self, statement: Sql) -> Sequence[Row]:
        """Return what the store answers to a SELECT. Raises Refused as Store.query does."""
        return self.store.query(*statement.render())

    def scan(  # noqa: PLR0913 - what can be asked of events, by name
        self,
        selection: Selection,
        span: Range,
        *,
        breakdown: Reference | None = None,
        persons: bool = False,
        marks: Mapping[str, Selection] | None = None,
        only_marked: bool = False,
        person: Person | None = None,
        named: bool = False,
    ) -> Scan:
        """Return the scan, with links if `persons`, a filter or the breakdown needs them.

        The column `person` tells persons apart; `named` makes it the text of people.person_of.
        """
        filters = [*selection.filters, *(f for m in (marks or {}).values() for f in m.filters)]
        personal = any(c.reference.source in PERSONAL for c in references_in(filters))
        personal |= breakdown is not None and breakdown.source in PERSONAL
        needed = persons or personal or person is not None
        return Scan(
            self.frame,
            selection,
            span,
            breakdown,
            self.links if needed else None,
            tuple((marks or {}).items()),
            only_marked,
            self._cohort_conditions(filters, breakdown),
            person,
            named,
        )

    def cohort(self, cohort_id: str) -> Sql:
        """Return the condition on `person` and `known_user` that a cohort stands for."""
        raise invalid("filter", f"There is no cohort `{cohort_id}`.")

    def _cohort_conditions(
        self, filters: Iterable[Filter], breakdown: Reference | None
    ) -> dict[str, Sql]:
        named = {
            cohort_id
            for condition in references_in(filters)
            if condition.reference.source == "cohort"
            for cohort_id in condition.values
        }
        if breakdown is not None and breakdown.source == "cohort":
            named.add(breakdown.keys[0])
        return {cohort_id: self.cohort(cohort_id) for cohort_id in sorted(named)}
