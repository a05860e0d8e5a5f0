import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy

from saytics_server.accounts import Accounts, Key
from saytics_server.clock import ManualClock
from saytics_server.errors import Refused


@pytest.fixture
def workspace_id(accounts: Accounts) -> int:
    return accounts.create_workspace("Café").id


def test_a_key_authenticates_as_itself_in_its_workspace(accounts, workspace_id):
    """A new key is valid at once, and its prefix tells its class."""
    secret, secret_text = accounts.create_key(workspace_id, "secret", "Server")
    write, write_text = accounts.create_key(workspace_id, "write", "Site")
    assert secret_text.startswith("sk_live_")
    assert write_text.startswith("sk_write_")
    workspace = accounts.workspace(workspace_id)
    assert accounts.authenticate(secret_text) == (secret, workspace)
    assert accounts.authenticate(write_text) == (write, workspace)


@pytest.mark.parametrize(
    "key", ["", "sk_live_", "sk_live_" + "x" * 32, "\ud800", "é", "\0", "x" * 100_000]
)
def test_any_other_text_is_no_key(accounts, workspace_id, key):
    """Whatever a stranger sends as a key is answered with None."""
    accounts.create_key(workspace_id, "secret", "Server")
    assert accounts.authenticate(key) is None


def test_a_revoked_key_is_refused_on_the_very_next_call(accounts, workspace_id, clock):
    """Revoking is over before it returns, twice is once, and other keys stay valid."""
    old, old_text = accounts.create_key(workspace_id, "secret", "Old")
    _, new_text = accounts.create_key(workspace_id, "secret", "New")
    accounts.revoke_key(old.id)
    assert accounts.authenticate(old_text) is None
    assert accounts.authenticate(new_text) is not None
    revoked_at_ms = clock.now_ms()
    clock.advance(1_000)
    accounts.revoke_key(old.id)
    assert [key.revoked_at_ms for key in accounts.keys(workspace_id)] == [revoked_at_ms, None]


def test_keys_rotate_without_a_gap(accounts, workspace_id, tmp_path, clock):
    """Old and new key are valid together, and after a restart as before it."""
    old, old_text = accounts.create_key(workspace_id, "secret", "2025")
    _, new_text = accounts.create_key(workspace_id, "secret", "2026")
    assert accounts.authenticate(old_text)
    assert accounts.authenticate(new_text)
    accounts.revoke_key(old.id)
    accounts.close()
    reopened = Accounts.open(tmp_path, clock)
    assert reopened.authenticate(old_text) is None
    assert reopened.authenticate(new_text)
    reopened.close()


def test_only_write_keys_are_shown_again(accounts, workspace_id):
    """A listed write key is whole; of a secret key only the first 12 characters are known."""
    _, secret_text = accounts.create_key(workspace_id, "secret", "Server", scope="send")
    _, write_text = accounts.create_key(workspace_id, "write", "Site", scope="all")
    shown = [
        (key.key_class, key.scope, key.full, key.prefix) for key in accounts.keys(workspace_id)
    ]
    assert shown == [
        ("secret", "send", None, secret_text[:12]),
        ("write", "send", write_text, write_text[:12]),
    ]


def test_the_files_hold_no_secret_in_the_clear(accounts, workspace_id, tmp_path):
    """No byte of the database or its log is a secret key, a session token or a password."""
    _, secret_text = accounts.create_key(workspace_id, "secret", "Server")
    _, write_text = accounts.create_key(workspace_id, "write", "Site")
    accounts.create_account("zoë@example.com", "correct horse battery")
    session = accounts.login("zoë@example.com", "correct horse battery")
    stored = _database_bytes(tmp_path)
    accounts.close()
    stored += _database_bytes(tmp_path)
    assert write_text.encode() in stored
    for secret in (secret_text, session.token, session.csrf_token, "correct horse battery"):
        assert secret.encode() not in stored
        assert secret[13:].encode() not in stored


def _database_bytes(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.glob("meta.db*")))


@pytest.mark.parametrize(
    ("key_class", "full"),
    [
        ("secret", "sk_write_aaaaaaaaaaaaaaaa"),
        ("write", "sk_live_aaaaaaaaaaaaaaaa"),
        ("secret", "sk_live_short"),
        ("secret", "sk_live_with space inside"),
        ("secret", "sk_live_" + "x" * 200),
    ],
)
def test_a_chosen_key_follows_the_rules(accounts, workspace_id, key_class, full):
    """A key of one's own needs its class's prefix, a length and plain characters."""
    with pytest.raises(Refused) as refused:
        accounts.create_key(workspace_id, key_class, "Chosen", full=full)
    assert refused.value.rejection.field == "key"
    assert full not in refused.value.rejection.message
    assert accounts.keys(workspace_id) == []


def test_a_revoked_key_cannot_be_chosen_again(accounts, workspace_id):
    """A text that was a key once stays dead, in every workspace."""
    full = "sk_live_chosen_by_operator"
    key, _ = accounts.create_key(workspace_id, "secret", "Chosen", full=full)
    accounts.revoke_key(key.id)
    with pytest.raises(Refused):
        accounts.create_key(workspace_id, "secret", "Again", full=full)
    assert accounts.authenticate(full) is None


def test_unknown_ids_are_not_found(accounts):
    """A key cannot be made in no workspace, nor an unknown one revoked."""
    for call in (
        lambda: accounts.create_key(99, "secret", "Server"),
        lambda: accounts.revoke_key(99),
    ):
        with pytest.raises(Refused) as refused:
            call()
        assert refused.value.kind.code == "not_found"


def test_last_use_is_kept_in_memory_and_written_when_told(accounts, workspace_id, clock, tmp_path):
    """A use shows at once, and after a restart if it was flushed; closing flushes."""
    _, first_text = accounts.create_key(workspace_id, "secret", "First")
    accounts.create_key(workspace_id, "secret", "Never used")
    clock.advance(5_000)
    accounts.authenticate(first_text)
    used = [clock.now_ms(), None]
    assert _last_uses(accounts.keys(workspace_id)) == used
    other = Accounts.open(tmp_path, clock)
    assert _last_uses(other.keys(workspace_id)) == [None, None]
    accounts.flush_last_used()
    assert _last_uses(other.keys(workspace_id)) == used
    clock.advance(5_000)
    accounts.authenticate(first_text)
    accounts.close()
    assert _last_uses(other.keys(workspace_id)) == [clock.now_ms(), None]
    other.close()


def _last_uses(keys: list[Key]) -> list[int | None]:
    return [key.last_used_at_ms for key in keys]


def test_threads_see_each_key_valid_from_creation_to_revocation(accounts, workspace_id):
    """Beside changing threads, a standing key never fails, and each thread's own key obeys it."""
    _, standing = accounts.create_key(workspace_id, "secret", "Standing")
    ended = threading.Event()
    misses: list[str] = []

    def read() -> None:
        while not ended.is_set():
            if accounts.authenticate(standing) is None:
                misses.append(standing)
            accounts.flush_last_used()

    def change(number: int) -> None:
        for _ in range(10):
            key, text = accounts.create_key(workspace_id, "secret", f"Thread {number}")
            assert accounts.authenticate(text)
            accounts.update_workspace(workspace_id, name=f"Thread {number}")
            accounts.revoke_key(key.id)
            assert accounts.authenticate(text) is None

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(change, range(4)))
    finally:
        ended.set()
        reader.join()
    assert misses == []
    assert len(accounts.keys(workspace_id)) == 41


def test_changes_reach_memory_in_the_order_of_their_commits(accounts, workspace_id):
    """A slow thread cannot put the state before another's commit back into memory."""
    key, text = accounts.create_key(workspace_id, "secret", "Revoked meanwhile")
    slow = threading.Thread(target=accounts.create_workspace, args=("Slow",))
    committed, overtaken = threading.Event(), threading.Event()

    @sqlalchemy.event.listens_for(accounts._engine, "checkin")
    def _(*_: object) -> None:
        # Here the transaction is committed and memory is not renewed yet.
        if threading.current_thread() is slow:
            committed.set()
            overtaken.wait(0.3)

    def revoke() -> None:
        accounts.revoke_key(key.id)
        overtaken.set()

    quick = threading.Thread(target=revoke)
    slow.start()
    assert committed.wait(5)
    quick.start()
    slow.join()
    quick.join()
    assert accounts.authenticate(text) is None
    assert accounts.workspace_by_slug("slow")


def test_authenticate_is_cheap(accounts, workspace_id):
    """Ten thousand look-ups take well under a tenth of a second; none goes to the database."""
    _, text = accounts.create_key(workspace_id, "secret", "Server")
    accounts.close()  # from here on the database would not answer
    begun_s = time.perf_counter()
    for _ in range(10_000):
        accounts.authenticate(text)
    assert time.perf_counter() - begun_s < 0.1


def test_a_failed_change_leaves_memory_as_it_was(accounts, workspace_id, clock: ManualClock):
    """What is not committed is not valid."""
    before = accounts.workspaces()
    with pytest.raises(Refused):
        accounts.update_workspace(workspace_id, name="New", timezone="Mars/Olympus")
    assert accounts.workspaces() == before
