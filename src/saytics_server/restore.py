"""Makes a data directory from a backup: every file under its checksum, or no directory at all.

FORMAT is written last. A directory that holds a log and no FORMAT is opened by nobody, so what a
cut-off restore leaves cannot be taken for data.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from saytics_server.backup import DATA, Manifest, copied, read_manifest, sync_folders
from saytics_server.errors import Failure
from saytics_server.log.records import connect, skip_positions
from saytics_server.orders import Report

_OPERATION = "restoring"
_FIRST, _LAST = "log.db", "FORMAT"


def restore(backup: Path, data_dir: Path, now_ms: int, report: Report) -> Manifest:
    """Make `data_dir`, which must be missing or empty, what `backup` holds. Raises Failure."""
    manifest = read_manifest(backup)
    _refuse_strange_paths(manifest, data_dir)
    if data_dir.exists() and (not data_dir.is_dir() or any(data_dir.iterdir())):
        raise Failure(
            _OPERATION, f"{data_dir} is not empty", "Name a folder that does not exist yet."
        )
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy(manifest, backup / DATA, data_dir, now_ms, report)
    except (OSError, sqlite3.Error) as error:
        _empty(data_dir)
        raise Failure(_OPERATION, f"{data_dir}: {error}", "Nothing was left there.") from error
    except BaseException:
        _empty(data_dir)
        raise
    return manifest


def _copy(manifest: Manifest, source: Path, data_dir: Path, now_ms: int, report: Report) -> None:
    total = sum(file.bytes for file in manifest.files)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        report(done, total)

    order = {_FIRST: 0, _LAST: 2}
    for file in sorted(manifest.files, key=lambda file: order.get(file.path, 1)):
        if file.path == _LAST:
            _copy_links(manifest, data_dir)
            # Ids that the lost log gave out after the backup are not given to other events.
            with closing(connect(data_dir / _FIRST)) as log:
                skip_positions(log, now_ms * 1000)
            sync_folders(data_dir)
        target = data_dir / file.path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if copied(source / file.path, target, file.path, advance) != file:
            raise Failure(
                _OPERATION,
                f"{source / file.path} is not what the backup's list says: it is damaged",
                "Use another backup. Nothing was left in the data directory.",
            )
    sync_folders(data_dir)


def _copy_links(manifest: Manifest, data_dir: Path) -> None:
    for name, target in manifest.links.items():
        link = data_dir / name
        link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        link.symlink_to(target)


def _refuse_strange_paths(manifest: Manifest, data_dir: Path) -> None:
    """Refuse a list that would write outside of the data directory."""
    root = data_dir.absolute()
    paths = [root / file.path for file in manifest.files] + [
        (root / name).parent / target for name, target in manifest.links.items()
    ]
    for path in paths:
        if not path.resolve().is_relative_to(root.resolve()):
            raise Failure(_OPERATION, f"the backup's list names {path}", "It is not a backup.")


def _empty(data_dir: Path) -> None:
    for path in data_dir.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
