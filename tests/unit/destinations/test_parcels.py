"""Parcels: each change that is to be sent is in exactly one, within the limits of a batch."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.deliveries import changes, outbox

from cdpsync.destinations.delivery.journal import DEAD, DELIVERED, Settlements
from cdpsync.destinations.delivery.parcels import ParcelReader
from cdpsync.model.destinations import Batch, ChangeOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdpsync.destinations.delivery.outbox import Outbox
    from cdpsync.destinations.delivery.requests import Parcel

ROWS = 80
ORDERS = st.sampled_from(list(ChangeOrder))
SIZES = """',"x":"' || repeat('x', (i * 7919 % 100)::int) || '"}' as body"""


@pytest.fixture(scope="module")
def boxes() -> Iterator[dict[tuple[ChangeOrder, bool], Outbox]]:
    """Outboxes with rows of many sizes: with and without deletes, in both orders."""
    folder = Path(tempfile.mkdtemp())
    made = {}
    for order in ChangeOrder:
        for is_mixed in (False, True):
            more = ", if(i % 5 = 0, 'delete', 'request') as route" if is_mixed else ""
            select = changes(ROWS, keys=9, more=more).replace("'}' as body", SIZES)
            made[order, is_mixed] = outbox(folder / f"{order}{is_mixed}", select, order=order)
    yield made
    shutil.rmtree(folder)


def items(parcel: Parcel) -> list[dict[str, int]]:
    body = parcel.parts[""][2] or ""
    return json.loads(f"[{body}]")


@settings(max_examples=40, deadline=None)
@given(
    order=ORDERS,
    is_mixed=st.booleans(),
    batched=st.sampled_from([(), ("request",), ("request", "delete")]),
    rows=st.integers(1, 40),
    size=st.none() | st.integers(150, 1_500),
    settled=st.sets(st.integers(1, ROWS)),
    shrinks_after=st.none() | st.integers(1, 5),
)
def test_each_pending_change_is_in_one_parcel(
    boxes: dict[tuple[ChangeOrder, bool], Outbox],
    order: ChangeOrder,
    is_mixed: bool,
    batched: tuple[str, ...],
    rows: int,
    size: int | None,
    settled: set[int],
    shrinks_after: int | None,
) -> None:
    """Whatever was settled before, and if batches become smaller on the way."""
    box = boxes[order, is_mixed]
    settlements = Settlements.none_of(ROWS)
    for seq in settled:
        settlements.states[seq] = DELIVERED if seq % 2 else DEAD
    batches = dict.fromkeys(batched, Batch(rows, size))
    reader = ParcelReader(box, settlements, batches=batches, wrapper=2)
    limit = rows
    seen: list[int] = []
    with closing(reader):
        for number, parcel in enumerate(reader.read()):
            if number == shrinks_after and batched:
                reader.rows = limit = max(rows // 2, 1)
            seqs = reader.seqs(parcel)
            assert len(items(parcel)) == parcel.rows == len(seqs) <= rows
            assert parcel.rows == 1 or parcel.route in batched
            if size is not None and parcel.rows > 1:
                assert len(parcel.parts[""][2] or "") + 2 <= size
            seen += seqs
            if order is ChangeOrder.EACH:
                assert [f'["{item["key"]}"]' for item in items(parcel)] == [
                    key.replace("[", '["').replace("]", '"]') for key in parcel.keys
                ]
            assert number <= (shrinks_after or 0) or parcel.rows <= limit
    assert sorted(seen) == sorted(set(range(1, ROWS + 1)) - settled)
    if order is ChangeOrder.EACH:
        assert seen == sorted(seen)


@settings(max_examples=20, deadline=None)
@given(order=ORDERS, first=st.integers(1, 40), count=st.integers(2, 40))
def test_halves_have_the_changes_of_the_whole(
    boxes: dict[tuple[ChangeOrder, bool], Outbox], order: ChangeOrder, first: int, count: int
) -> None:
    """In their order, without those that are settled."""
    box = boxes[order, False]
    settlements = Settlements.none_of(ROWS)
    reader = ParcelReader(box, settlements, batches={"request": Batch(50)})
    with closing(reader):
        whole = reader.parcel_of(range(first, first + count))
        settlements.states[first] = DEAD
        if count > 2:
            left, right = reader.halves(whole)
            assert [*reader.seqs(left), *reader.seqs(right)] == list(
                range(first + 1, first + count)
            )
            assert items(left) + items(right) == items(whole)[1:]
            assert left.event_id != right.event_id != whole.event_id


def test_batch_has_the_same_id_after_a_crash(
    boxes: dict[tuple[ChangeOrder, bool], Outbox],
) -> None:
    """The batches of an outbox are the same in a later run, so a receiver can tell them."""
    box = boxes[ChangeOrder.LAST, False]
    settlements, batches = Settlements.none_of(ROWS), {"request": Batch(7)}
    with closing(ParcelReader(box, settlements, batches=batches)) as reader:
        before = {parcel.first: parcel.event_id for parcel in reader.read()}
    settlements.deliver(8, 14)
    with closing(ParcelReader(box, settlements, batches=batches)) as reader:
        after = {parcel.first: parcel.event_id for parcel in reader.read()}
    assert after == {first: id_ for first, id_ in before.items() if first != 8}
