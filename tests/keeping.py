"""The commands that keep data safe, run as an operator runs them, and damage for them to find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# The engine takes two seconds to load on a busy machine; far more than any of this needs.
LIMIT_S = 60


def saytics(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its output and errors are captured."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("saytics")), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def started(*arguments: object) -> subprocess.Popen[bytes]:
    """Start a command and return it; what it says is nobody's."""
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("saytics")), *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def found_by_check(data_dir: Path) -> list[str]:
    """Return what `saytics check` finds; its exit code must say the same."""
    done = saytics("check", "--data-dir", data_dir)
    lines = done.stdout.splitlines()
    assert done.stderr == "", done.stderr
    if done.returncode == 0:
        assert lines == ["Nothing is wrong."]
        return []
    return lines


def in_store(data_dir: Path, *statements: str) -> None:
    """Run statements on the store of a data directory that no process has open."""
    script = (
        "import sys; from pathlib import Path; from saytics_server.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for statement in sys.argv[2:]: store.command(statement)\n"
        "store.close()"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(data_dir / "store"), *statements],
        check=True,
        timeout=LIMIT_S,
    )


def flip_byte(path: Path, place: int) -> None:
    """Turn one byte of a file around."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
