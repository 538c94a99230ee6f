"""The journal: what is written is read, in whatever order answers come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from cdpsync.destinations.delivery import journal
from cdpsync.destinations.delivery.journal import (
    DEAD,
    DELIVERED,
    PENDING,
    Journal,
    Refusal,
    Settlements,
)

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 60
STATES = st.lists(st.sampled_from([PENDING, DELIVERED, DEAD]), min_size=ROWS, max_size=ROWS)


@given(STATES)
def test_ranges_are_those_of_the_states(states: list[int]) -> None:
    """Each change is in exactly one range of its state."""
    settlements = Settlements(bytearray([0, *states]))
    for state in (PENDING, DELIVERED, DEAD):
        seqs = [s for first, last in settlements.ranges(state) for s in range(first, last + 1)]
        assert seqs == [s for s in range(1, ROWS + 1) if states[s - 1] == state]
        assert settlements.count(state) == len(seqs)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Deliveries, dead letters, and attempts of what is still pending."""
    file = tmp_path / "journal.jsonl"
    book = Journal(file)
    book.deliver(3, 5)
    book.deliver(1, 1)
    book.fail(6, 8, Refusal("503", 503, None, 1))
    book.fail(3, 3, Refusal("timeout"))
    book.write()
    book.bury(7, Refusal('400 "x"\n', 400, "é", 2, "a", "b"))
    book.deliver(6, 6)
    book.close()
    settlements = journal.read(file, 9)
    assert settlements.ranges(DELIVERED) == [(1, 1), (3, 6)]
    assert settlements.refusals == {7: Refusal('400 "x"\n', 400, "é", 2, "a", "b")}
    assert settlements.states[8] == PENDING
    assert settlements.failures == {8: Refusal("503", 503, None, 1)}


def test_delivery_of_a_range_leaves_dead_letters(tmp_path: Path) -> None:
    """An answer that names failed items settles them first, and the range then."""
    file = tmp_path / "journal.jsonl"
    book = Journal(file)
    book.bury(2, Refusal("bad"))
    book.deliver(1, 3)
    book.close()
    settlements = journal.read(file, 3)
    assert settlements.ranges(DEAD) == [(2, 2)]
    assert settlements.ranges(DELIVERED) == [(1, 1), (3, 3)]


def test_cut_anywhere_loses_only_the_end(tmp_path: Path) -> None:
    """A journal that is cut at any byte says nothing that is untrue, and is written on."""
    file = tmp_path / "journal.jsonl"
    book = Journal(file)
    for seq in range(1, 10):
        book.deliver(seq, seq)
        book.write()
    book.close()
    text = file.read_bytes()
    for size in range(len(text)):
        file.write_bytes(text[:size])
        settlements = journal.read(file, 10)
        delivered = settlements.count(DELIVERED)
        assert settlements.ranges(DELIVERED) == ([(1, delivered)] if delivered else [])
        book = Journal(file)
        book.deliver(10, 10)
        book.close()
        assert journal.read(file, 10).states[10] == DELIVERED
        assert journal.read(file, 10).count(DELIVERED) == delivered + 1


def test_journal_is_private(tmp_path: Path) -> None:
    """Answers may have what others should not read."""
    file = tmp_path / "journal.jsonl"
    Journal(file).close()
    assert file.stat().st_mode & 0o077 == 0


def test_missing_journal_says_that_nothing_was_settled(tmp_path: Path) -> None:
    """As after a run that died before its first request."""
    assert journal.read(tmp_path / "none", 5).count(PENDING) == 5
