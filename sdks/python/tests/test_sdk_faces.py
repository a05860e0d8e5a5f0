"""The other ways to call the SDK: awaited, without a client, in tests, for webhooks, by proxy."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import os
import shutil
import ssl
import subprocess
import threading
import traceback
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio
from scripted_server import ScriptedServer

import saytics
from saytics import AsyncSaytics, Counts, Saytics
from saytics.proxy import proxy_for
from saytics.testing import RecordingSaytics
from saytics.webhooks import WebhookError, verify

# -- AsyncSaytics


async def _awaited(host: str, **options: Any) -> Counts:
    async with AsyncSaytics("sk_live_test", host=host, **options) as client:
        await client.track(user_id="u", event="E")
        await client.identify("u", {"plan": "pro"})
        assert (await client.flush()).delivered == 2
    return client.counts()


def _in_asyncio(program: Any, *arguments: Any) -> Any:
    return asyncio.run(program(*arguments))


@pytest.mark.parametrize("run", [_in_asyncio, trio.run], ids=["asyncio", "trio"])
def test_awaited_client(server: ScriptedServer, run: Any) -> None:
    """AsyncSaytics delivers like Saytics, under asyncio and trio."""

    assert run(_awaited, server.host) == Counts(2, 2, 0, 0, 0, 0, 0)
    assert [event.get("event", event.get("type")) for event in server.events()] == ["E", "identify"]


def test_waiting_does_not_hold_up_the_loop() -> None:
    """While a flush waits for a server that does not answer, the loop goes on."""

    async def program() -> int:
        client = AsyncSaytics("sk_live_test", host=server.host, on_error=lambda *_: None)
        await client.track(user_id="u", event="E")
        waiting = asyncio.create_task(client.flush(timeout=0.3))
        turns = 0
        while not waiting.done():
            await asyncio.sleep(0.01)
            turns += 1
        await client.shutdown(timeout=0)
        return turns

    with ScriptedServer([{"fault": "hang"}] * 3) as server:
        assert asyncio.run(program()) > 5


# -- the default client


def test_module_functions_use_the_environment(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """saytics.track and the others work without a client, configured from the environment."""
    monkeypatch.setenv("SAYTICS_SECRET_KEY", "sk_live_environment")
    monkeypatch.setenv("SAYTICS_HOST", server.host)
    saytics.use(RecordingSaytics())
    saytics.shutdown()
    saytics.track(user_id="u", event="E")
    saytics.identify("u", {"plan": "pro"})
    assert saytics.flush() == saytics.counts() == Counts(2, 2, 0, 0, 0, 0, 0)
    saytics.shutdown()
    assert server.requests[0].headers["authorization"] == "Bearer sk_live_environment"


def test_without_a_key_nothing_is_sent_and_nothing_raises(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A program without a key runs, and is told once."""
    monkeypatch.delenv("SAYTICS_SECRET_KEY", raising=False)
    saytics.use(RecordingSaytics())
    saytics.shutdown()
    saytics.track(user_id="u", event="E")
    saytics.track(user_id="u", event="E")
    assert saytics.shutdown().tracked == 0
    assert capfd.readouterr().err.startswith("saytics: nothing will be sent: No key")


# -- tests of programs


def test_the_recorder_records() -> None:
    """The double checks like the real one, keeps what would be sent, and starts nothing."""
    threads = threading.active_count()
    recorder = RecordingSaytics(before_send=lambda event: {**event, "context": {}})
    recorder.track(user_id=7, event="Order Completed", properties={"items": (1, 2)})
    recorder.track(user_id="null", event="Refused")
    recorder.identify("7", {"plan": "pro"})
    first, second = recorder.events
    assert {name: first[name] for name in ("event", "userId", "properties", "context")} == {
        "event": "Order Completed",
        "userId": "7",
        "properties": {"items": [1, 2]},
        "context": {},
    }
    assert second["traits"] == {"plan": "pro"}
    assert recorder.names() == ["Order Completed", "identify"]
    assert [error.code for error in recorder.errors] == ["invalid_id"]
    assert recorder.flush() == recorder.shutdown() == Counts(3, 2, 0, 1, 0, 0, 0)
    assert threading.active_count() == threads
    recorder.clear()
    assert (recorder.events, recorder.errors) == ([], [])


# -- webhooks

BODY = json.dumps({"id": "evt_1", "event": "Größe"}, ensure_ascii=False).encode()
SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two characters").decode()
NOW_S = 1_700_000_000.0


def _plain(secret: str = SECRET, body: bytes = BODY) -> dict[str, str]:
    return {"X-Saytics-Signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def _standard(key: bytes, sent: int = int(NOW_S), body: bytes = BODY) -> dict[str, str]:
    digest = hmac.new(key, f"msg_1.{sent}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(sent),
        "webhook-signature": f"v1a,other v1,{base64.b64encode(digest).decode()}",
    }


STANDARD = _standard(b"a secret of thirty-two characters")


@pytest.mark.parametrize("headers", [_plain(), STANDARD, _plain() | STANDARD])
def test_genuine_webhooks_are_believed(headers: dict[str, str]) -> None:
    """Either signature suffices; header names may come in any case."""
    headers = {name.upper(): value for name, value in headers.items()}
    assert verify(BODY, headers, secret=SECRET, now_s=NOW_S) == {"id": "evt_1", "event": "Größe"}


def test_a_secret_without_prefix_is_its_own_key() -> None:
    """Standard Webhooks with a plain secret use its characters."""
    headers = _standard(b"plain")
    assert verify(BODY, headers, secret="plain", now_s=NOW_S)["id"] == "evt_1"


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({}, BODY, "missing_signature"),
        (_plain(), BODY + b" ", "invalid_signature"),
        (_plain("other"), BODY, "invalid_signature"),
        ({"X-Saytics-Signature": "größer"}, BODY, "invalid_signature"),
        (STANDARD, BODY + b" ", "invalid_signature"),
        (_plain() | _standard(b"other"), BODY, "invalid_signature"),
        (_plain("other") | STANDARD, BODY, "invalid_signature"),
        ({**STANDARD, "webhook-id": "msg_2"}, BODY, "invalid_signature"),
        ({**STANDARD, "webhook-timestamp": str(int(NOW_S) + 1)}, BODY, "invalid_signature"),
        ({**STANDARD, "webhook-timestamp": "soon"}, BODY, "missing_signature"),
        (_standard(b"x", sent=int(NOW_S) - 301), BODY, "expired"),
        (_standard(b"x", sent=int(NOW_S) + 301), BODY, "expired"),
        (_plain(body=b"no json"), b"no json", "invalid_json"),
        (_plain(body=b"[]"), b"[]", "invalid_json"),
    ],
)
def test_other_webhooks_are_not_believed(headers: dict[str, str], body: bytes, code: str) -> None:
    """Whatever is missing, changed, old or signed by somebody else is refused, without a secret."""
    with pytest.raises(WebhookError) as caught:
        verify(body, headers, secret=SECRET, now_s=NOW_S)
    assert caught.value.code == code
    assert SECRET not in str(caught.value)


# -- proxies and certificates


class _Forwarder(BaseHTTPRequestHandler):
    """A proxy as far as plain requests go: notes what it is asked, and answers itself."""

    asked: list[tuple[str, str | None]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.path, self.headers.get("Proxy-Authorization")))
        self._answer(b'{"status":"ok","received":1}')

    def do_CONNECT(self) -> None:
        self.asked.append((self.path, self.headers.get("Proxy-Authorization")))
        assert self.headers.get("Authorization") is None
        self.send_error(502)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Stay quiet."""


@pytest.fixture
def proxy() -> Any:
    """A proxy that keeps what it is asked in `asked`."""
    handler = type("Handler", (_Forwarder,), {"asked": []})
    running = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
    running.asked = handler.asked  # type: ignore[attr-defined]
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_requests_go_through_the_proxy(proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain HTTP asks the proxy for the whole address, with the password in its URL."""
    address = f"http://user:pass%20word@127.0.0.1:{proxy.server_address[1]}"
    monkeypatch.setenv("HTTP_PROXY", address)
    monkeypatch.setenv("NO_PROXY", "other.example")
    with Saytics("sk_live_test", host="http://saytics.example/base") as client:
        client.track(user_id="u", event="E")
    assert client.counts().delivered == 1
    password = base64.b64encode(b"user:pass word").decode()
    assert proxy.asked == [("http://saytics.example/base/v1/events/batch", f"Basic {password}")]


def test_https_is_tunnelled(proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS asks the proxy for a tunnel to host and port only: the key stays inside of it."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.server_address[1]}")
    client = Saytics("sk_live_test", host="https://saytics.example", on_error=lambda *_: None)
    client.track(user_id="u", event="E")
    assert client.shutdown(0.3).delivered == 0
    assert ("saytics.example:443", None) in proxy.asked


@pytest.mark.parametrize(
    ("host", "no_proxy", "is_direct"),
    [
        ("http://saytics.example", "", False),
        ("http://saytics.example", "saytics.example", True),
        ("http://api.saytics.example", ".saytics.example", True),
        ("http://saytics.example", "*", True),
        ("http://127.0.0.1:8640", "", True),
        ("http://localhost:8640", "", True),
        ("http://[::1]:8640", "", True),
    ],
)
def test_who_is_reached_directly(
    monkeypatch: pytest.MonkeyPatch, host: str, no_proxy: str, is_direct: bool
) -> None:
    """NO_PROXY and this machine are reached directly."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (proxy_for(urlsplit(host)) is None) == is_direct


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of an authority nobody knows, for localhost, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    openssl = shutil.which("openssl")
    assert openssl is not None
    command = (
        f"{openssl} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        f"-addext subjectAltName=DNS:localhost -keyout {folder}/key.pem -out {folder}/ca.pem"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return folder / "ca.pem", folder / "key.pem"


@pytest.mark.parametrize("is_trusted", [True, False])
def test_an_authority_of_ones_own(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, is_trusted: bool
) -> None:
    """SSL_CERT_FILE names who is trusted; a server nobody vouches for gets nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with ScriptedServer() as server:
        server.use_tls(context)
        host = server.host.replace("http://127.0.0.1", "https://localhost")
        client = Saytics("sk_live_test", host=host, on_error=lambda *_: None)
        client.track(user_id="u", event="E")
        counts = client.shutdown(5 if is_trusted else 0.3)
        assert (counts.delivered, len(server.requests)) == ((1, 1) if is_trusted else (0, 0))


# -- the key


def test_the_key_is_in_no_text(
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither repr, nor errors, nor debug output, nor logs, nor the spool ever hold the key."""
    caplog.set_level(logging.DEBUG)
    key = "sk_live_0123456789abcdef"
    texts: list[str] = []
    answers = [{"status": 401, "text": "no"}, {"status": 503, "text": ""}, {"fault": "close"}]
    with ScriptedServer(answers) as server:
        client = Saytics(
            key,
            host=server.host,
            spool="always",
            debug=True,
            on_error=lambda error, events: texts.append(
                f"{error!r} {error} {vars(error)} {events}"
            ),
        )
        client.track(user_id="u", event="Refused")
        client.flush()

        def fail(*_: object, **__: object) -> None:
            raise RuntimeError(f"something with {key} in it")

        monkeypatch.setattr(client._sender._transport, "_exchange", fail)
        client.track(user_id="u", event="E")
        client.flush(0.2)
        texts += [repr(client), repr(client._options), repr(AsyncSaytics.around(client))]
        client.shutdown(0)
    for host in ("no url", "http://h?query"):
        try:
            Saytics(key, host=host)
        except ValueError:
            texts.append(traceback.format_exc())
    spooled = [
        path.read_text("utf-8") + str(path) for path in _spool().rglob("*") if path.is_file()
    ]
    said = capfd.readouterr()
    everything = "\n".join([*texts, *spooled, *caplog.messages, said.out, said.err])
    assert len(texts) > 5
    assert len(spooled) == 1
    assert key not in everything


def _spool() -> Path:
    return Path(os.environ["SAYTICS_SPOOL_DIR"])
