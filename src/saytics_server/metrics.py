"""What operators watch, for Prometheus: read from the parts when somebody asks.

Counting while events come in costs next to nothing: the parts keep plain numbers, and only an
asking scraper turns them into text. No name of a workspace, key, event or person is in it.

    GET /metrics on the control socket       whoever may open the data directory
    GET /metrics with SAYTICS_METRICS_TOKEN  a scraper on another machine
"""

from __future__ import annotations

import hmac
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector as Source
from starlette.requests import Request
from starlette.responses import Response

from saytics_server.errors import Refused

if TYPE_CHECKING:
    from pathlib import Path

    from saytics_server.collect import Collector
    from saytics_server.log import Log
    from saytics_server.store import Store
    from saytics_server.store.loader import Loader


class Metrics:
    """The numbers of one server. `token` lets somebody without the data directory read them."""

    def __init__(  # noqa: PLR0913 - wired once, by name, in server.py
        self,
        *,
        collector: Collector,
        log: Log,
        loader: Loader,
        store: Store,
        data_dir: Path,
        token: str | None,
    ) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Parts(collector, log, loader, store, data_dir))
        ProcessCollector(registry=self._registry)
        self._token = token

    async def show(self, _: Request) -> Response:
        """Answer with all numbers as text."""
        return Response(
            generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def show_with_token(self, request: Request) -> Response:
        """The same, to whoever has the token. Raises Refused("not_found" | "invalid_key")."""
        if self._token is None:
            raise Refused("not_found", "Set SAYTICS_METRICS_TOKEN to read metrics over HTTP.")
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            given.strip().encode(), self._token.encode()
        ):
            raise Refused("invalid_key", "Send SAYTICS_METRICS_TOKEN as a bearer token.")
        return await self.show(request)


class _Parts(Source):
    """Reads the parts. Names and meanings are those of docs/operating.md."""

    def __init__(
        self, collector: Collector, log: Log, loader: Loader, store: Store, data_dir: Path
    ) -> None:
        self._collector = collector
        self._log = log
        self._loader = loader
        self._store = store
        self._data_dir = data_dir

    def collect(self) -> Iterator[Metric]:
        """Yield every family; called by the registry."""
        yield from self._sending()
        yield from self._writing()
        yield from self._loading()
        yield from self._asking()
        yield _gauge(
            "saytics_disk_free_bytes",
            "Free room where the data directory is.",
            shutil.disk_usage(self._data_dir).free,
        )

    def _sending(self) -> Iterator[Metric]:
        collector = self._collector
        yield _counter("saytics_requests", "Requests to the sending addresses.", collector.requests)
        yield _gauge("saytics_requests_in_flight", "Those being answered.", collector.in_flight)
        events = CounterMetricFamily(
            "saytics_events",
            "Events and identify calls by what became of them.",
            labels=["outcome"],
        )
        for outcome, count in collector.outcomes.items():
            events.add_metric([outcome], count)
        yield events
        refusals = CounterMetricFamily(
            "saytics_refusals", "Requests refused as a whole, by code.", labels=["code"]
        )
        for code, count in collector.refusals.items():
            refusals.add_metric([code], count)
        yield refusals
        steps = CounterMetricFamily(
            "saytics_step_seconds",
            "Seconds that one request of sixteen spent in each step, waiting included.",
            labels=["step"],
        )
        for step, seconds in collector.step_seconds.items():
            steps.add_metric([step], seconds)
        yield steps

    def _writing(self) -> Iterator[Metric]:
        log = self._log
        yield _gauge(
            "saytics_log_waiting_requests", "Requests waiting for the disk.", log.waiting_requests
        )
        yield _counter(
            "saytics_log_commits", "Transactions made durable, each with one fsync.", log.commits
        )
        yield _counter(
            "saytics_log_commit_seconds", "Seconds they took, fsync included.", log.commit_seconds
        )

    def _loading(self) -> Iterator[Metric]:
        behind = max(0, self._log.last_position - self._loader.loaded_position)
        yield _gauge("saytics_load_lag_rows", "Rows that are on disk and in no report yet.", behind)
        yield _counter(
            "saytics_loaded_rows", "Rows loaded since the start.", self._loader.loaded_rows
        )

    def _asking(self) -> Iterator[Metric]:
        turns = self._store.turns
        queries = CounterMetricFamily(
            "saytics_queries", "Queries by where their answer came from.", labels=["outcome"]
        )
        for outcome, count in self._store.outcomes.items():
            queries.add_metric([outcome], count)
        yield queries
        yield _gauge("saytics_queries_running", "Questions being answered.", len(turns.running()))
        yield _gauge(
            "saytics_queries_waiting", "Questions waiting for their turn.", turns.waiting_count()
        )


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(name, meaning, value=value)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)
