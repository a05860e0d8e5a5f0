"""The integrations, each with its real framework."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import django
import pytest
from celery.signals import worker_process_shutdown
from django.conf import settings
from fastapi import FastAPI, Request
from flask import Flask
from scripted_server import ScriptedServer
from starlette.testclient import TestClient

import saytics
from saytics import Saytics
from saytics.integrations.asgi import SayticsMiddleware
from saytics.integrations.aws_lambda import flushing
from saytics.integrations.celery import connect
from saytics.integrations.flask import FlaskSaytics
from saytics.testing import RecordingSaytics

SOURCE = Path(__file__).parents[1] / "src"

ROW = ("event", "userId", "anonymousId", "properties")


def rows(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what an event is about, and its context without the library's."""
    return [
        {name: event[name] for name in ROW if name in event}
        | {name: value for name, value in event["context"].items() if name != "library"}
        for event in events
    ]


@pytest.fixture
def recorder() -> RecordingSaytics:
    made = RecordingSaytics()
    saytics.use(made)
    return made


def test_no_integration_is_imported_with_the_sdk() -> None:
    """`import saytics` loads no framework, no integration and not asyncio."""
    program = "import saytics, sys; print([m for m in sys.modules if 'integrations' in m])"
    ended = subprocess.run(
        [sys.executable, "-c", program + "; assert 'asyncio' not in sys.modules"],
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.stderr.strip()) == ("[]\n", "")


# -- Django


def _order(request: Any) -> Any:
    from django.http import HttpResponse  # noqa: PLC0415 - after the settings

    from saytics.integrations.django import track  # noqa: PLC0415

    track(request, "Order Completed", {"total": 49.99}, user_id=request.GET.get("user"))
    if "fail" in request.GET:
        raise ZeroDivisionError
    return HttpResponse("ok")


@pytest.fixture(scope="module")
def _django() -> None:
    from django.urls import path  # noqa: PLC0415

    if not settings.configured:
        settings.configure(
            SECRET_KEY="tests",
            ROOT_URLCONF=(path("order", _order),),
            ALLOWED_HOSTS=["testserver"],
            INSTALLED_APPS=[
                "django.contrib.auth",
                "django.contrib.contenttypes",
                "saytics.integrations.django.SayticsConfig",
            ],
            MIDDLEWARE=[
                "django.contrib.sessions.middleware.SessionMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware",
            ],
            SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
            DATABASES={
                "default": {
                    "ENGINE": "django.db.backends.sqlite3",
                    "NAME": ":memory:",
                    "ATOMIC_REQUESTS": True,
                }
            },
            SAYTICS={"key": "sk_live_settings", "spool": "off", "host": "http://127.0.0.1:9"},
        )
        django.setup()


@pytest.mark.usefixtures("_django")
def test_django_settings_make_the_default_client() -> None:
    """The options in `settings.SAYTICS` are those of `saytics.track`."""
    from django.apps import apps  # noqa: PLC0415

    apps.get_app_config("saytics").ready()
    assert repr(saytics.default_client()) == "<Saytics host='http://127.0.0.1:9'>"


@pytest.mark.usefixtures("_django")
def test_django_tracks_at_commit(recorder: RecordingSaytics) -> None:
    """An event of a request is tracked with its context once its transaction has committed."""
    from django.test import Client  # noqa: PLC0415

    client = Client(raise_request_exception=False)
    browser = {"HTTP_USER_AGENT": "Browser/1", "REMOTE_ADDR": "203.0.113.9"}
    assert client.get("/order?user=user_456", **browser).status_code == 200
    assert client.get("/order?user=user_456&fail=1", **browser).status_code == 500
    assert rows(recorder.events) == [
        {
            "event": "Order Completed",
            "userId": "user_456",
            "properties": {"total": 49.99},
            "ip": "203.0.113.9",
            "userAgent": "Browser/1",
        }
    ]


@pytest.mark.usefixtures("_django")
def test_django_knows_who_is_logged_in(recorder: RecordingSaytics) -> None:
    """Without an id of its own an event is the logged-in user's, or the session's."""
    from django.contrib.auth.models import AnonymousUser, User  # noqa: PLC0415
    from django.test import RequestFactory  # noqa: PLC0415

    from saytics.integrations.django import visit  # noqa: PLC0415

    request = RequestFactory().get("/")
    request.user = User(pk=7, username="ada")
    visit(request).track("Known")
    request.user = AnonymousUser()
    request.session = type("Session", (), {"session_key": "secret"})()
    visit(request).track("Visitor")
    known, visitor = recorder.events
    assert known["userId"] == "7"
    assert (len(visitor["anonymousId"]), "secret" in str(visitor)) == (32, False)


# -- FastAPI and Starlette


def test_fastapi_has_a_visit_in_each_request(server: ScriptedServer) -> None:
    """The middleware gives each request its context, and flushes when the application ends."""
    client = Saytics("sk_live_test", host=server.host, flush_interval_s=60)
    app = FastAPI()
    app.add_middleware(SayticsMiddleware, client=client)

    @app.post("/orders")
    async def order(request: Request) -> str:
        request.state.saytics.track("Order Completed", {"total": 1}, user_id="u")
        return "ok"

    with TestClient(app, headers={"User-Agent": "Browser/1"}) as browser:
        assert browser.post("/orders").status_code == 200
        assert server.requests == []
    assert rows(server.events()) == [
        {
            "event": "Order Completed",
            "userId": "u",
            "properties": {"total": 1},
            "ip": "testclient",
            "userAgent": "Browser/1",
        }
    ]
    client.shutdown()


# -- Flask


def test_flask_tracks_with_the_requests_context(recorder: RecordingSaytics) -> None:
    """Within a request events carry its context, outside they have none."""
    app = Flask("tests")
    extension = FlaskSaytics(app, client=recorder)

    @app.post("/orders")
    def order() -> str:
        extension.track("Order Completed", {"total": 1}, user_id="u")
        return "ok"

    assert app.test_client().post("/orders", headers={"User-Agent": "B/1"}).status_code == 200
    extension.track("Nightly Job", user_id="u")
    assert rows(recorder.events) == [
        {
            "event": "Order Completed",
            "userId": "u",
            "properties": {"total": 1},
            "ip": "127.0.0.1",
            "userAgent": "B/1",
        },
        {"event": "Nightly Job", "userId": "u"},
    ]
    assert app.extensions["saytics"] is extension


def test_flask_takes_options_from_the_config() -> None:
    """`app.config["SAYTICS"]` makes the client."""
    app = Flask("tests")
    app.config["SAYTICS"] = {"enabled": False, "host": "http://127.0.0.1:9"}
    assert repr(FlaskSaytics(app).client) == "<Saytics host='http://127.0.0.1:9'>"


# -- Celery


def test_celery_flushes_when_a_worker_ends(server: ScriptedServer) -> None:
    """What a task has tracked is sent when Celery says that its process ends."""
    client = Saytics("sk_live_test", host=server.host, flush_interval_s=60)
    connect(client)
    client.track(user_id="u", event="Order Completed")
    worker_process_shutdown.send(sender=None, pid=0, exitcode=0)
    assert [event["event"] for event in server.events()] == ["Order Completed"]
    client.shutdown()


@pytest.mark.slow
def test_celery_pool_processes_send_what_they_tracked(
    server: ScriptedServer, tmp_path: Path
) -> None:
    """The processes of a prefork pool have sent everything when the worker ends by SIGTERM."""
    (tmp_path / "broker").mkdir()
    (tmp_path / "jobs.py").write_text(
        textwrap.dedent(
            """
            import celery, saytics
            from saytics.integrations.celery import connect
            app = celery.Celery("jobs", broker="filesystem://")
            app.conf.broker_transport_options = {
                name: "broker" for name in ("data_folder_in", "data_folder_out", "control_folder")
            }
            saytics.configure(flush_interval_s=60)
            connect()
            @app.task
            def order(number):
                saytics.track(user_id="u", event="E", properties={"number": number})
                open(f"done-{number}", "w").close()
            """
        )
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(SOURCE),
        "SAYTICS_HOST": server.host,
        "SAYTICS_SECRET_KEY": "sk_live_test",
    }
    command = [sys.executable, "-m", "celery", "-A", "jobs", "worker", "-c", "2", "-P", "prefork"]
    send = "import jobs; [jobs.order.delay(number) for number in range(10)]"
    subprocess.run([sys.executable, "-c", send], cwd=tmp_path, env=environment, check=True)
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as worker:
        deadline_s = time.monotonic() + 60
        while len(list(tmp_path.glob("done-*"))) < 10:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    assert sorted(event["properties"]["number"] for event in server.events()) == list(range(10))


# -- AWS Lambda


class _Invocation:
    """What the host passes as `context`, as far as it matters here."""

    def __init__(self, left_s: float) -> None:
        self._left_s = left_s

    def get_remaining_time_in_millis(self) -> int:
        return int(self._left_s * 1000)


def test_a_lambda_handler_has_sent_when_it_returns(server: ScriptedServer) -> None:
    """Events are with the server when the handler returns, and when it raises."""
    client = Saytics("sk_live_test", host=server.host, flush_interval_s=60)

    @flushing(client=client)
    def handler(event: dict[str, Any], context: Any) -> str:
        client.track(user_id=event["userId"], event="Order Completed")
        if event["userId"] == "broken":
            raise ZeroDivisionError
        return "ok"

    assert handler({"userId": "u"}, _Invocation(30)) == "ok"
    assert len(server.events()) == 1
    with pytest.raises(ZeroDivisionError):
        handler({"userId": "broken"}, _Invocation(30))
    assert len(server.events()) == 2
    client.shutdown()


def test_a_lambda_handler_keeps_within_its_time() -> None:
    """With a server that does not answer, the flush ends before the invocation's time does."""
    with ScriptedServer([{"fault": "hang"}] * 3) as server:
        saytics.configure("sk_live_test", host=server.host, on_error=lambda *_: None)

        @flushing
        def handler(event: dict[str, Any], context: Any) -> None:
            saytics.track(user_id="u", event="E")

        started = time.monotonic()
        handler({}, _Invocation(0.8))
        assert time.monotonic() - started < 0.8
        saytics.shutdown(timeout=0)
