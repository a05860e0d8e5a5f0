"""What the client promises the program that calls it, beside the shared wire cases."""

import datetime as dt
import decimal
import enum
import threading
import time
import uuid
from typing import Any

import pytest
from scripted_server import ScriptedServer

from saytics import Counts, Saytics, SayticsError
from saytics.message_id import MessageIds


def _client(server: ScriptedServer, **options: Any) -> Saytics:
    return Saytics("sk_live_test", host=server.host, **options)


def test_the_contracts_snippet(server: ScriptedServer) -> None:
    """The snippet of the contract delivers its event by the time flush returns."""
    saytics = _client(server)
    saytics.track(
        user_id="user_456",
        event="Subscription Upgraded",
        properties={"plan": "pro", "mrr": 49.99},
    )
    assert saytics.flush() == Counts(1, 1, 0, 0, 0, 0, 0)
    assert [event["event"] for event in server.events()] == ["Subscription Upgraded"]


def test_with_block_sends_at_its_end(server: ScriptedServer) -> None:
    """Leaving the with block flushes, also by an exception, which passes through."""
    saytics = _client(server)

    def program() -> None:
        with saytics:
            saytics.identify("u", {"plan": "pro"})
            raise KeyError

    with pytest.raises(KeyError):
        program()
    assert [event["type"] for event in server.events()] == ["identify"]
    assert saytics.counts().delivered == 1


def test_python_values_have_a_json_form(server: ScriptedServer) -> None:
    """Values of the standard library that JSON has no word for go out as their nearest."""

    class Colour(enum.Enum):
        RED = "red"

    properties = {
        "moment": dt.datetime(2024, 1, 15, 12, 30, tzinfo=dt.timezone(dt.timedelta(hours=2))),
        "naive": dt.datetime(2024, 1, 15, 12, 30),  # noqa: DTZ001 - the point
        "day": dt.date(2024, 1, 15),
        "price": decimal.Decimal("49.99"),
        "whole": decimal.Decimal(7),
        "id": uuid.UUID(int=1),
        "colour": Colour.RED,
        "tuple": (1, 2),
        "set": {1},
        5: "number as key",
    }
    with _client(server) as saytics:
        saytics.track(user_id=uuid.UUID(int=2), event="E", properties=properties)
    (event,) = server.events()
    assert event["userId"] == "00000000-0000-0000-0000-000000000002"
    assert event["properties"] == {
        "moment": "2024-01-15T10:30:00.000Z",
        "naive": "2024-01-15T12:30:00.000",
        "day": "2024-01-15",
        "price": 49.99,
        "whole": 7,
        "id": "00000000-0000-0000-0000-000000000001",
        "colour": "red",
        "tuple": [1, 2],
        "set": [1],
        "5": "number as key",
    }


def test_later_changes_do_not_reach_the_event(server: ScriptedServer) -> None:
    """An event is what it was at the call, whatever the program does to its values afterwards."""
    properties = {"items": [1]}
    with _client(server) as saytics:
        saytics.track(user_id="u", event="E", properties=properties)
        properties["items"].append(2)
    assert server.events()[0]["properties"] == {"items": [1]}


@pytest.mark.parametrize("value", [object(), lambda: 1, {(1, 2): 3}, b"bytes", 1j])
def test_track_never_raises(server: ScriptedServer, value: Any) -> None:
    """Values without a JSON form are reported and rejected, never raised into the program."""
    errors: list[str] = []
    saytics = _client(server, on_error=lambda error, events: errors.append(error.code))
    saytics.track(user_id="u", event="E", properties={"value": value})
    assert errors == ["invalid_event"]
    assert saytics.shutdown() == Counts(1, 0, 0, 1, 0, 0, 0)


def test_values_that_raise_when_looked_at(server: ScriptedServer) -> None:
    """A bug in the program's own types is reported as an event lost, not raised."""

    class Broken(dict[str, Any]):
        def items(self) -> Any:
            raise ZeroDivisionError

    class BrokenDecimal(decimal.Decimal):
        def to_integral_value(self, *_: Any) -> Any:
            raise ZeroDivisionError

    errors: list[str] = []
    saytics = _client(server, on_error=lambda error, events: errors.append(error.code))
    saytics.track(user_id="u", event="E", properties={"value": BrokenDecimal(1)})
    assert errors == ["internal_error"]
    assert saytics.shutdown().rejected == 1


def test_before_send_changes_and_leaves_out(server: ScriptedServer) -> None:
    """before_send may change an event or leave it out; what is left out is not counted."""

    def scrub(event: dict[str, Any]) -> dict[str, Any] | None:
        if event["event"] == "Secret":
            return None
        event["properties"] = {"email": "***"}
        return event

    saytics = _client(server, before_send=scrub)
    saytics.track(user_id="u", event="Secret")
    saytics.track(user_id="u", event="Open", properties={"email": "a@b.example"})
    assert saytics.shutdown() == Counts(1, 1, 0, 0, 0, 0, 0)
    assert [event["properties"] for event in server.events()] == [{"email": "***"}]


def test_before_send_that_raises_sends_nothing(server: ScriptedServer) -> None:
    """An event before_send could not see through is dropped and reported, not sent as it was."""
    errors: list[str] = []

    def fail(event: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError

    saytics = _client(
        server, before_send=fail, on_error=lambda error, events: errors.append(error.code)
    )
    saytics.track(user_id="u", event="E")
    assert saytics.shutdown() == Counts(1, 0, 0, 0, 1, 0, 0)
    assert (errors, server.requests) == (["before_send_failed"], [])


def test_on_error_may_raise_and_may_call_back(capfd: pytest.CaptureFixture[str]) -> None:
    """An on_error that raises or calls flush neither ends nor holds up the sending."""
    refusal = {"status": 400, "body": {"error": {"code": "batch_rejected", "message": "No."}}}
    with ScriptedServer([refusal]) as server:

        def on_error(error: SayticsError, events: list[dict[str, Any]]) -> None:
            saytics.flush()
            raise RuntimeError("the program's own")

        saytics = _client(server, on_error=on_error)
        saytics.track(user_id="u", event="First")
        started = time.monotonic()
        saytics.flush()
        assert time.monotonic() - started < 5
        saytics.track(user_id="u", event="Second")
        assert saytics.shutdown() == Counts(2, 1, 0, 1, 0, 0, 0)
    assert "the program's own" in capfd.readouterr().err


def test_losses_are_said_on_stderr_once(
    server: ScriptedServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without on_error a loss is one line on stderr, without the key or the event's content."""
    saytics = _client(server)
    for _ in range(3):
        saytics.track(user_id="null", event="E", properties={"card": "4111"})
    saytics.shutdown()
    said = capfd.readouterr().err
    assert said == "saytics: 1 event lost: invalid_id: userId is a placeholder, not an id.\n"


def test_debug_tells_what_happens_without_the_key(capfd: pytest.CaptureFixture[str]) -> None:
    """Debug mode writes requests, retries and warnings, and never the key."""
    answers = [
        {"status": 503, "text": ""},
        {"status": 200, "body": {"status": "ok", "received": 1, "warnings": [{"code": "cut"}]}},
    ]
    with ScriptedServer(answers) as server, _client(server, debug=True) as saytics:
        saytics.track(user_id="u", event="E")
    said = capfd.readouterr().err
    assert "503" in said
    assert "next in" in said
    assert "cut" in said
    assert "sk_live_test" not in said


def test_flush_returns_within_its_limit() -> None:
    """A server that never answers costs flush its time limit, and what is left is counted."""
    with ScriptedServer([{"fault": "hang"}] * 3) as server:
        saytics = _client(server, on_error=lambda *_: None)
        saytics.track(user_id="u", event="E")
        started = time.monotonic()
        assert saytics.flush(timeout=0.3) == Counts(1, 0, 0, 0, 0, 0, 1)
        assert 0.3 <= time.monotonic() - started < 1
        saytics.shutdown(timeout=0)


def test_shutdown_drops_and_reports_what_is_left() -> None:
    """Shutdown returns within its limit, reports the rest, and leaves no thread behind."""
    lost: list[tuple[str, list[str]]] = []
    with ScriptedServer([{"fault": "hang"}] * 3) as server:
        saytics = _client(
            server,
            spool="off",
            flush_at=1,
            on_error=lambda error, events: lost.append(
                (error.code, [event["event"] for event in events])
            ),
        )
        saytics.track(user_id="u", event="Sending")
        saytics.track(user_id="u", event="Waiting")
        server.wait_for_requests(1)
        thread = saytics._sender._thread
        started = time.monotonic()
        assert saytics.shutdown(timeout=0.2) == Counts(2, 0, 0, 0, 2, 0, 0)
        assert time.monotonic() - started < 1
        assert lost == [("not_sent", ["Sending", "Waiting"])]
        assert thread is not None
        thread.join(timeout=5)
        assert not thread.is_alive()


def test_many_threads_lose_nothing(server: ScriptedServer) -> None:
    """Events of many threads arrive once each, and the counts agree."""
    saytics = _client(server)

    def work(number: int) -> None:
        for index in range(500):
            saytics.track(user_id=f"u{number}", event="E", properties={"index": index})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert saytics.shutdown() == Counts(4000, 4000, 0, 0, 0, 0, 0)
    events = server.events()
    assert len({event["messageId"] for event in events}) == len(events) == 4000


def test_message_ids_rise() -> None:
    """Ids rise within a millisecond, past 4,096 of them, and when the clock goes back."""
    ids = MessageIds()
    made = [ids.next(1_700_000_000_000) for _ in range(10_000)]
    made.append(ids.next(1_600_000_000_000))
    made.append(ids.next(1_700_000_001_000))
    assert made == sorted(set(made))
    assert uuid.UUID(made[0]).version == 7
    assert int(made[0].replace("-", "")[:12], 16) == 1_700_000_000_000


@pytest.mark.parametrize(
    "options",
    [
        {"key": ""},
        {"key": "sk live"},
        {"host": "127.0.0.1:8640"},
        {"host": "http://user:word@host"},
        {"flush_at": 0},
        {"flush_at": 1001},
        {"flush_interval_s": 0},
        {"timeout_s": float("nan")},
        {"max_retries": -1},
        {"queue_max": 1.5},
        {"spool": "sometimes"},
        {"spool_bytes_max": 0},
    ],
)
def test_wrong_options_raise_at_construction(options: dict[str, Any]) -> None:
    """A wrong option raises ValueError at once."""
    with pytest.raises(ValueError, match=r".+"):
        Saytics(**{"key": "sk_live_test", **options})


def test_unknown_options_raise() -> None:
    """An option misspelt is not accepted in silence."""
    with pytest.raises(TypeError):
        Saytics("sk_live_test", spool_directory="/somewhere")  # type: ignore[call-arg]


def test_key_and_host_from_the_environment(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without arguments the client takes key and host from the environment."""
    monkeypatch.setenv("SAYTICS_SECRET_KEY", "sk_live_environment\n")
    monkeypatch.setenv("SAYTICS_HOST", f"{server.host}/base/")
    with Saytics() as saytics:
        saytics.track(user_id="u", event="E")
    assert server.requests[0].headers["authorization"] == "Bearer sk_live_environment"
    assert server.requests[0].path == "/base/v1/events/batch"


def test_disabled_client_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """enabled=False works without a key, for tests and development."""
    monkeypatch.delenv("SAYTICS_SECRET_KEY", raising=False)
    with Saytics(enabled=False) as saytics:
        saytics.track(user_id="u", event="E")
    assert saytics.counts() == Counts(0, 0, 0, 0, 0, 0, 0)
