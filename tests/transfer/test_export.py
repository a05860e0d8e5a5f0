"""Export and import: everything comes out in three formats, and goes in again once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from factories import unique, wire_event
from keeping import saytics
from serving import Serving


def exported(serving: Serving, out: Path, format_: str, *more: object) -> dict[str, Any]:
    """Export and return what the command tells."""
    arguments = ["--out", out, "--format", format_, "--data-dir", serving.data_dir, *more]
    done = saytics("export", *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr + serving.errors
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with events and calls of every shape."""
    serving = Serving(tmp_path_factory.mktemp("export") / "data").start()
    for body in (
        wire_event(
            event='Größe, "quoted"\nand broken',
            userId="u/1",
            anonymousId="a1",
            timestamp="2024-01-15T10:30:00.123Z",
            properties={"n": 1.0, "nested": {"a.b": [1, None]}, "text": "=1+1"},
            context={"ip": "192.0.2.1"},
            messageId="first",
        ),
        {"event": "Bare", "anonymousId": "a2", "timestamp": "2024-02-01T00:00:00Z"},
    ):
        assert serving.track(body).status_code == 200
    serving.track({"event": "From a browser", "anonymousId": "a1"}, key=serving.write_key)
    for body in (
        {"userId": "u2", "traits": {"plan": "pro", "old": 1, "é": [True]}, "anonymousId": "a2"},
        {"userId": "u2", "traits": {"plan": "free", "old": None}, "messageId": "call"},
        {"userId": "u3"},
    ):
        assert serving.post("/v1/users/identify", body).status_code == 200
    serving.wait_visible()
    yield serving
    serving.kill()


@pytest.mark.slow
def test_lines_of_events_are_what_the_api_shows(full: Serving, tmp_path: Path):
    """The same objects in order of acceptance; persons with their latest traits and ids."""
    told = exported(full, tmp_path / "out", "jsonl")
    assert told["files"] == [
        {"name": "events-my-workspace-00001.jsonl", "rows": 3},
        {"name": "identifies-my-workspace-00001.jsonl", "rows": 3},
        {"name": "persons-my-workspace-00001.jsonl", "rows": 3},
    ]
    events = lines(tmp_path / "out/events-my-workspace-00001.jsonl")
    assert events == sorted(full.events(), key=lambda event: event["id"])
    first = (tmp_path / "out/events-my-workspace-00001.jsonl").read_text().splitlines()[0]
    assert '"n":1.0' in first, "numbers stay as they were sent"
    calls = lines(tmp_path / "out/identifies-my-workspace-00001.jsonl")
    assert [
        (call["type"], call["userId"], call["anonymousId"], call["traits"], call["messageId"])
        for call in calls
    ] == [
        ("identify", "u2", "a2", {"old": 1, "plan": "pro", "é": [True]}, None),
        ("identify", "u2", None, {"old": None, "plan": "free"}, "call"),
        ("identify", "u3", None, {}, None),
    ]
    assert lines(tmp_path / "out/persons-my-workspace-00001.jsonl") == [
        {"userId": "u/1", "traits": {}, "anonymousIds": ["a1"]},
        {"userId": "u2", "traits": {"plan": "free", "é": [True]}, "anonymousIds": ["a2"]},
        {"userId": "u3", "traits": {}, "anonymousIds": []},
    ]


@pytest.mark.slow
def test_parquet_and_csv_open_in_duckdb_with_times_and_texts(full: Serving, tmp_path: Path):
    """Both say the same as the lines, and a range leaves out what is outside of it."""
    exported(full, tmp_path / "parquet", "parquet")
    exported(full, tmp_path / "csv", "csv", "--from", "2024-01-01", "--to", "2024-01-31")
    columns = 'id, event, "userId", epoch_ms("timestamp") AS ms, properties, "messageId"'
    wanted = [
        (
            event["id"],
            event["event"],
            event["userId"],
            event["properties"],
            event["messageId"],
        )
        for event in sorted(full.events(), key=lambda event: event["id"])
    ]

    def read(source: str) -> list[tuple[Any, ...]]:
        found = duckdb.sql(f"SELECT {columns} FROM {source} ORDER BY id").fetchall()
        assert [row[3] for row in found[:1]] == [1_705_314_600_123]
        return [(*row[:3], json.loads(row[4]), row[5]) for row in found]

    assert read(f"'{tmp_path}/parquet/events-*.parquet'") == wanted
    assert read(f"'{tmp_path}/csv/events-*.csv'") == wanted[:1]
    types = duckdb.sql(f"DESCRIBE SELECT * FROM '{tmp_path}/parquet/events-*.parquet'").fetchall()
    assert {row[0]: row[1] for row in types}["timestamp"] == "TIMESTAMP WITH TIME ZONE"
    ids = duckdb.sql(f"SELECT \"anonymousIds\" FROM '{tmp_path}/parquet/persons-*.parquet'")
    assert sorted(ids.fetchall()) == [([],), (["a1"],), (["a2"],)]


@pytest.mark.slow
def test_imported_files_count_once_however_often(full: Serving, tmp_path: Path):
    """Into another workspace: everything is new, then everything is a duplicate."""
    exported(full, tmp_path / "out", "jsonl")
    files = [tmp_path / f"out/{kind}-my-workspace-00001.jsonl" for kind in ("events", "identifies")]
    target = Serving(tmp_path / "other").start()
    try:
        arguments = [*files, "--workspace", "my-workspace", "--data-dir", target.data_dir]
        done = [saytics("import", *arguments) for _ in range(2)]
        assert [one.stderr for one in done] == ["", ""]
        assert [json.loads(one.stdout) for one in done] == [
            {"sent": 6, "new": 6, "duplicates": 0, "rejected": 0},
            {"sent": 6, "new": 0, "duplicates": 6, "rejected": 0},
        ]
        target.wait_visible()
        shape = ("event", "userId", "anonymousId", "timestamp", "properties", "context")
        shown = [
            sorted([event[name] for name in shape] for event in serving.events())
            for serving in (full, target)
        ]
        assert shown[0] == shown[1]
        profiles = [
            {name: serving.get("/v1/users/u2").json()[name] for name in ("traits", "anonymous_ids")}
            for serving in (full, target)
        ]
        assert profiles[0] == profiles[1]
    finally:
        target.kill()


@pytest.mark.slow
def test_an_export_goes_on_behind_its_last_finished_file(tmp_path: Path):
    """Cut off in its second file, given again: the first is kept, the rest comes, nothing twice."""
    serving = Serving(tmp_path / "data", operated=True).start()
    name = unique("Exported")
    try:
        serving.batch([wire_event(event=name, userId=f"u{n}") for n in range(250)])
        serving.wait_visible()
        serving.operate(
            "import saytics_server.export as export\n"
            "export.FILE_ROWS, export.PAGE_ROWS = 100, 30\n"
            "write = export.write\n"
            "def fail(path, *rest):\n"
            "    if '-00002' in path.name: raise OSError(28, 'No space left on device')\n"
            "    return write(path, *rest)\n"
            "export.write = fail"
        )
        out = tmp_path / "out"
        arguments = ["export", "--out", out, "--format", "jsonl", "--data-dir", serving.data_dir]
        failed = saytics(*arguments)
        assert failed.returncode == 1
        assert "give the same command again" in failed.stderr
        first = out / "events-my-workspace-00001.jsonl"
        written = first.stat().st_mtime_ns
        serving.operate("export.write = write")
        serving.batch([wire_event(event=name, userId="late") for _ in range(5)])
        serving.wait_visible()
        done = saytics(*arguments)
        assert done.returncode == 0, done.stderr
        assert first.stat().st_mtime_ns == written
        rows = [line for path in sorted(out.glob("events-*")) for line in lines(path)]
        assert sorted(row["userId"] for row in rows) == sorted(f"u{n}" for n in range(250))
        assert [len(lines(path)) for path in sorted(out.glob("persons-*"))] == [100, 100, 50]
        other = saytics(*arguments, "--from", "2024-01-01")
        assert other.returncode == 1
        assert "holds an export by another command" in other.stderr
        assert serving.stop() == 0
        shutil.rmtree(out)
        assert saytics(*arguments).returncode == 0  # no server runs
        assert len(lines(out / "events-my-workspace-00001.jsonl")) == 255
    finally:
        serving.kill()
