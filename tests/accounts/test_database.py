import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from saytics_server.accounts import Accounts, bootstrap, database
from saytics_server.accounts.tables import metadata
from saytics_server.errors import Failure, Refused

_READ_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"


def schema(path: Path) -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as file, file as connection:
        rows = connection.execute(_READ_SCHEMA).fetchall()
    return [(*row[:3], " ".join((row[3] or "").split())) for row in rows]


def test_the_file_belongs_to_its_owner_alone(tmp_path, clock):
    """Whatever the umask and an old mode say, database and write-ahead log have mode 0600."""
    old_umask = os.umask(0)
    try:
        (tmp_path / "meta.db").touch(0o666)
        accounts = Accounts.open(tmp_path, clock)
        accounts.create_workspace("Shop")
    finally:
        os.umask(old_umask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"meta.db": 0o600, "meta.db-wal": 0o600, "meta.db-shm": 0o600}
    accounts.close()


def test_every_connection_is_durable_and_strict(tmp_path):
    """WAL, fsync at every commit, foreign keys, overwritten deletions, patience when busy."""
    engine = database.open_database(tmp_path)
    with engine.connect() as first, engine.connect() as second:
        for connection in (first, second):
            settings = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in (
                    "journal_mode",
                    "synchronous",
                    "foreign_keys",
                    "secure_delete",
                    "busy_timeout",
                )
            }
            assert settings == {
                "journal_mode": "wal",
                "synchronous": 2,
                "foreign_keys": 1,
                "secure_delete": 1,
                "busy_timeout": 5_000,
            }
    engine.dispose()


def test_migrations_lead_to_the_tables_of_the_code(tmp_path, clock):
    """A database migrated from nothing equals one made by the code, to the letter of its SQL."""
    (tmp_path / "made").mkdir()
    Accounts.open(tmp_path / "made", clock).close()
    migrated = database._sqlite_engine(tmp_path / "migrated.db")
    database.upgrade(migrated)
    with migrated.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        revision = connection.execute(sa.text("SELECT version_num FROM alembic_version"))
        assert revision.scalar_one() == database.HEAD_REVISION
    migrated.dispose()
    assert schema(tmp_path / "migrated.db") == schema(tmp_path / "made" / "meta.db")


def test_the_head_revision_is_the_newest_script():
    """The code's idea of the newest revision equals that of the scripts, and there is one head."""
    scripts = ScriptDirectory.from_config(database._alembic_configuration())
    assert scripts.get_heads() == [database.HEAD_REVISION]


def test_an_older_database_is_migrated_with_its_content(tmp_path, clock, monkeypatch):
    """A revision behind the head runs the scripts that are missing, once, and keeps the rows."""
    accounts = Accounts.open(tmp_path, clock)
    made = bootstrap(accounts)
    accounts.close()
    _add_migration(tmp_path, monkeypatch, "CREATE TABLE notes (text TEXT)")
    for _ in range(2):
        accounts = Accounts.open(tmp_path, clock)
        assert accounts.authenticate(made.secret_key)
        accounts.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "meta.db")) as connection:
        assert connection.execute("SELECT * FROM alembic_version").fetchall() == [("9000",)]
        assert connection.execute("SELECT * FROM notes").fetchall() == []


def test_a_failing_migration_changes_nothing(tmp_path, clock, monkeypatch):
    """A script that fails half-way leaves schema and revision as they were."""
    Accounts.open(tmp_path, clock).close()
    before = schema(tmp_path / "meta.db")
    _add_migration(
        tmp_path,
        monkeypatch,
        "CREATE TABLE notes (text TEXT)",
        "INSERT INTO nowhere VALUES (1)",
    )
    with pytest.raises(Failure, match="nowhere"):
        Accounts.open(tmp_path, clock)
    assert schema(tmp_path / "meta.db") == before


def _add_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *statements: str) -> None:
    """Let the newest revision be one that runs `statements`, behind all there are."""
    migrations = tmp_path / "migrations"
    shutil.copytree(database._MIGRATIONS, migrations)
    (migrations / "versions" / "r9000_notes.py").write_text(
        "from alembic import op\n"
        f"revision, down_revision = '9000', '{database.HEAD_REVISION}'\n"
        "def upgrade():\n" + "".join(f"    op.execute({text!r})\n" for text in statements)
    )
    monkeypatch.setattr(database, "_MIGRATIONS", migrations)
    monkeypatch.setattr(database, "HEAD_REVISION", "9000")


def _newer(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as file, file as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is not a database at all\n" * 1_000)


def _torn_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4_096 * 2 : 4_096 * 4] = b"\xee" * 8_192
    path.write_bytes(content)


def _foreign(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as file, file as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_newer, "newer version of Saytics (format 9999)"),
        (_garbage, "not a database"),
        (_torn_page, "does not open"),
        (_foreign, "another program"),
    ],
)
def test_what_cannot_be_read_is_refused_and_left_alone(tmp_path, clock, damage, words):
    """A newer, damaged or foreign file fails with one line; not a byte of it changes."""
    accounts = Accounts.open(tmp_path, clock)
    bootstrap(accounts)
    accounts.close()
    path = tmp_path / "meta.db"
    damage(path)
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(Failure) as failure:
            Accounts.open(tmp_path, clock)
        assert words in str(failure.value)
        assert "\n" not in str(failure.value)
        assert failure.value.hint.endswith(".")
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["meta.db"]


def test_a_missing_directory_is_a_failure(tmp_path, clock):
    """Where nothing can be written, the failure names the file."""
    with pytest.raises(Failure, match=r"meta\.db cannot be written"):
        Accounts.open(tmp_path / "nowhere", clock)


@pytest.mark.parametrize(
    "url", ["no url", "nosuch://host/db", "postgresql+pg8000://u:hunter2secret@127.0.0.1:1/db"]
)
def test_a_url_that_cannot_be_used_is_a_failure(tmp_path, clock, url):
    """A wrong URL or a driver that is not installed fails in one line without the password."""
    with pytest.raises(Failure) as failure:
        Accounts.open(tmp_path, clock, url=url)
    assert "\n" not in str(failure.value)
    assert "hunter2secret" not in str(failure.value)


def test_a_crash_while_making_the_database_is_made_good(tmp_path, clock):
    """An empty file, all that a crash can leave, is filled by the next start."""
    (tmp_path / "meta.db").touch()
    accounts = Accounts.open(tmp_path, clock)
    assert accounts.workspaces() == []
    accounts.close()


def test_a_full_disk_refuses_changes_and_keeps_reading(tmp_path, clock):
    """Without room a change is refused as storage_full, whole; what was valid stays valid."""
    accounts = Accounts.open(tmp_path, clock)
    made = bootstrap(accounts, email="zoë@example.com", password="correct horse battery")
    token = accounts.login("zoë@example.com", "correct horse battery").token

    @sa.event.listens_for(accounts._engine, "checkout")
    def _(connection, *_):
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    with pytest.raises(Refused) as refused:
        _create_workspaces(accounts, 1_000)
    assert refused.value.kind.code == "storage_full"
    known = accounts.workspaces()
    assert accounts.authenticate(made.secret_key)
    clock.advance(7 * 86_400_000)
    assert accounts.session(token)
    accounts.close()
    reopened = Accounts.open(tmp_path, clock)
    assert reopened.workspaces() == known
    reopened.close()


def _create_workspaces(accounts: Accounts, count: int) -> None:
    for number in range(count):
        accounts.create_workspace(f"Workspace {number}")


def test_a_kill_loses_nothing_that_returned(tmp_path, clock):
    """A process killed right after creating and revoking keys leaves exactly that."""
    script = (
        "import os, sys, pathlib\n"
        "from saytics_server.accounts import Accounts\n"
        "from saytics_server.clock import ManualClock\n"
        "accounts = Accounts.open(pathlib.Path(sys.argv[1]), ManualClock())\n"
        "workspace = accounts.create_workspace('Shop')\n"
        "key, gone = accounts.create_key(workspace.id, 'secret', 'Revoked')\n"
        "_, kept = accounts.create_key(workspace.id, 'secret', 'Kept')\n"
        "accounts.revoke_key(key.id)\n"
        "print(gone, kept, 'alembic' in sys.modules, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert killed.returncode == -9, killed.stderr
    gone, kept, has_alembic = killed.stdout.split()
    accounts = Accounts.open(tmp_path, clock)
    assert accounts.authenticate(gone) is None
    assert accounts.authenticate(kept)
    accounts.close()
    # A first start has no second to lose to it.
    assert has_alembic == "False"
