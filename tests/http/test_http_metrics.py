"""Metrics: they count what was sent, are for whoever may read them, and name nobody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from factories import unique, wire_event
from serving import Serving

TOKEN = "scraper-of-the-tests"
OPERATING = Path(__file__).parents[2] / "docs/operating.md"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server nobody else sends to, whose metrics may be read with a token."""
    serving = Serving(
        tmp_path_factory.mktemp("watched") / "data", environment={"SAYTICS_METRICS_TOKEN": TOKEN}
    ).start()
    yield serving
    serving.stop()


def read(serving: Serving, token: str = TOKEN) -> httpx.Response:
    return serving.client.get("/metrics", headers={"Authorization": f"Bearer {token}"})


def numbers(text: str) -> dict[str, float]:
    """Return every sample by its name and labels, as a scraper reads them."""
    return {
        sample.name + "".join(f" {label}" for label in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_count_what_was_sent(watched: Serving) -> None:
    """Accepted, duplicate, rejected and refused: each is counted once, where it belongs."""
    before = numbers(read(watched).text)
    event = wire_event(messageId=unique("id"))
    batch = [event, event, wire_event(), {"event": "no id"}]
    assert watched.batch(batch).status_code == 200
    assert watched.client.post("/v1/events", content=b"{}").status_code == 401
    watched.wait_visible()
    after = numbers(read(watched).text)
    changed = {name: after[name] - before.get(name, 0) for name in after}
    counted = {
        "saytics_requests_total": 2,
        "saytics_events_total accepted": 2,
        "saytics_events_total duplicate": 1,
        "saytics_events_total rejected": 1,
        "saytics_refusals_total missing_key": 1,
        "saytics_loaded_rows_total": 3,
    }
    assert {name: changed[name] for name in counted} == counted
    assert changed["saytics_log_commits_total"] >= 1
    assert after["saytics_load_lag_rows"] == after["saytics_log_waiting_requests"] == 0
    assert after["saytics_disk_free_bytes"] > 0


def test_queries_are_counted_by_where_their_answer_came_from(watched: Serving) -> None:
    """A question asked twice is answered once by the store and once from what was kept."""
    name = unique("Counted")
    assert watched.track(wire_event(event=name)).status_code == 200
    watched.wait_visible()
    counts = []
    for _ in range(2):
        before = numbers(read(watched).text)
        assert watched.get("/v1/reports/events", event=name).status_code == 200
        after = numbers(read(watched).text)
        counts.append(
            {
                outcome: after[f"saytics_queries_total {outcome}"]
                - before[f"saytics_queries_total {outcome}"]
                for outcome in ("answered", "kept", "not_answered")
            }
        )
    assert counts[0]["answered"] > 0
    assert counts[1]["answered"] == counts[1]["not_answered"] == 0
    assert counts[1]["kept"] == counts[0]["answered"]


def test_the_token_or_the_data_directory_is_needed(watched: Serving, server: Serving) -> None:
    """A wrong token reads nothing, a server without one has no metrics; the socket needs none."""
    wrong = read(watched, "guessed")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "invalid_key")
    none = read(server)
    assert (none.status_code, none.json()["error"]["code"]) == (404, "not_found")
    transport = httpx.HTTPTransport(uds=str(server.data_dir / "control.sock"))
    with httpx.Client(transport=transport, base_url="http://control") as control:
        assert "saytics_requests_total" in numbers(control.get("/metrics").text)


def test_metrics_name_nobody(watched: Serving) -> None:
    """No workspace, key, event or person is in them, however much was sent."""
    event = wire_event(event=unique("Secret Event"), userId=unique("secret-user"))
    assert watched.track(event).status_code == 200
    text = read(watched).text
    for name in (event["event"], event["userId"], watched.secret_key, "default", TOKEN):
        assert name not in text


def test_every_metric_is_documented(watched: Serving) -> None:
    """The table of metrics has a row for each name, and no other."""
    found = {name.split(" ")[0] for name in numbers(read(watched).text)}
    ours = {name for name in found if name.startswith("saytics_")}
    documented = re.findall(r"^\| `(saytics_\w+)", OPERATING.read_text(), re.MULTILINE)
    assert sorted(ours) == sorted(documented)
