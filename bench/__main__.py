"""`python -m bench [name ...]`: run measurements, print tables; `--record` writes RESULTS.md."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from bench.machine import describe

NAMES = ("ingest", "loader", "freshness", "repeated_import", "reports", "sdks", "sdk_soak")


def main() -> None:
    """Run the measurements named, or all."""
    wanted = [name for name in sys.argv[1:] if not name.startswith("-")] or list(NAMES)
    record = "--record" in sys.argv
    for name in wanted:
        module = importlib.import_module(f"bench.{name}")
        machine = describe(Path.cwd())
        table = "\n".join(module.run())
        section = f"## {name.replace('_', ' ').capitalize()}\n\n{machine}\n\n{table}\n"
        print(section, flush=True)
        if record:
            _record(name, section)


def _record(name: str, section: str) -> None:
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
