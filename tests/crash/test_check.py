"""`saytics check`: silent about what a kill leaves, and loud about every kind of damage."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sending import Load

from factories import wire_event
from keeping import flip_byte, found_by_check, in_store, saytics
from serving import Serving


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a server that was killed under load."""
    serving = Serving(tmp_path_factory.mktemp("check") / "data").start()
    serving.batch(
        [
            wire_event(event="Linked", userId=f"u{n}", anonymousId=f"a{n}", messageId=f"m{n}")
            for n in range(5)
        ]
    )
    serving.post("/v1/users/identify", {"userId": "u1", "traits": {"plan": "pro", "n": 1}})
    serving.track({"event": ""})
    serving.wait_visible()
    load = Load(serving).start()
    load.wait_acknowledged(400)
    serving.kill()
    load.stop()
    return serving.data_dir


@pytest.fixture
def copy(killed: Path, tmp_path: Path) -> Path:
    sockets = shutil.ignore_patterns("control.sock")
    return Path(shutil.copytree(killed, tmp_path / "data", symlinks=True, ignore=sockets))


def test_nothing_is_wrong_after_a_kill(copy: Path):
    """What is not loaded yet, or half loaded, is no finding."""
    assert found_by_check(copy) == []


def test_rows_that_are_lost_doubled_changed_or_orphaned_are_found(copy: Path):
    """One line for each kind in each table, with the number of rows."""
    first = "position = (SELECT min(position) FROM events)"
    in_store(
        copy,
        "INSERT INTO events SELECT * FROM events WHERE event = 'Linked'"
        " AND position != (SELECT min(position) FROM events) LIMIT 2"
        " SETTINGS insert_deduplicate = 0",
        f"DELETE FROM events WHERE {first}",
        "ALTER TABLE traits UPDATE value = '\"no\"' WHERE trait = 'plan'"
        " SETTINGS mutations_sync = 2",
        "INSERT INTO message_ids SELECT * FROM message_ids LIMIT 1 SETTINGS insert_deduplicate = 0",
        "INSERT INTO property_keys VALUES (1, 202401, 'user', '', 'nobody', 'String', today())",
        "ALTER TABLE link_heads DELETE WHERE anonymous_id = 'a3' SETTINGS mutations_sync = 2",
    )
    lines = [line.split(", the first at")[0] for line in found_by_check(copy)]
    gap = [line for line in lines if line.endswith("are in no table")]
    assert [line for line in lines if line not in gap] == [
        "store: events: 2 rows are there more than once",
        "store: events: 1 rows of the log are missing",
        "store: traits: 1 rows are not what the log says",
        "store: links: 1 rows belong to no event and no identify call",
        "store: message_ids: 1 ids are there more than once",
        "store: link_heads: 1 rows that heads_of_links makes are missing",
        "store: property_keys: 1 rows belong to nothing that is stored",
    ]
    assert len(gap) <= 1  # the first position of all has nothing before it


def _record_gone(data_dir: Path) -> None:
    connection = sqlite3.connect(data_dir / "log.db")
    connection.execute(
        "DELETE FROM records WHERE first_position ="
        " (SELECT first_position FROM records ORDER BY 1 LIMIT 1 OFFSET 1)"
    )
    connection.commit()
    connection.close()


def _page_of(name: str) -> Callable[[Path], None]:
    def damage(data_dir: Path) -> None:
        connection = sqlite3.connect(data_dir / name)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        for place in range(4096 + 8, 4096 + 200):
            flip_byte(data_dir / name, place)

    return damage


def _parts_of(data_dir: Path, table: str) -> list[Path]:
    folder = (data_dir / "store/data/default" / table).resolve()
    return sorted(path.parent for path in folder.glob("*/count.txt"))


def _part_damaged(data_dir: Path) -> None:
    flip_byte(next(_parts_of(data_dir, "events")[0].glob("data.bin")), 30)


def _part_gone(data_dir: Path) -> None:
    for part in _parts_of(data_dir, "events"):
        shutil.rmtree(part)


def _part_torn(data_dir: Path) -> None:
    (_parts_of(data_dir, "links")[0] / "columns.txt").write_bytes(b"")


def _seal_broken(data_dir: Path) -> None:
    (data_dir / "ids").mkdir(exist_ok=True)
    (data_dir / "ids/filters.json").write_text("{}")


# Several in one directory where one does not hide another; what begins the line of each.
DAMAGES = [
    pytest.param(
        [
            (_record_gone, "log.db: positions "),
            (_page_of("meta.db"), "meta.db: "),
            (_part_gone, "store: events: "),
            (_part_torn, "store: links: part "),
            (_seal_broken, "ids: a filter is damaged"),
        ],
        id="readable",
    ),
    pytest.param([(_page_of("log.db"), "log.db: ")], id="page of the log"),
    pytest.param([(_part_damaged, "store: events: part ")], id="part damaged"),
]


@pytest.mark.slow
@pytest.mark.parametrize("damages", DAMAGES)
def test_damaged_files_are_found(copy: Path, damages: list[tuple[Callable[[Path], None], str]]):
    """Each kind of damage to a file makes a line that names what is damaged."""
    for damage, _ in damages:
        damage(copy)
    found = found_by_check(copy)
    unseen = [begins for _, begins in damages if not any(line.startswith(begins) for line in found)]
    assert unseen == [], found


def test_a_directory_in_use_and_none_at_all_are_refused(server: Serving, tmp_path: Path):
    """A running server keeps the directory; what is no data directory is not made one."""
    used = saytics("check", "--data-dir", server.data_dir)
    none = saytics("check", "--data-dir", tmp_path)
    assert (used.returncode, none.returncode) == (1, 1)
    assert "is in use by process" in used.stderr
    assert "is not a data directory" in none.stderr
    assert list(tmp_path.iterdir()) == []
