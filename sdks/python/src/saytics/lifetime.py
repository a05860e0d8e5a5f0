"""The ends and splits of the process: exit, signals, fork, children of multiprocessing.

Every open client is known here until its shutdown. A signal is answered only where the program
itself has left it to the system: SIGTERM, SIGHUP and SIGINT at their defaults end a process without
running anything, so the queue would be gone. A handler of the program's is never touched; it ends
the program in its own way, and what runs at a normal exit runs then.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, Protocol

# How long the end of a process waits for the server: the first without a spool, where the wait is
# all there is. With one, long enough for an outage of two or three seconds, and short enough to be
# over before a supervisor that grants ten seconds loses patience.
EXIT_S = 10.0
EXIT_WITH_SPOOL_S = 5.0

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)


class Ending(Protocol):
    """What this module needs of a client."""

    @property
    def has_spool(self) -> bool:
        """Whether what is not sent is kept."""

    def flush(self, timeout: float) -> object:
        """Send what is queued."""

    def shutdown(self, timeout: float) -> object:
        """Send what is queued, and stop."""

    def save(self, *, and_what_follows: bool) -> None:
        """Put what is queued on disk."""

    def take_late_events(self) -> None:
        """Put what comes after the shutdown on disk."""

    def restart_in_child(self) -> None:
        """Begin anew after a fork."""


# Strong references: a client nobody holds any more may still have something to send.
_open: dict[int, Ending] = {}
_hooks = {"exit": False, "fork": False, "multiprocessing": False}
_finalized_in = {"pid": 0}
_forking = threading.local()  # `mask`: the signals the thread held back before its fork


def watch(client: Ending) -> None:
    """Look after a client until `unwatch`."""
    _open[id(client)] = client
    if not _hooks["exit"]:
        _hooks["exit"] = True
        atexit.register(_end)
    if not _hooks["fork"] and hasattr(os, "register_at_fork"):
        _hooks["fork"] = True
        os.register_at_fork(
            before=_before_fork, after_in_parent=_let_signals_in, after_in_child=_restart_in_child
        )
    _answer_signals()
    _end_with_multiprocessing()


def unwatch(client: Ending) -> None:
    """Forget a client that has been shut down."""
    _open.pop(id(client), None)


def _clients() -> list[Ending]:
    return list(_open.values())


def _end() -> None:
    """Shut everything down: the interpreter, or a child of multiprocessing, is ending."""
    started_s = time.monotonic()
    for client in _clients():
        limit_s = EXIT_WITH_SPOOL_S if client.has_spool else EXIT_S
        client.take_late_events()
        try:
            client.shutdown(max(0.0, started_s + limit_s - time.monotonic()))
        except KeyboardInterrupt:  # pressed once more, while waiting
            client.shutdown(0.0)


# -- signals


def _answer_signals() -> None:
    # Only the main thread may; a client made elsewhere leaves the signals as they are.
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        with contextlib.suppress(ValueError, OSError):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    """Save and send what is queued, then end as the signal would have."""
    # A second signal ends the process at once: what is queued is on disk by then.
    signal.signal(number, signal.SIG_DFL)
    for client in _clients():
        client.save(and_what_follows=True)
    deadline_s = time.monotonic() + EXIT_WITH_SPOOL_S
    for client in _clients():
        client.flush(max(0.0, deadline_s - time.monotonic()))
        client.save(and_what_follows=True)
    os.kill(os.getpid(), number)
    # Still here: process 1 of a container, which the system does not end so. As before, then.
    signal.signal(number, _on_signal)


# -- forks


def _before_fork() -> None:
    _end_with_multiprocessing()
    # Many a parent ends right after the fork without another word (that is how daemons are made).
    for client in _clients():
        client.save(and_what_follows=False)
    # The interpreter of a child forgets the signals that came before it was set up, and a lock of
    # ours may be held there by a thread that is gone: they wait until the child can answer them.
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _restart_in_child() -> None:
    for client in _clients():
        client.restart_in_child()
    _let_signals_in()


def _let_signals_in() -> None:
    mask = getattr(_forking, "mask", None)
    if mask is not None:
        _forking.mask = None
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _end_with_multiprocessing() -> None:
    """Have `_end` run in children of multiprocessing, which skip what `atexit` knows.

    A child forgets the finalizers it inherited and then runs what was registered for after a fork,
    so that is where its own is made.
    """
    util: Any = sys.modules.get("multiprocessing.util")
    process: Any = sys.modules.get("multiprocessing.process")
    if util is None or process is None:
        return
    if not _hooks["multiprocessing"]:
        _hooks["multiprocessing"] = True
        util.register_after_fork(_finalize, lambda finalize: finalize())
    if process.parent_process() is not None:
        _finalize()


def _finalize() -> None:
    if _finalized_in["pid"] == os.getpid():
        return
    _finalized_in["pid"] = os.getpid()
    # Below zero: after the child has waited for children of its own.
    sys.modules["multiprocessing.util"].Finalize(None, _end, exitpriority=-10)
