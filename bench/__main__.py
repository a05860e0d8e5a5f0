"""`python -m bench [name ...]`: run measurements, print tables; `--record` writes RESULTS.md."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from bench.machine import describe

NAMES = (
    "ingest",
    "loader",
    "freshness",
    "repeated_import",
    "reports",
    "sdks",
    "sdk_soak",
)


def main() -> None:
    """Run the measurements named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(NAMES))
    parser.add_argument("--record", action="store_true", help="write bench/RESULTS.md")
    parser.add_argument("--events", type=int, help="for repeated_import and sdk_soak")
    given = parser.parse_args()
    for name in given.names or NAMES:
        module = importlib.import_module(f"bench.{name}")
        machine = describe(Path.cwd())
        sized = {"events": given.events} if given.events else {}
        table = "\n".join(module.run(**sized))
        section = f"## {name.replace('_', ' ').capitalize()}\n\n{machine}\n\n{table}\n"
        print(section, flush=True)
        if given.record:
            _record(section)


def _record(section: str) -> None:
    """Put a section into RESULTS.md in place of the one it had."""
    path = Path(__file__).parent / "RESULTS.md"
    text = path.read_text() if path.exists() else "# Results\n"
    title = section.splitlines()[0]
    head, found, rest = text.partition(title + "\n")
    if found:
        following = rest.find("\n## ")
        tail = rest[following + 1 :] if following >= 0 else ""
        text = head + section + ("\n" + tail if tail else "")
    else:
        text = text.rstrip("\n") + "\n\n" + section
    path.write_text(text)


main()
