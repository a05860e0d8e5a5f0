"""What is kept of the store's answers: how much, of whom, and until when."""

from __future__ import annotations

from saytics_server.store.kept import ENTRY_ROWS_MAX, Kept, Limits, key_of

ROWS = [("Größe gewählt", 1), (None, 2.5)]
A, B, C = (key_of("SELECT {p0:UInt32}", {"p0": number}) for number in range(3))


def _keep(kept: Kept, workspace_id: int, key: bytes, rows: list[tuple[object, ...]]) -> None:
    kept.keep(workspace_id, key, rows, kept.generation(workspace_id))


def test_rows_come_back_as_they_were_and_nobody_shares_them():
    """A reader that changes its rows changes nobody else's."""
    kept = Kept()
    _keep(kept, 1, A, ROWS)
    found = kept.find(1, A)
    assert found == ROWS
    assert isinstance(found, list)
    found.clear()
    assert kept.find(1, A) == ROWS


def test_a_key_is_the_text_and_every_value():
    """Another text, another value, another type of value, another workspace: another question."""
    kept = Kept()
    _keep(kept, 1, key_of("SELECT {p0:UInt32}", {"p0": 1}), ROWS)
    asked = [("SELECT {p0:Int64}", {"p0": 1}), ("SELECT {p0:UInt32}", {"p0": 2}),
             ("SELECT {p0:UInt32}", {"p0": "1"}), ("SELECT {p0:UInt32}", {"p1": 1})]  # fmt: skip
    assert [kept.find(1, key_of(*each)) for each in asked] == [None] * 4
    assert kept.find(2, key_of("SELECT {p0:UInt32}", {"p0": 1})) is None
    assert kept.find(1, key_of("SELECT {p0:UInt32}", {"p0": 1})) == ROWS


def test_a_write_takes_what_is_kept_of_its_workspace():
    """Another workspace's stays; a write of unknown extent takes everything."""
    kept = Kept()
    for workspace_id in (1, 2):
        _keep(kept, workspace_id, A, ROWS)
    kept.written([1])
    assert (kept.find(1, A), kept.find(2, A)) == (None, ROWS)
    kept.written_anywhere()
    assert kept.find(2, A) is None


def test_what_was_asked_before_a_write_is_not_kept_after_it():
    """A query that began before a write may not have seen it, whenever it ends."""
    kept = Kept()
    before = kept.generation(1)
    kept.written([1])
    kept.keep(1, A, ROWS, before)
    assert kept.find(1, A) is None
    before = kept.generation(1)
    kept.written_anywhere()
    kept.keep(1, A, ROWS, before)
    assert kept.find(1, A) is None


def test_the_least_recently_used_goes_first():
    """A workspace keeps so many answers and so many bytes; being found counts as used."""
    size = 200
    for limits in (Limits(workspace_entries=2), Limits(workspace_bytes=3 * size)):
        kept = Kept(limits)
        for key in (A, B):
            _keep(kept, 1, key, [("x" * size,)])
        kept.find(1, A)
        _keep(kept, 1, C, [("x" * size,)])
        assert [kept.find(1, key) is not None for key in (A, B, C)] == [True, False, True]


def test_workspaces_together_keep_no_more_than_the_limit():
    """The workspace that asked longest ago loses its answers, the one that asks now does not."""
    kept = Kept(Limits(bytes=700))
    for workspace_id in (1, 2, 3):
        _keep(kept, workspace_id, A, [("x" * 200,)])
    assert [kept.find(number, A) is not None for number in (1, 2, 3)] == [False, True, True]


def test_a_huge_answer_is_not_kept():
    """Neither one of too many bytes nor one of too many rows pushes out what is small."""
    kept = Kept(Limits(entry_bytes=1000))
    _keep(kept, 1, A, [("x" * 1000,)])
    _keep(kept, 1, B, [(1,)] * (ENTRY_ROWS_MAX + 1))
    assert (kept.find(1, A), kept.find(1, B)) == (None, None)
