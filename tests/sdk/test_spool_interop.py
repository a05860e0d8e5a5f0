"""The spool is one format: what one SDK leaves behind, the other delivers, once.

The test of docs/spool.md: real processes of Python and Node, and a real server that is away while
the first of them lives.
"""

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from gates import Gate, free_port

from factories import unique

ROOT = Path(__file__).parents[2]
COUNT = 250

PYTHON = {
    "leave": """
import sys
from saytics import Saytics
client = Saytics(spool="always", flush_at=1000, flush_interval_s=60)
for index in range(int(sys.argv[2])):
    client.track(user_id="u", event=sys.argv[1], properties={"index": index, "text": "Größe 🙂"})
client.identify("u", {"name": sys.argv[1]})
import os, signal
os.kill(os.getpid(), signal.SIGKILL)
""",
    "deliver": """
from saytics import Saytics
Saytics().shutdown(20)
""",
}

NODE = {
    "leave": """
const Saytics = require(process.env.NODE_SDK);
const [, , name, count] = process.argv;
const client = new Saytics(undefined, { spool: 'always', flushAt: 1000, flushIntervalS: 60 });
for (let index = 0; index < Number(count); index++) {
  client.track({ userId: 'u', event: name, properties: { index, text: 'Größe 🙂' } });
}
client.identify({ userId: 'u', traits: { name } });
process.kill(process.pid, 'SIGKILL');
""",
    "deliver": """
const Saytics = require(process.env.NODE_SDK);
const client = new Saytics();
client.shutdown(20_000);
""",
}

PROGRAMS = {"python": PYTHON, "node": NODE}


class Life:
    """Processes of both SDKs with one spool and one host."""

    def __init__(self, server, folder, port):
        self.folder = folder
        self.environment = {
            name: value for name, value in os.environ.items() if "SAYTICS" not in name
        } | {
            "PYTHONPATH": str(ROOT / "sdks/python/src"),
            "NODE_SDK": str(ROOT / "sdks/node"),
            "SAYTICS_HOST": f"http://127.0.0.1:{port}",
            "SAYTICS_SECRET_KEY": server.secret_key,
            "SAYTICS_SPOOL_DIR": str(folder / "spool"),
        }

    def run(self, language, what, *arguments):
        """Run a program of a language; return its exit code and what it said."""
        script = self.folder / f"{what}.{'py' if language == 'python' else 'cjs'}"
        script.write_text(PROGRAMS[language][what])
        command = [sys.executable if language == "python" else "node", str(script)]
        ran = subprocess.run(
            [*command, *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return ran.returncode, ran.stderr

    def files(self):
        """Return the names of what lies in the spool."""
        return sorted(path.name for path in (self.folder / "spool").glob("*/*.spool"))


@pytest.mark.parametrize(("first", "second"), [("python", "node"), ("node", "python")])
def test_one_delivers_what_the_other_left(server, tmp_path, first, second):
    """Killed in one language, with a spool; delivered whole by a process of the other."""
    port, event = free_port(), unique(f"Left by {first}")
    life = Life(server, tmp_path, port)
    assert life.run(first, "leave", event, COUNT) == (-9, "")
    assert len(life.files()) == 1
    with Gate(server.address, port=port):
        assert life.run(second, "deliver") == (0, "")
    assert life.files() == []
    server.wait_visible()
    found = server.events(event=event)
    assert sorted(each["properties"]["index"] for each in found) == list(range(COUNT))
    assert {each["properties"]["text"] for each in found} == {"Größe 🙂"}


@pytest.mark.parametrize(("first", "second"), [("python", "node"), ("node", "python")])
def test_one_goes_on_where_the_other_was_killed(server, tmp_path, first, second):
    """Events marked as answered for by one language are not sent again by the other."""
    port, event = free_port(), unique(f"Half by {first}")
    life = Life(server, tmp_path, port)
    assert life.run(first, "leave", event, 10) == (-9, "")
    (path,) = (tmp_path / "spool").glob("*/*.spool")
    done = json.dumps({"done": 4}, separators=(",", ":")).encode()
    with path.open("ab") as file:
        file.write(_line(done))
        file.write(b"0123torn")
    with Gate(server.address, port=port):
        assert life.run(second, "deliver") == (0, "")
    assert life.files() == []
    server.wait_visible()
    found = server.events(event=event)
    assert sorted(each["properties"]["index"] for each in found) == list(range(4, 10))


def _line(document):
    return b"%08x %b\n" % (zlib.crc32(document), document)
