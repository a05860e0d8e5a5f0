"""The durable log: what was acknowledged is here, on disk, before the answer left.

In: rows of one request (`append`). Out: records in order of acceptance (`read`). Durable when
`append`'s future resolves: the rows, the messageIds they claim, the workspace's usage and what its
senders have lost are one SQLite commit, fsynced (`synchronous=FULL`). One thread writes
(writer.py); readers keep their own positions in the log, and it is trimmed only behind the slowest
of them.

    position      one number per row, growing by one; it is also the row's public id (event.py)
    record        the rows of one request, stored together: (first_position, count, body)
    checkpoint    how far a reader has come, durably
"""

from __future__ import annotations

from saytics_server.log.log import Log, LogSettings
from saytics_server.log.records import FORMAT_VERSION, Dropped, Record
from saytics_server.log.writer import AppendResult, LogBusyError, LogFullError

__all__ = [
    "FORMAT_VERSION",
    "AppendResult",
    "Dropped",
    "Log",
    "LogBusyError",
    "LogFullError",
    "LogSettings",
    "Record",
]
