"""A real `saytics serve` process over loopback: start it, speak to it, stop it, kill it.

`Serving` is a process; what a test says to it goes through sockets. With `operated=True` the same
server runs inside `operated_server.py`, which also takes Python statements, for what has no
endpoint: keys with scopes, limits, planted faults.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

import waiting

START_S = 30
_OPERATED = Path(__file__).with_name("operated_server.py")


def new_key(prefix: str) -> str:
    """Return a key in the form the bootstrap variables take."""
    return prefix + secrets.token_hex(16)


class Serving:
    """One server process on `data_dir`, listening on a free port, with known keys."""

    def __init__(
        self,
        data_dir: Path,
        *,
        operated: bool = False,
        environment: dict[str, str] | None = None,
        secret_key: str | None = None,
        write_key: str | None = None,
        listen: str = "127.0.0.1:0",
    ) -> None:
        self.data_dir = data_dir
        self.listen = listen
        self.secret_key = secret_key or new_key("sk_live_")
        self.write_key = write_key or new_key("sk_write_")
        self.email, self.password = "ada@example.com", "correct horse battery staple"
        self.address = ""
        self.printed: list[str] = []
        self._operated = operated
        self._environment = environment or {}
        self._client: httpx.Client | None = None
        self._errors = data_dir.parent / f"{data_dir.name}-stderr-{secrets.token_hex(3)}.txt"
        self.process: subprocess.Popen[str] | None = None

    # --- the process ---

    def start(self) -> Serving:
        """Start it and wait until it says that it is ready."""
        self.launch()
        line = self.read_line()
        assert " is ready at " in line, f"{line!r}\n{self.errors}"
        self.address = line.rsplit(" ", 1)[1].strip()
        self._client = httpx.Client(base_url=self.address, timeout=30)
        return self

    def launch(self) -> None:
        """Start the process without waiting for anything."""
        command = (
            [sys.executable, str(_OPERATED)]
            if self._operated
            else [str(Path(sys.executable).with_name("saytics")), "serve"]
        )
        environment = {
            **{name: value for name, value in os.environ.items() if "SAYTICS" not in name},
            "SAYTICS_LISTEN": self.listen,
            "SAYTICS_DATA_DIR": str(self.data_dir),
            "SAYTICS_BOOTSTRAP_SECRET_KEY": self.secret_key,
            "SAYTICS_BOOTSTRAP_WRITE_KEY": self.write_key,
            "SAYTICS_BOOTSTRAP_EMAIL": self.email,
            "SAYTICS_BOOTSTRAP_PASSWORD": self.password,
            **self._environment,
        }
        with self._errors.open("a") as errors:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE if self._operated else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def read_line(self) -> str:
        """Return the next line it prints; '' at its end."""
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.printed.append(line)
        return line

    @property
    def errors(self) -> str:
        """What it wrote to its standard error, over all its lives."""
        return self._errors.read_text()

    def stop(self, number: int = signal.SIGTERM, limit_s: float = 15) -> int:
        """Send a signal, wait for the end, return the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait_end(limit_s)

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can."""
        self.stop(signal.SIGKILL)

    def wait_end(self, limit_s: float = 15) -> int:
        """Wait for the process to end by itself; return its exit code."""
        assert self.process is not None
        code = self.process.wait(limit_s)
        for stream in (self.process.stdout, self.process.stdin):
            if stream is not None:
                stream.close()
        if self._client is not None:
            self._client.close()
        return code

    def operate(self, statements: str) -> Any:
        """Run statements inside an operated server; return what they set `result` to.

        They see `server`, `accounts`, `log`, `store`, `loader` and `collector`.
        """
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(statements) + "\n")
        self.process.stdin.flush()
        while not (line := self.read_line()).startswith("> "):
            assert line, self.errors
        answer = json.loads(line[2:])
        assert "raised" not in answer, answer["raised"]
        return answer["result"]

    # --- speaking to it ---

    @property
    def client(self) -> httpx.Client:
        """A client whose base is the server's address."""
        assert self._client is not None
        return self._client

    def post(self, path: str, body: Any, key: str | None = None, **headers: str) -> httpx.Response:
        """Send JSON (or bytes as they are) with a key, the secret one by default."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {key or self.secret_key}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(path, content=content, headers=sent)

    def track(self, event: Any, key: str | None = None, **headers: str) -> httpx.Response:
        """Send one event."""
        return self.post("/v1/events", event, key, **headers)

    def batch(self, events: Any, key: str | None = None, **headers: str) -> httpx.Response:
        """Send a batch."""
        return self.post("/v1/events/batch", {"events": events}, key, **headers)

    def get(self, path: str, key: str | None = None, **parameters: Any) -> httpx.Response:
        """Ask with the secret key."""
        return self.client.get(
            path,
            params=parameters,
            headers={"Authorization": f"Bearer {key or self.secret_key}"},
        )

    def events(self, key: str | None = None, **parameters: Any) -> list[dict[str, Any]]:
        """Return every stored event that matches, oldest first, over all pages."""
        found: list[dict[str, Any]] = []
        wanted = {"order": "asc", "limit": 1000, **parameters}
        while True:
            answer = self.get("/v1/events", key, **wanted)
            assert answer.status_code == 200, f"{answer.text}\n{self.errors[-3000:]}"
            page = answer.json()
            found += page["data"]
            if page["next_cursor"] is None:
                return found
            wanted["cursor"] = page["next_cursor"]

    def status(self) -> dict[str, Any]:
        """Return what the control socket says: address and positions."""
        transport = httpx.HTTPTransport(uds=str(self.data_dir / "control.sock"))
        with httpx.Client(transport=transport, base_url="http://control", timeout=30) as control:
            answered: dict[str, Any] = control.get("/status").json()
            return answered

    def wait_visible(self, limit_s: float = 15) -> None:
        """Wait until everything acknowledged so far is in the store, so in every report."""
        wanted = self.status()["last_position"]
        waiting.until(
            lambda: self.status()["loaded_position"] >= wanted, limit_s=limit_s, what="loading"
        )
