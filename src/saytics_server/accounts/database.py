"""Opening the metadata database: SQLite's settings, the schema's revision, clear refusals.

A new database is made whole from `tables`, in one transaction. Only an older one runs the
migrations, so only then is Alembic imported, which takes longer than all the rest. A database
that is damaged, foreign or of a newer revision is refused and left as it was.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError

from saytics_server.accounts.tables import alembic_version, metadata
from saytics_server.errors import Failure

FILE_NAME = "meta.db"
# The revision `tables` describes: that of the newest script in `migrations/versions`.
HEAD_REVISION = "0003"

# Another process reads the file only for a moment (a backup, a curious operator).
BUSY_TIMEOUT_MS = 5_000

_OPENING = "opening the accounts"
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(directory: Path, url: str | None = None) -> sa.Engine:
    """Return an engine on a database of the head revision, made or migrated if need be.

    Without `url` it is the file `meta.db` in `directory`, readable by its owner alone. Raises
    Failure.
    """
    path = directory / FILE_NAME
    engine = _server_engine(url) if url else _sqlite_engine(path)
    # A URL without its password, for the operator's eyes.
    place = engine.url.render_as_string() if url else str(path)
    try:
        if not url:
            _create_private_file(path)
        _bring_to_head(engine, place)
        if not url:
            _use_write_ahead_log(engine)
    except DBAPIError as error:
        engine.dispose()
        raise _unreadable(place, str(error.orig).splitlines()[0]) from error
    except Failure:
        engine.dispose()
        raise
    return engine


def file_faults(directory: Path) -> Iterator[str]:
    """Yield what is wrong with the file `meta.db`, a sentence each. Changes nothing."""
    path = directory / FILE_NAME
    if not path.exists():
        yield f"{FILE_NAME}: is missing"
        return
    engine = _sqlite_engine(path)
    try:
        with engine.connect() as connection:
            for row in connection.exec_driver_sql("PRAGMA integrity_check(20)"):
                if row[0] != "ok":
                    yield f"{FILE_NAME}: {' '.join(str(row[0]).split())}"
            for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
                yield f"{FILE_NAME}: row {row[1]} of {row[0]} refers to no row of {row[2]}"
        revision = _stored_revision(engine, str(path))
        if revision is None or not (revision == HEAD_REVISION or _is_known(revision)):
            yield f"{FILE_NAME}: has format {revision}, this version knows {HEAD_REVISION}"
    except DBAPIError as error:
        yield f"{FILE_NAME}: cannot be read: {str(error.orig).splitlines()[0]}"
    except Failure as failure:
        yield f"{FILE_NAME}: {failure.cause}"
    finally:
        engine.dispose()


def write_transactions(engine: sa.Engine) -> sa.Engine:
    """Return the same engine for transactions that write: they take the write lock first.

    A SQLite transaction that reads first and then writes can fail at once, however long it would
    be ready to wait.
    """
    return engine.execution_options(writes=True)


def is_disk_full(error: DBAPIError) -> bool:
    """Tell whether a statement failed for want of room."""
    return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def upgrade(engine: sa.Engine) -> None:
    """Run the migrations that are missing, in one transaction."""
    # Imported here: needed once per release, and slower than a whole start without it.
    from alembic import command  # noqa: PLC0415

    with write_transactions(engine).begin() as connection:
        configuration = _alembic_configuration()
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, "head")


def _server_engine(url: str) -> sa.Engine:
    try:
        return sa.create_engine(url)
    except (ArgumentError, ImportError) as error:
        # The URL is not repeated: it may hold a password.
        raise Failure(
            _OPENING,
            f"the database URL cannot be used ({type(error).__name__})",
            "It looks like postgresql+psycopg://user:password@host/database, and needs that "
            "driver installed.",
        ) from error


def _sqlite_engine(path: Path) -> sa.Engine:
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)))

    @event.listens_for(engine, "connect")
    def _(connection: sqlite3.Connection, _record: Any) -> None:
        for pragma in (
            "foreign_keys=ON",
            # A revoked key and a created session must survive a power cut.
            "synchronous=FULL",
            # What was deleted is overwritten in the file.
            "secure_delete=ON",
            f"busy_timeout={BUSY_TIMEOUT_MS}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _(connection: sa.Connection) -> None:
        # Said here, for the driver would leave CREATE TABLE outside of its transactions.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _create_private_file(path: Path) -> None:
    """Make the file before SQLite does, which would let the group and others read it."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise Failure(
            _OPENING,
            f"{path} cannot be written ({error.strerror})",
            "Check the data directory and the permissions of this user.",
        ) from error


def _use_write_ahead_log(engine: sa.Engine) -> None:
    # Kept in the file, so it is set only on a file known to be ours, and outside a transaction.
    connection = engine.raw_connection()
    try:
        connection.cursor().execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def _bring_to_head(engine: sa.Engine, place: str) -> None:
    stored = _stored_revision(engine, place)
    if stored == HEAD_REVISION:
        return
    if stored is None:
        with write_transactions(engine).begin() as connection:
            metadata.create_all(connection)
            connection.execute(alembic_version.insert().values(version_num=HEAD_REVISION))
        return
    if not _is_known(stored):
        raise Failure(
            _OPENING,
            f"{place} was written by a newer version of Saytics (format {stored})",
            "Start that version or a newer one; nothing was changed.",
        )
    upgrade(engine)


def _stored_revision(engine: sa.Engine, place: str) -> str | None:
    """Return the revision of a database, None if it is empty. Checks that it is sound and ours."""
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            fault = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
            if fault != "ok":
                raise _unreadable(place, str(fault).splitlines()[-1])
        tables = sa.inspect(connection).get_table_names()
        if alembic_version.name in tables:
            return connection.execute(sa.select(alembic_version)).scalar_one_or_none()
    if tables:
        raise _unreadable(place, "it is a database of another program")
    return None


def _unreadable(place: str, cause: str) -> Failure:
    return Failure(
        _OPENING,
        f"{place} does not open ({cause})",
        "Nothing was changed. Check that it is the right one, or restore it from a backup.",
    )


def _is_known(revision: str) -> bool:
    from alembic.script import ScriptDirectory  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    scripts = ScriptDirectory.from_config(_alembic_configuration())
    try:
        return scripts.get_revision(revision) is not None
    except CommandError:
        return False


def _alembic_configuration() -> Any:
    from alembic.config import Config  # noqa: PLC0415

    configuration = Config()
    # A percent sign would begin an interpolation.
    configuration.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return configuration
