"""`saytics export` and `saytics import`: to files, and from them the way every event comes.

An imported event keeps its messageId; one without gets its exported id as that. So a file imported
twice counts once, and so does one that was cut off and is imported again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
from tqdm import tqdm

from saytics_server import control
from saytics_server.accounts import Accounts
from saytics_server.administration import CreateKey, RevokeKey
from saytics_server.backup_command import shown_on
from saytics_server.clock import SystemClock
from saytics_server.config import Config
from saytics_server.datadir import open_data_dir
from saytics_server.errors import Failure
from saytics_server.export import export
from saytics_server.log.inspection import LogInspection
from saytics_server.orders import ExportOrder, Report
from saytics_server.running import post_batch, server_of
from saytics_server.store import Store

# What the batch address takes (docs/http-api.md), with room for the brackets around.
_BATCH_EVENTS = 1_000
_BATCH_BYTES = 8 * 1024 * 1024
# A handful of reasons says what is wrong with a file; the rest repeats them.
_REASONS_MAX = 10
_OPERATION = "importing"


# What of a line is sent again; the rest is given by the server anew.
_SENT = (
    *("type", "event", "userId", "anonymousId", "timestamp", "messageId"),
    *("properties", "context", "traits"),
)
_NULL = b"null"

# Values stay the text they were.
_decode_line = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def make_export(config: Config, order: ExportOrder) -> dict[str, Any]:
    """Write files as ordered, by the running server or without one. Raises Failure."""
    if not (config.data_dir / "FORMAT").exists():
        raise Failure(
            "exporting", f"{config.data_dir} is not a data directory", "Name it with --data-dir."
        )
    with tqdm(unit=" rows", unit_scale=True, disable=None) as bar:
        with control.client(config.data_dir) as running:
            if running is not None:
                return control.worked(running, "export", order, shown_on(bar))
        return _exported_here(config, order, shown_on(bar))


def _exported_here(config: Config, order: ExportOrder, report: Report) -> dict[str, Any]:
    data_dir = open_data_dir(config.data_dir)
    try:
        log = LogInspection(data_dir.path)
        loaded = log.reader("store")
        log.close()
        store = Store(data_dir.store, url=config.store_url, cores=os.cpu_count() or 1)
        accounts = Accounts.open(data_dir.path, SystemClock())
        try:
            return export(store, accounts, order, loaded, report)
        finally:
            accounts.close()
            store.close()
    finally:
        data_dir.close()


def import_files(config: Config, files: Sequence[Path], workspace: str) -> dict[str, Any]:
    """Send what exported JSONL files hold; return what became of it. Raises Failure."""
    with server_of(config) as (commands, _):
        address = control.decoded(commands.get("/status"))["address"]
        key = control.administered(
            commands, CreateKey(workspace, key_class="secret", name="import", scope="send")
        )
        try:
            return _send(address, key["key"], files)
        finally:
            control.administered(commands, RevokeKey(workspace, key["id"]))


def _send(address: str, key: str, files: Sequence[Path]) -> dict[str, Any]:
    told = {"sent": 0, "new": 0, "duplicates": 0, "rejected": 0}
    reasons: list[str] = []
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    total = sum(file.stat().st_size for file in files)
    with (
        httpx.Client(base_url=address, headers=headers, timeout=60) as client,
        tqdm(total=total, unit="B", unit_scale=True, disable=None) as bar,
    ):
        for file in files:
            for lines, size in _batches(file):
                answer = post_batch(client, b'{"events":[' + b",".join(lines) + b"]}")
                if "received" not in answer and "rejected" not in answer:
                    raise Failure(_OPERATION, str(answer)[:500], f"It was in {file.name}.")
                rejected = answer.get("rejected", [])
                reasons += [f"{one['code']}: {one['message']}" for one in rejected]
                del reasons[_REASONS_MAX:]
                told["sent"] += len(lines)
                told["rejected"] += len(rejected)
                told["duplicates"] += answer.get("duplicates", 0)
                bar.update(size)
    told["new"] = told["sent"] - told["duplicates"] - told["rejected"]
    return {**told, **({"reasons": reasons} if reasons else {})}


def _batches(file: Path) -> Iterator[tuple[list[bytes], int]]:
    """Yield items to send together, and how many bytes of the file they were."""
    items: list[bytes] = []
    size = read = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            items.append(_item(line, file, number))
            size += len(items[-1])
            read += len(line)
            if len(items) == _BATCH_EVENTS or size >= _BATCH_BYTES:
                yield items, read
                items, size, read = [], 0, 0
    if items:
        yield items, read


def _item(line: bytes, file: Path, number: int) -> bytes:
    try:
        found = _decode_line(line)
    except msgspec.MsgspecError as error:
        raise Failure(
            _OPERATION,
            f"line {number} of {file.name} is no exported event ({error})",
            "Files named events-… and identifies-… of an export as jsonl can be imported.",
        ) from None
    sent = {name: found[name] for name in _SENT if bytes(found.get(name, _NULL)) != _NULL}
    if "messageId" not in sent and "id" in found:
        sent["messageId"] = found["id"]
    return msgspec.json.encode(sent)
