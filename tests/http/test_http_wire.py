"""HTTP as clients really speak it, and as none should: bytes over a socket."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from plain import Connection, request

from factories import unique, wire_event
from serving import Serving

OK = {"status": "ok", "received": 1}
BODY = json.dumps(wire_event()).encode()


def chunked(body: bytes, size: int = 7) -> bytes:
    """Return a body in chunks."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def chunked_request(key: str, body: bytes, *lines: str) -> bytes:
    """Return a POST whose body comes in chunks."""
    head = request(key, b"", "/v1/events", "Transfer-Encoding: chunked", *lines, length=False)
    return head + chunked(body)


UPGRADE = (
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
)


@pytest.mark.parametrize("way", ["length", "chunks", "one byte at a time", "no keep-alive", "1.0"])
def test_a_body_may_come_in_any_way(server: Serving, way: str):
    """With a length, in chunks, slowly, by HTTP/1.0."""
    key = server.secret_key
    with Connection(server.address) as connection:
        if way == "chunks":
            connection.send(chunked_request(key, BODY))
        elif way == "one byte at a time":
            for byte in request(key, BODY):
                connection.send(bytes((byte,)))
        elif way == "no keep-alive":
            connection.send(request(key, BODY, "/v1/events", "Connection: close"))
        else:
            connection.send(request(key, BODY, version="1.0" if way == "1.0" else "1.1"))
        answer = connection.read()
        assert (answer.status, answer.json) == (200, OK)
        if way in ("no keep-alive", "1.0"):
            assert connection.is_closed()


def test_requests_sent_ahead_are_answered_in_order(server: Serving):
    """HTTP pipelining: each request has its own answer, refusals among them."""
    key, bad = server.secret_key, json.dumps({"event": "X"}).encode()
    with Connection(server.address) as connection:
        pipelined = [request(key, BODY), request(key, bad), request("wrong", BODY)] * 3
        connection.send(b"".join([*pipelined, chunked_request(key, BODY)]))
        answers = [connection.read() for _ in range(10)]
    assert [answer.status for answer in answers] == [200, 400, 401] * 3 + [200]


def test_a_client_that_asks_before_sending_is_told_to_go_on(server: Serving):
    """`Expect: 100-continue`, as curl says for large bodies."""
    with Connection(server.address) as connection:
        head = request(server.secret_key, BODY, "/v1/events", "Expect: 100-continue")
        connection.send(head[: -len(BODY)])
        assert connection.read().status == 100
        connection.send(BODY)
        assert connection.read().json == OK


@pytest.mark.parametrize(
    ("key", "length", "status", "code"),
    [
        (None, 17 * 1024 * 1024, 413, "body_too_large"),
        ("sk_live_wrong", 100, 401, "invalid_key"),
    ],
)
def test_what_is_refused_by_its_head_needs_no_body(
    server: Serving, key: str | None, length: int, status: int, code: str
):
    """The asking client is answered before it sends a byte."""
    with Connection(server.address) as connection:
        lines = (f"Content-Length: {length}", "Expect: 100-continue")
        head = request(key or server.secret_key, b"", "/v1/events", *lines, length=False)
        answer = connection.send(head).read()
        assert (answer.status, answer.code) == (status, code)


def test_a_body_without_end_is_cut_off_at_16_mib(server: Serving):
    """Chunks tell no length; the limit holds all the same, and the connection ends."""
    with Connection(server.address) as connection:
        head = request(
            server.secret_key, b"", "/v1/events", "Transfer-Encoding: chunked", length=False
        )
        connection.send(head)
        block = b"%x\r\n%s\r\n" % (1 << 20, b" " * (1 << 20))
        try:
            for _ in range(18):
                connection.send(block)
        except ConnectionError:
            pass  # it was refused while still sending
        try:
            answer = connection.read()
        except (ConnectionError, AssertionError):
            answer = None  # the refusal was overtaken by the reset of what was still on its way
        if answer is not None:
            assert (answer.status, answer.code) == (413, "body_too_large")
    assert server.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("way", ["at once", "in pieces", "body later", "chunked"])
def test_a_client_that_offers_http_2_has_its_body_read(server: Serving, way: str):
    """The JDK's client offers `Upgrade: h2c` with every first request."""
    user = unique("jdk")
    body = json.dumps(wire_event(userId=user)).encode()
    with Connection(server.address) as connection:
        if way == "chunked":
            sent = chunked_request(server.secret_key, body, *UPGRADE)
            connection.send(sent)
        else:
            sent = request(server.secret_key, body, "/v1/events", *UPGRADE)
            cuts = {"at once": [], "in pieces": [40, 200], "body later": [len(sent) - len(body)]}
            start = 0
            for cut in [*cuts[way], len(sent)]:
                connection.send(sent[start:cut])
                start = cut
        assert connection.read().json == OK
        connection.send(request(server.secret_key, BODY) * 2)  # and the connection goes on
        assert [connection.read().status for _ in range(2)] == [200, 200]
    server.wait_visible()
    assert len(server.events(userId=user)) == 1


def test_an_upgrade_offer_pipelined_with_others_loses_none(server: Serving):
    """What follows the offered request in the same packet is read too."""
    offered = request(server.secret_key, BODY, "/v1/events", *UPGRADE)
    with Connection(server.address) as connection:
        connection.send(request(server.secret_key, BODY) + offered + offered + offered)
        assert [connection.read().json for _ in range(4)] == [OK] * 4


def test_an_upgrade_offer_does_not_smuggle_a_request(server: Serving):
    """The body of an offered request is a body, whatever it looks like."""
    inner = request(server.secret_key, BODY)
    with Connection(server.address) as connection:
        connection.send(request(server.secret_key, inner, "/v1/events", *UPGRADE))
        assert (answer := connection.read()).status == 400
        assert answer.code == "invalid_json"
        connection.send(request(server.secret_key, BODY))
        assert connection.read().json == OK


def test_a_client_that_stops_in_the_middle_is_nobodys_event(server: Serving):
    """Half-closed before its body was whole: the connection ends, nothing is stored."""
    before = server.status()["last_position"]
    with Connection(server.address) as connection:
        connection.send(request(server.secret_key, BODY)[:-5]).half_close()
        assert connection.is_closed()
    assert server.status()["last_position"] == before


def test_a_client_that_stops_sending_still_reads_its_answer(server: Serving):
    """Half-closed behind a whole request, as `nc -N` does: stored, answered, then closed."""
    with Connection(server.address) as connection:
        connection.send(request(server.secret_key, BODY)).half_close()
        assert connection.read().json == OK
        assert connection.is_closed()


def test_clients_that_go_away_in_the_middle_leave_no_trace(server: Serving):
    """Hundreds of them, at every byte of the request; the next event is taken as ever."""
    whole = request(server.secret_key, BODY, "/v1/events", *UPGRADE)
    before = server.status()["last_position"]
    with ThreadPoolExecutor(8) as senders:
        list(senders.map(lambda cut: _send_and_go(server, whole[:cut]), range(1, len(whole), 3)))
    assert server.track(wire_event()).json() == OK
    assert server.status()["last_position"] == before + 1


def _send_and_go(server: Serving, content: bytes) -> None:
    with Connection(server.address) as connection:
        connection.send(content)


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n\r\nnonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v1/events HTTP/9.9\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nContent-Length: abc\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /v1/events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_json(server: Serving, sent: bytes):
    """A 4xx in the one shape, or at least the end of the connection; never a 500."""
    with Connection(server.address) as connection:
        connection.send(sent)
        answer = connection.read()
        assert 400 <= answer.status < 500
        assert answer.code in ("invalid_http", "missing_key", "invalid_json")


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 10", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: identity",),
    ],
)
def test_two_ways_to_say_where_a_body_ends_never_split_it(server: Serving, lines: tuple[str, ...]):
    """Request smuggling: what stands behind is not run as a request with its own answer 200."""
    smuggled = request(server.secret_key, BODY)
    before = server.status()["last_position"]
    with Connection(server.address) as connection:
        head = request(server.secret_key, b"", "/v1/events", *lines, length=False)
        connection.send(head + smuggled)
        assert connection.read().status in (400, 413, 501)
        assert connection.is_closed()
    assert server.status()["last_position"] == before


def test_a_head_without_end_is_cut_off(server: Serving):
    """Megabytes of header never pile up: refused, or the connection ended."""
    with Connection(server.address, limit_s=3) as connection:
        with contextlib.suppress(ConnectionError):
            connection.send(b"POST /v1/events HTTP/1.1\r\nHost: a\r\n")
            for number in range(3_000):
                connection.send(b"X-%d: %s\r\n" % (number, b"y" * 1_000))
        connection.is_closed()  # a TimeoutError says that it is still reading


def test_slow_senders_hold_nobody_up(server: Serving):
    """A hundred connections that have sent half a request; another is answered at once."""
    half = request(server.secret_key, BODY)[:-10]
    slow = [Connection(server.address).send(half) for _ in range(100)]
    try:
        for _ in range(20):
            assert server.track(wire_event()).json() == OK
        for connection in slow[:10]:
            connection.send(BODY[-10:])
            assert connection.read().json == OK
    finally:
        for connection in slow:
            connection.__exit__()


def test_a_sender_slower_than_the_limit_is_told_so(operated: Serving):
    """408 with a close; the limit is lowered here so that nobody waits a minute."""
    operated.operate("from saytics_server import collect; collect.BODY_TIMEOUT_S = 0.2")
    try:
        with Connection(operated.address) as connection:
            answer = connection.send(request(operated.secret_key, BODY)[:-10]).read()
            assert (answer.status, answer.code) == (408, "request_timeout")
            assert connection.is_closed()
    finally:
        operated.operate("collect.BODY_TIMEOUT_S = 60.0")


@pytest.mark.slow
def test_a_huge_event_holds_nobody_up(server: Serving):
    """Eight million values in one body: others are answered meanwhile."""
    values = b"1," * 8_000_000 + b"1"
    huge = b'{"event":"X","userId":"u","unknown":1,"properties":{"a":[%s]}}' % values
    with ThreadPoolExecutor(1) as sender:
        judging = sender.submit(server.track, huge)
        longest = 0.0
        while not judging.done():
            started = time.monotonic()
            assert server.client.get("/healthz").status_code == 200
            longest = max(longest, time.monotonic() - started)
        assert judging.result().status_code == 200
    assert longest < 1


def test_the_control_socket_is_its_owners_alone(server: Serving):
    """It has no password, so its mode is what guards it."""
    path: Path = server.data_dir / "control.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    assert server.data_dir.stat().st_mode & 0o777 == 0o700
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
