"""`python -m saytics spool [DIR]`: show what lies in a spool, and send what a key is given for.

The key comes from the environment only, so that it is in no process list and no shell history. It
opens one folder of the spool, that of itself and the host; the others are only shown.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from saytics.client import Saytics
from saytics.errors import SayticsError
from saytics.options import Options, options_of
from saytics.spool_file import Contents, Name, contents_of
from saytics.spool_folder import default_root, folder_name, spool_files

DEFAULT_TIMEOUT_S = 60.0

EXIT_LEFT = 1  # something could not be sent
EXIT_USAGE = 2


@dataclass(frozen=True, slots=True)
class Found:
    """One file, looked at without touching it."""

    name: Name
    size: int
    contents: Contents
    owner_lives: bool

    @property
    def unsent(self) -> int:
        """Events not answered for."""
        return self.contents.events - self.contents.done


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    root = Path(options.directory) if options.directory else default_root()
    folders = _folders(root)
    for folder in folders:
        _show(folder)
    if not folders:
        print(f"{root}: no spool")
    if options.show or not folders:
        return 0
    key = os.environ.get(options.key_from_env, "").strip()
    if not key:
        print(f"To send, set {options.key_from_env} (and SAYTICS_HOST, or --host).")
        return 0
    try:
        return _send(folders, options_of(key, {"host": options.host}), options.timeout)
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return EXIT_USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m saytics", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    spool = commands.add_parser("spool", help="show a spool, and send it if a key is given")
    spool.add_argument("directory", nargs="?", metavar="DIR", help="the spool, or a folder in it")
    spool.add_argument("--show", action="store_true", help="only show")
    spool.add_argument("--host", help="base URL of the server (default: SAYTICS_HOST)")
    spool.add_argument(
        "--key-from-env",
        metavar="NAME",
        default="SAYTICS_SECRET_KEY",
        help="the environment variable that holds the key (default: SAYTICS_SECRET_KEY)",
    )
    spool.add_argument(
        "--timeout",
        type=float,
        default=DEFAULT_TIMEOUT_S,
        metavar="SECONDS",
        help="stop sending after this (default: %(default)s)",
    )
    return parser


def _folders(root: Path) -> list[Path]:
    if spool_files(root):
        return [root]
    try:
        children = sorted(path for path in root.iterdir() if path.is_dir())
    except OSError:
        return []
    return [path for path in children if spool_files(path)]


def _look(folder: Path) -> list[Found]:
    found = []
    for path, name, status in spool_files(folder):
        try:
            contents = contents_of(path)
        except FileNotFoundError:  # adopted or finished meanwhile
            continue
        found.append(Found(name, status.st_size, contents, name.owner_lives(status.st_mtime)))
    return found


def _show(folder: Path) -> None:
    print(folder)
    for file in _look(folder):
        made = dt.datetime.fromtimestamp(int(file.name.id[:12], 16) / 1000, dt.UTC)
        owner = f"owned by living process {file.name.pid}" if file.owner_lives else "left behind"
        damaged = f", {file.contents.damaged} damaged lines" if file.contents.damaged else ""
        print(
            f"  {made:%Y-%m-%dT%H:%M:%SZ}  {file.unsent} of {file.contents.events} events to send, "
            f"{file.size} bytes, {owner}{damaged}"
        )


def _send(folders: list[Path], settings: Options, timeout_s: float) -> int:
    wanted = folder_name(settings.host, settings.key)
    folder = next((folder for folder in folders if folder.name == wanted), None)
    if folder is None:
        print(f"Nothing here for this key and {settings.host}.")
        return 0
    reasons: dict[str, int] = {}

    def on_error(error: SayticsError, events: list[dict[str, object]]) -> None:
        reasons[str(error)] = reasons.get(str(error), 0) + len(events)

    client = Saytics(settings.key, host=settings.host, spool_dir=folder.parent, on_error=on_error)
    client.shutdown(timeout_s)
    sent = client.recovered()
    for reason, count in reasons.items():
        print(f"  rejected {count}: {reason}", file=sys.stderr)
    left = sum(file.unsent for file in _look(folder) if not file.owner_lives)
    print(
        f"{folder}: {sent.delivered} delivered, {sent.duplicate} duplicate, "
        f"{sent.rejected} rejected, {left} left"
    )
    return EXIT_LEFT if left else 0


if __name__ == "__main__":
    sys.exit(main())
