"""Saved cohorts: kept per workspace, whole, across restarts and migrations."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from saytics_server.accounts import Accounts
from saytics_server.accounts import cohorts as saved
from saytics_server.accounts.cohorts import Cohort
from saytics_server.errors import Refused

PRO = {"traits": ["user.plan=größe 😀"]}
ACTIVE = {"did": {"events": ["Order", "Sign\u2028Up"], "at_least": 3}}


def fine(_: Mapping[int, Cohort], __: int) -> None:
    """Let everything be saved."""


def refusing(*_: Any) -> None:
    """Let nothing be saved."""
    raise Refused("invalid_parameter", field="definition")


@pytest.fixture
def shop(accounts: Accounts) -> int:
    return accounts.create_workspace("Shop").id


def test_a_cohort_is_kept_as_it_was_saved(tmp_path, accounts, shop, clock):
    """Name trimmed, definition to the letter, both times; the same after a restart."""
    created_ms = clock.now_ms()
    made = accounts.cohorts.create(shop, " Größe ", PRO, fine)
    clock.advance(5_000)
    changed = accounts.cohorts.update(shop, made.id, "Active", ACTIVE, fine)
    assert made == Cohort(
        id=made.id,
        workspace_id=shop,
        name="Größe",
        definition=PRO,
        created_at_ms=created_ms,
        updated_at_ms=created_ms,
    )
    assert changed == Cohort(
        id=made.id,
        workspace_id=shop,
        name="Active",
        definition=ACTIVE,
        created_at_ms=created_ms,
        updated_at_ms=created_ms + 5_000,
    )
    accounts.close()
    reopened = Accounts.open(tmp_path, clock)
    assert dict(reopened.cohorts.all(shop)) == {made.id: changed}
    assert reopened.cohorts.get(shop, made.id) == changed
    reopened.close()


def test_workspaces_do_not_see_each_others_cohorts(accounts, shop):
    """Another workspace neither finds, changes nor deletes one, and may use its name."""
    other = accounts.create_workspace("Other").id
    made = accounts.cohorts.create(shop, "Pro", PRO, fine)
    for call in (
        lambda: accounts.cohorts.get(other, made.id),
        lambda: accounts.cohorts.update(other, made.id, "Mine", PRO, fine),
        lambda: accounts.cohorts.delete(other, made.id, fine),
    ):
        with pytest.raises(Refused, match="not_found"):
            call()
    twin = accounts.cohorts.create(other, "Pro", PRO, fine)
    assert list(accounts.cohorts.all(shop)) == [made.id]
    assert list(accounts.cohorts.all(other)) == [twin.id]


def test_a_workspace_that_is_not_there_has_no_cohorts(accounts):
    """Nothing is found, and nothing can be saved for it."""
    assert dict(accounts.cohorts.all(999)) == {}
    with pytest.raises(Refused, match="not_found"):
        accounts.cohorts.create(999, "Pro", PRO, fine)


def test_an_id_is_never_given_again(accounts, shop):
    """A filter that names a deleted cohort finds nobody else's."""
    first = accounts.cohorts.create(shop, "Pro", PRO, fine)
    accounts.cohorts.delete(shop, first.id, fine)
    assert dict(accounts.cohorts.all(shop)) == {}
    assert accounts.cohorts.create(shop, "Pro", PRO, fine).id > first.id


def test_a_change_gives_another_mapping_and_leaves_the_old_one(accounts, shop):
    """Who reads while somebody saves has all of the old or all of the new."""
    before = accounts.cohorts.all(shop)
    made = accounts.cohorts.create(shop, "Pro", PRO, fine)
    assert dict(before) == {}
    assert accounts.cohorts.all(shop) is accounts.cohorts.all(shop)
    assert list(accounts.cohorts.all(shop)) == [made.id]


def test_what_the_check_refuses_is_not_saved(accounts, shop):
    """The check sees what would be there, before it is."""
    made = accounts.cohorts.create(shop, "Pro", PRO, fine)
    seen: list[tuple[dict[int, Any], int]] = []

    def noting(after: Mapping[int, Cohort], cohort_id: int) -> None:
        seen.append(({id_: cohort.definition for id_, cohort in after.items()}, cohort_id))
        refusing()

    for call in (
        lambda: accounts.cohorts.create(shop, "New", ACTIVE, noting),
        lambda: accounts.cohorts.update(shop, made.id, "Pro", ACTIVE, noting),
        lambda: accounts.cohorts.delete(shop, made.id, noting),
    ):
        with pytest.raises(Refused):
            call()
    assert [definitions for definitions, _ in seen] == [
        {made.id: PRO, seen[0][1]: ACTIVE},
        {made.id: ACTIVE},
        {made.id: PRO},
    ]
    assert dict(accounts.cohorts.all(shop)) == {made.id: made}


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "two\nlines", "Pro", " Pro "])
def test_a_wrong_or_taken_name_is_refused(accounts, shop, name):
    """One line of 1 to 100 characters, once in a workspace."""
    accounts.cohorts.create(shop, "Pro", PRO, fine)
    other = accounts.cohorts.create(shop, "Other", PRO, fine)
    for call in (
        lambda: accounts.cohorts.create(shop, name, PRO, fine),
        lambda: accounts.cohorts.update(shop, other.id, name, PRO, fine),
    ):
        with pytest.raises(Refused) as refused:
            call()
        assert (refused.value.rejection.code, refused.value.rejection.field) == (
            "invalid_parameter",
            "name",
        )


def test_there_are_limits(accounts, shop, monkeypatch):
    """So many cohorts, so large each, so large all of them; a smaller one still replaces."""
    monkeypatch.setattr(saved, "COHORTS_MAX", 2)
    monkeypatch.setattr(saved, "DEFINITION_BYTES_MAX", 100)
    monkeypatch.setattr(saved, "DEFINITIONS_BYTES_MAX", 150)

    def of(size: int) -> dict[str, str]:
        return {"cohort": "x" * (size - len('{"cohort":""}'))}

    first = accounts.cohorts.create(shop, "A", of(100), fine)
    refusals = []
    for name, definition in (("B", of(101)), ("B", of(51))):
        with pytest.raises(Refused) as refused:
            accounts.cohorts.create(shop, name, definition, fine)
        refusals.append(refused.value.rejection.field)
    accounts.cohorts.create(shop, "B", of(50), fine)
    with pytest.raises(Refused) as refused:
        accounts.cohorts.create(shop, "C", of(20), fine)
    refusals.append(refused.value.rejection.field)
    assert refusals == ["definition", "definition", "name"]
    accounts.cohorts.update(shop, first.id, "A", of(99), fine)


def test_a_database_without_cohorts_gets_their_table(tmp_path, clock):
    """What the first version wrote is migrated, its workspaces stay."""
    accounts = Accounts.open(tmp_path, clock)
    shop = accounts.create_workspace("Shop")
    accounts.close()
    _take_back(tmp_path / "meta.db")
    migrated = Accounts.open(tmp_path, clock)
    assert migrated.workspaces() == [shop]
    assert migrated.cohorts.create(shop.id, "Pro", PRO, fine).definition == PRO
    migrated.close()


def _take_back(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as file, file as connection:
        for later in ("cohorts", "invitations", "audit_log"):
            connection.execute(f"DROP TABLE {later}")
        connection.execute("UPDATE alembic_version SET version_num = '0001'")


def test_a_full_disk_keeps_what_was_saved(accounts, shop):
    """Without room nothing changes, and the old cohorts are there to be used."""
    made = accounts.cohorts.create(shop, "Pro", PRO, fine)

    @sa.event.listens_for(accounts._engine, "checkout")
    def _(connection, *_):
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    with pytest.raises(Refused, match="storage_full"):
        accounts.cohorts.create(shop, "Large", {"cohort": "x" * 500_000}, fine)
    assert dict(accounts.cohorts.all(shop)) == {made.id: made}
