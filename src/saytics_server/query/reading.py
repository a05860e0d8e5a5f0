"""A report's way to the store: one reader per request, which finds out once what its scans need.

That is how the links stand and which cohorts are named. `scan` gives the events to a report, `rows`
asks the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from saytics_server.people import Links, Person, links_of
from saytics_server.query import cohorts
from saytics_server.query.model import Filter, Frame, Range, Reference, Selection, invalid
from saytics_server.query.scan import PERSONAL, Scan, references_in
from saytics_server.sql import Sql, sql
from saytics_server.store import Row, Store


class Reader:
    """One request's view of one workspace."""

    def __init__(self, store: Store, frame: Frame) -> None:
        self.store = store
        self.frame = frame
        # By id; None while it is being worked out.
        self._cohorts: dict[str, Sql | None] = {}

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
    ) -> Scan:
        """Return the scan, with links if `persons`, a filter or the breakdown needs them."""
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
        )

    def cohort(self, cohort_id: str, *, at: str = "filter") -> Sql:
        """Return the condition on `person` and `known_user` that a cohort stands for.

        `at` is where the cohort is named, for the refusal.
        """
        if cohort_id in self._cohorts:
            found = self._cohorts[cohort_id]
            if found is None:
                raise invalid(at, f"The cohort `{cohort_id}` is made of itself.")
            return found
        if cohort_id not in self.frame.cohorts:
            raise invalid(at, f"There is no cohort `{cohort_id}`.")
        definition = cohorts.parse(self.frame.cohorts[cohort_id], self.frame)
        self._cohorts[cohort_id] = None
        try:
            condition = cohorts.condition_of(self, definition)
        except BaseException:
            del self._cohorts[cohort_id]
            raise
        # A breakdown shows it as JSON: true or false, not 1 or 0.
        inside = self._cohorts[cohort_id] = sql("CAST({condition}, 'Bool')", condition=condition)
        return inside

    def _cohort_conditions(
        self, filters: Iterable[Filter], breakdown: Reference | None
    ) -> dict[str, Sql]:
        found = {
            cohort_id: self.cohort(cohort_id)
            for condition in references_in(filters)
            if condition.reference.source == "cohort"
            for cohort_id in condition.values
        }
        if breakdown is not None and breakdown.source == "cohort":
            cohort_id = breakdown.keys[0]
            found[cohort_id] = self.cohort(cohort_id, at="breakdown")
        return found
