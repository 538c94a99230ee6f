"""The system tables of destinations: what is written is read back, and old rows go."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cdpsync.catalog import CatalogFile, Lake, delivery_tables
from cdpsync.catalog.delivery_tables import DeliveryTables
from cdpsync.catalog.transaction import transaction
from cdpsync.model import Failure
from cdpsync.model.deliveries import (
    DeadLetter,
    DeliveryRecord,
    DeliveryResult,
    DestinationState,
    Health,
    HealthState,
    MaskWindow,
    Position,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
STATE = DestinationState(
    name="ops",
    source="shop.orders",
    position=Position("ops", "shop.orders", "uuid", 7, NOON),
    health=Health(HealthState.DEGRADED, 7_900.5, NOON, 2, "it answers 503", NOON),
    outbox="20260131T120000Z-abcdef",
    config="digest",
    held=3,
    held_since=NOON,
    last_delivery_at=NOON,
    hold=timedelta(days=2),
)
RECORD = DeliveryRecord(
    "run-1",
    NOON,
    NOON + timedelta(seconds=3),
    DeliveryResult(
        "ops",
        "shop.orders",
        "failed",
        HealthState.DEGRADED,
        triggered=10,
        filtered=1,
        masked=2,
        succeeded=3,
        held=3,
        dead=1,
        retried=4,
        requests=11,
        bytes_sent=1_000,
        p50_ms=1.5,
        p95_ms=20.25,
        seconds=3.0,
        error=Failure("DeliveryError", "no"),
        notices=("one", "two"),
    ),
)
LETTER = DeadLetter(
    "id-1", "ops", "shop.orders", '["5"]', "update", 7, "event-1", "POST", "https://x/", '{"a":1}',
    400, "no such field", "refused", 1, NOON, NOON,
)  # fmt: skip


@pytest.fixture
def tables(tmp_path):
    """The tables of a new lake."""
    (tmp_path / "data").mkdir()
    with CatalogFile(tmp_path / "catalog.ducklake", f"{tmp_path}/data/").writer() as con:
        Lake(con).system_tables.prepare()
        yield DeliveryTables(con)


def _write(tables, write):
    tables.prepare()
    with transaction(tables.con, "test"):
        write()


def test_nothing_is_there_before_the_first_delivery(tables):
    """Every reader finds nothing, and creates nothing."""
    assert tables.states() == {}
    assert tables.latest_deliveries() == {}
    assert tables.deliveries() == ()
    assert tables.dead_letters(["ops"]) == ()
    assert tables.dead_counts() == {}
    assert tables.masks("ops") == ()
    assert tables.pinned(NOON) is None
    assert tables.prune(NOON) == 0
    assert not DeliveryTables(tables.con)._exist


def test_values_are_read_as_they_were_written(tables):
    """States replace each other; the history and the dead letters grow."""
    first = replace(STATE, position=None, health=Health(), outbox=None, held_since=None)
    _write(tables, lambda: tables.save(first))
    assert tables.states() == {"ops": first}
    _write(tables, lambda: tables.save(STATE))
    assert tables.states() == {"ops": STATE}
    second = replace(RECORD, run_id="run-2", result=replace(RECORD.result, error=None, notices=()))
    _write(tables, lambda: [tables.record(RECORD), tables.record(second)])
    assert tables.deliveries() == (second, RECORD)
    assert tables.latest_deliveries() == {"ops": second}
    windows = (MaskWindow("a", NOON, 1), MaskWindow("b", NOON, 2))
    _write(tables, lambda: tables.save_masks("ops", windows))
    assert tables.masks("ops") == windows
    assert DeliveryTables(tables.con).states() == {"ops": STATE}


def test_dead_letters_are_chosen_replayed_and_dropped(tables):
    """By destination and by SQL; a replayed one is no longer among them."""
    letters = [
        replace(LETTER, id=f"id-{i}", key=f'["{i}"]', destination="ops" if i else "crm")
        for i in range(4)
    ]
    _write(tables, lambda: tables.add_dead_letters(letters))
    assert tables.dead_letters(["ops", "crm"]) == tuple(letters)
    assert tables.dead_letters(["ops"], "key = '[\"2\"]'") == (letters[2],)
    assert tables.dead_letters(["ops"], limit=1) == (letters[1],)
    _write(tables, lambda: tables.mark_replayed(["id-1"], NOON))
    _write(tables, lambda: tables.drop_dead_letters(["id-2"]))
    assert tables.dead_letters(["ops"]) == (letters[3],)
    assert tables.dead_counts() == {"ops": 1, "crm": 1}


def test_a_position_pins_up_to_its_hold(tables):
    """The oldest position that is not stale."""
    later = replace(
        STATE, name="b", position=Position("b", "shop.orders", "u", 9, NOON + timedelta(hours=1))
    )
    stale = replace(
        STATE, name="c", position=Position("c", "shop.orders", "u", 1, NOON - timedelta(days=3))
    )
    empty = replace(STATE, name="d", position=None)
    _write(tables, lambda: [tables.save(state) for state in (STATE, later, stale, empty)])
    assert tables.pinned(NOON + timedelta(days=1)) == NOON
    assert tables.pinned(NOON + timedelta(days=2, minutes=1)) == NOON + timedelta(hours=1)


def test_old_records_go(tables, monkeypatch):
    """Deliveries and dead letters are kept for 90 days, and rows of earlier states for no time."""
    monkeypatch.setattr(delivery_tables, "_MIN_OLD", 5)
    records = [replace(RECORD, run_id=f"run-{i}") for i in range(5)]
    recent = replace(RECORD, run_id="recent", started_at=NOON + timedelta(days=60))
    letter = replace(LETTER, last_at=NOON + timedelta(days=60))
    _write(tables, lambda: [*map(tables.record, [*records, recent])])
    _write(tables, lambda: tables.add_dead_letters([letter, *[LETTER] * 6]))
    assert tables.prune(NOON + timedelta(days=60)) == 0
    assert tables.prune(NOON + timedelta(days=100)) == 11
    assert tables.deliveries() == (recent,)
    assert tables.dead_letters(["ops"]) == (letter,)
    for _ in range(5):
        _write(tables, lambda: tables.save(STATE))
    assert tables.prune(NOON) == 0
    _write(tables, lambda: tables.save(STATE))
    assert tables.prune(NOON) == 5
    assert tables.prune(NOON) == 0
    assert tables.states() == {"ops": STATE}
