"""Wires all parts into one process, starts them in order and stops them in the reverse order.

    data directory ─► metadata ─► store ─► log ─► loader ─► HTTP   (ready)
    HTTP stops accepting ─► requests under way end ─► loader ─► log ─► store ─► metadata

Everything acknowledged is in the log before its answer leaves, so a stop that is cut short, or a
kill, loses nothing: the next start goes on from the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from saytics_server import api, collect, sdk_packages
from saytics_server.accounts import Accounts, Bootstrap, bootstrap
from saytics_server.backup import back_up
from saytics_server.clock import Clock, SystemClock
from saytics_server.collect import Collector, Receive, Scope, Send
from saytics_server.config import Config
from saytics_server.control import Control
from saytics_server.dashboard import DashboardContext
from saytics_server.dashboard import routes as dashboard_routes
from saytics_server.datadir import DataDir, open_data_dir
from saytics_server.errors import Failure, Refused
from saytics_server.export import export
from saytics_server.live import Live
from saytics_server.log import Log, LogSettings
from saytics_server.metrics import Metrics
from saytics_server.orders import BackupOrder, ExportOrder, Report, Works
from saytics_server.protocol import HttpProtocol
from saytics_server.questions import Questions
from saytics_server.store import Store
from saytics_server.store.loader import Loader

logger = logging.getLogger("saytics.server")

# Requests under way when the server is told to stop get this long; a body that is still trickling
# in then was never acknowledged.
DRAIN_S = 3
# Whatever hangs, the process is gone by then. Nothing acknowledged depends on a clean end.
STOP_S = 9.5
# Threads hand the interpreter over this often: the writer must not wait 5 ms, the default, for a
# parsing event loop.
SWITCH_INTERVAL_S = 0.0005
# A batch in flight is thousands of objects that are no garbage; looking through them every 700, the
# default, took a twentieth of the event loop's time.
YOUNG_OBJECTS_MAX = 20_000
KEEP_ALIVE_S = 75
# Rows of the log's end that the live view starts with.
LIVE_ROWS = 2_000
LAST_USED_FLUSH_S = 60.0
# An undone link is durable before; so long its request waits for reports to know of it.
UNLINK_VISIBLE_S = 2.0


class Parts:
    """The open parts of a server, without HTTP. Also what offline commands work on."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        self.data_dir: DataDir = open_data_dir(config.data_dir)
        self.live = Live()
        self.first: Bootstrap | None = None
        with contextlib.ExitStack() as undo, ThreadPoolExecutor(1) as beside:
            undo.callback(self.data_dir.close)
            # The engine takes a second to load; metadata and the log open meanwhile.
            opening = beside.submit(
                Store, self.data_dir.store, url=config.store_url, cores=os.cpu_count() or 1
            )
            undo.callback(_close_opened, opening)
            self.accounts = Accounts.open(self.data_dir.path, clock)
            undo.callback(self.accounts.close)
            self.log = Log.open(
                self.data_dir.path,
                clock,
                find_stored=lambda ids: opening.result().find_message_ids(ids),
                scan_stored=lambda: opening.result().scan_message_ids(),
                highest_stored=lambda position: opening.result().highest_position(position),
                settings=LogSettings(
                    int(config.log_keep_days * 86_400_000),
                    config.log_keep_bytes,
                    config.free_bytes_min,
                ),
                observers=[self.live.observe],
            )
            undo.callback(self.log.close)
            self.live.seed(self.log.read_newest(LIVE_ROWS))
            self.store = opening.result()
            if not self.accounts.workspaces():
                self.first = _bootstrap(self.accounts, config)
            self.loader = Loader(self.log, self.store)
            undo.pop_all()
        self.loader.start()

    def back_up(self, order: bytes, report: Report) -> dict[str, Any]:
        """Copy the data directory while it is in use. Raises Failure."""
        if self.config.store_url:
            raise Failure(
                "backing up",
                "the store is a ClickHouse server of its own",
                "Back it up with its own tools, and the data directory while this server is down.",
            )
        return back_up(
            self.data_dir.path,
            self.store,
            self.loader.paused,
            order=msgspec.json.decode(order, type=BackupOrder),
            now_ms=self.clock.now_ms(),
            report=report,
        )

    def export(self, order: bytes, report: Report) -> dict[str, Any]:
        """Write what is stored to files. Raises Failure."""
        decoded = msgspec.json.decode(order, type=ExportOrder)
        return export(self.store, self.accounts, decoded, self.loader.loaded_position, report)

    def close(self) -> None:
        """Close in the reverse order; what is in the log is loaded by the next start."""
        self.loader.stop()
        self.log.close()
        self.store.close()
        self.accounts.close()
        self.data_dir.close()


class Server:
    """One server process: parts, HTTP, signals."""

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        self.config = config
        self._clock = clock or SystemClock()
        # Before anything is opened: a taken port must not cost a start.
        self._socket = _listen(config)
        self.address = _address(self._socket, config)
        try:
            self.parts = Parts(config, self._clock)
        except BaseException:
            self._socket.close()
            raise
        self.collector = Collector(self.parts.log, self.parts.accounts.authenticate, self._clock)
        self._metrics = Metrics(
            collector=self.collector,
            log=self.parts.log,
            loader=self.parts.loader,
            store=self.parts.store,
            data_dir=self.parts.data_dir.path,
            token=config.metrics_token,
        )
        self._questions = Questions(self.parts.store)
        self._unready: str | None = "starting"
        self._servers: list[_Uvicorn] = []
        self._stop_requested: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.started = threading.Event()

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Serve until told to stop (SIGTERM, SIGINT or `stop`). Blocks."""
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.freeze()  # what is loaded by now stays; no collection need look at it again
        gc.set_threshold(YOUNG_OBJECTS_MAX, 20, 50)
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(self._serve(on_ready))
        finally:
            watchdog = threading.Timer(STOP_S - DRAIN_S, _end_now)
            watchdog.daemon = True
            watchdog.start()
            self._questions.close()
            self.parts.close()
            watchdog.cancel()

    def stop(self) -> None:
        """Ask a running server to stop. From any thread."""
        self.collector.is_stopping = True
        if self._loop is not None and self._stop_requested is not None:
            self._loop.call_soon_threadsafe(self._stop_requested.set)

    async def _serve(self, on_ready: Callable[[], None] | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop_requested = asyncio.Event()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self.stop)
        parts = self.parts
        works: Works = {"backup": parts.back_up, "export": parts.export}
        control = Control(
            parts.accounts,
            parts.loader,
            parts.log,
            self.address,
            works,
            metrics=self._metrics.show,
        )
        async with control.listening(self.parts.data_dir.path) as control_socket:
            self._servers = [
                _Uvicorn(_uvicorn_config(self._application(), self.config)),
                _Uvicorn(_uvicorn_config(control.application(), None)),
            ]
            serving = [
                asyncio.create_task(server.serve(sockets=[listening]))
                for server, listening in zip(
                    self._servers, (self._socket, control_socket), strict=True
                )
            ]
            flushing = asyncio.create_task(self._flush_last_used())
            # uvicorn has a flag for this, not an event.
            while not all(server.started for server in self._servers):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            self._unready = None
            self.started.set()
            if on_ready is not None:
                on_ready()
            await self._stop_requested.wait()
            self._unready = "shutting_down"
            flushing.cancel()
            for server in self._servers:
                server.should_exit = True
            await asyncio.gather(*serving)

    async def _flush_last_used(self) -> None:
        while True:
            await asyncio.sleep(LAST_USED_FLUSH_S)
            with contextlib.suppress(Refused):  # the disk is full: times of last use can wait
                await asyncio.to_thread(self.parts.accounts.flush_last_used)

    async def _unlink(self, workspace_id: int, anonymous_id: str, user_id: str) -> None:
        """Undo the links between two ids; reports know by the time this returns, if they can."""
        position = await self.collector.unlink(workspace_id, anonymous_id, user_id)
        await asyncio.to_thread(self.parts.loader.wait_loaded, position, UNLINK_VISIBLE_S)

    def _application(self) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        parts, config = self.parts, self.config
        context = DashboardContext(
            accounts=parts.accounts,
            store=parts.store,
            live=parts.live,
            clock=self._clock,
            public_url=self._public_url,
            questions=self._questions,
            unlink=self._unlink,
            python_package_path=sdk_packages.python_package_path(),
            secure_cookies=(config.public_url or "").startswith("https://"),
        )
        reading = api.Api(
            parts.accounts,
            self._questions,
            self._clock,
            lambda: self._unready or self.collector.trouble(),
            self._unlink,
            counted=parts.log,
        )
        rest = Starlette(
            routes=[
                Route("/metrics", self._metrics.show_with_token, methods=["GET"]),
                *reading.routes(),
                *sdk_packages.routes(),
                *dashboard_routes(context),
            ],
            exception_handlers={
                Refused: api.refused,
                HTTPException: api.http_error,
                Exception: api.bug,
            },
        )
        allowed = _HostCheck(rest, config)
        collector = self.collector

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if (
                scope["type"] == "http"
                and scope["path"] in collect.PATHS
                and scope["method"] in ("POST", "OPTIONS")
            ):
                await collector(scope, receive, send)
            else:
                await allowed(scope, receive, send)

        if config.trusted_proxies:
            return ProxyHeadersMiddleware(application, trusted_hosts=config.trusted_proxies)  # type: ignore[arg-type,return-value]
        return application

    def _public_url(self, request: Request) -> str:
        return self.config.public_url or str(request.base_url).rstrip("/")


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handling: there are two of them in one process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _HostCheck:
    """Refuses pages to hosts this server does not go by, against DNS rebinding.

    A name an attacker points at this machine carries no session here unless a page answers to it.
    API requests with a key need no check: the attacker has none. IP addresses cannot be rebound.
    """

    def __init__(self, inner: Any, config: Config) -> None:
        self._inner = inner
        self._names = {"localhost", config.host}
        if config.public_url:
            self._names.add(urlsplit(config.public_url).hostname or "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            has_key = scope["path"].startswith("/v1/") and "authorization" in headers
            if not has_key and not self._is_ours(headers.get("host", "")):
                response = await api.refused(
                    Request(scope),
                    Refused(
                        "invalid_host",
                        "This server does not go by that name; set SAYTICS_PUBLIC_URL to it.",
                    ),
                )
                await response(scope, receive, send)
                return
        await self._inner(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        name = urlsplit(f"//{host}").hostname or ""
        if name in self._names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _close_opened(opening: Future[Store]) -> None:
    if opening.exception() is None:
        opening.result().close()


def _bootstrap(accounts: Accounts, config: Config) -> Bootstrap:
    return bootstrap(
        accounts,
        secret_key=config.bootstrap_secret_key,
        write_key=config.bootstrap_write_key,
        email=config.bootstrap_email,
        password=config.bootstrap_password,
        timezone=config.bootstrap_timezone,
        week_start=config.bootstrap_week_start,
    )


def _listen(config: Config) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((config.host, config.port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise Failure(
            "listening",
            f"{config.listen} cannot be used ({error.strerror or error})",
            "Another program may have it; choose another with --listen.",
        ) from None
    listening.setblocking(False)
    return listening


def _address(listening: socket.socket, config: Config) -> str:
    host = config.host
    if host in ("0.0.0.0", "::"):  # noqa: S104 - shown, not bound
        host = "127.0.0.1"
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listening.getsockname()[1]}"


def _uvicorn_config(application: Any, config: Config | None) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http=HttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop  # noqa: PLC0415 - not on every platform

    return uvloop.new_event_loop


def _end_now() -> None:
    logger.warning("stopping took too long; ending now, the next start goes on from the log")
    os._exit(0)
