"""Small values: cursors, types, table names, secrets, state, locks, storage."""

from __future__ import annotations

import json
import multiprocessing
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.lock_holders import hold_lock, hold_lock_for_upkeep

from cdpsync.errors import CatalogError, ConnectError, LandingError, LockHeldError
from cdpsync.model import Cursor, CursorType, SavedState, SyncMode, TableName
from cdpsync.model.cursors import cursor_json, cursor_sql, later, lower_bound, parse_cursor
from cdpsync.model.state import StateFileEntry
from cdpsync.model.types import lake_type, parse_type, widens
from cdpsync.redact import redact, remember, remember_url
from cdpsync.state import read_state, reconcile, update_state
from cdpsync.storage import FolderStorage
from cdpsync.system import locks

if TYPE_CHECKING:
    from pathlib import Path

DEEP = '{"version": 1, "tables": ' + "[" * 100_000 + "]" * 100_000 + "}"

CURSORS = st.one_of(
    st.builds(Cursor, st.just(CursorType.INTEGER), st.integers(-(2**63), 2**63 - 1)),
    st.builds(Cursor, st.just(CursorType.DATE), st.dates()),
    st.builds(Cursor, st.just(CursorType.TIMESTAMP), st.datetimes()),
    st.builds(
        Cursor,
        st.just(CursorType.TIMESTAMPTZ),
        st.datetimes(
            datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)  # noqa: DTZ001
        ),
    ),
)  # fmt: skip


@given(CURSORS)
def test_cursor_survives_json_and_sql(cursor: Cursor) -> None:
    """What is written to the state file, and what DuckDB reads in a literal, is the same value."""
    assert parse_cursor(cursor.type, json.loads(json.dumps(cursor_json(cursor)))) == cursor
    con = duckdb.connect()
    con.execute("set timezone = 'UTC'")
    assert con.execute(f"select {cursor_sql(cursor)}").fetchone() == (cursor.value,)


def test_cursor_never_moves_backwards() -> None:
    """The later of two, whichever comes first."""
    low, high = (Cursor(CursorType.INTEGER, n) for n in (1, 2))
    assert later(high, low) == later(low, high) == later(None, high) == later(high, None) == high


def test_table_name_equals_its_text() -> None:
    """A script that compares a result's table with text, or looks it up by text, goes on."""
    name = TableName("shop", "orders")
    assert str(name) == "shop.orders" == name
    assert name in {"shop.orders"}
    assert {name: 1}["shop.orders"] == 1
    assert name == TableName.parse("shop.orders")
    assert name not in (TableName("shop", "order"), "shop.order", ("shop", "orders"), None)
    assert TableName.parse("shop.a.b") == TableName("shop", "a.b")


def test_lookback_of_a_long_decimal_is_exact() -> None:
    """38 digits less a small number: no digit is rounded, none is added behind the point."""
    nines = Cursor(CursorType.DECIMAL, Decimal("9" * 38))
    assert lower_bound(nines, Decimal(1)).value == Decimal("9" * 37 + "8")
    assert lower_bound(nines, Decimal("0.5")).value == Decimal("9" * 37 + "8")


def test_lookback_stops_at_the_beginning_of_time() -> None:
    """A long lookback on an early cursor is the earliest value, not an error."""
    early = Cursor(CursorType.DATE, date(1, 1, 2))
    assert lower_bound(early, timedelta(days=9)).value == date(1, 1, 1)
    hours = lower_bound(Cursor(CursorType.DATE, date(2024, 1, 2)), timedelta(hours=1))
    assert hours.value == date(2024, 1, 1)
    assert lower_bound(Cursor(CursorType.INTEGER, -10), Decimal("0.5")).value == -11


@pytest.mark.parametrize("text", ["2024-13-01", "yesterday", "", "12"])
def test_wrong_cursor_is_a_value_error(text: str) -> None:
    """A cursor that a person mistyped is refused."""
    with pytest.raises(ValueError, match=r".+"):
        parse_cursor(CursorType.DATE, text)


LITERALS = [
    (9223372036854775809, "UBIGINT", "'9223372036854775809'::UBIGINT"),
    (-5, "UBIGINT", "'0'::UBIGINT"), (5, "BIGINT", "'5'::BIGINT"),
    (2**64, "UBIGINT", "'18446744073709551616'::DECIMAL(38,0)"),
    (Decimal("5.5"), "DECIMAL(38,0)", "'6'::DECIMAL(38,0)"),
    (Decimal("1.25"), "DECIMAL(10,2)", "'1.25'::DECIMAL(10,2)"),
    (10**40, "BIGINT", f"'{10**38 - 1}'::DECIMAL(38,0)"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "column_type", "literal"), LITERALS)
def test_bound_has_the_type_of_its_column(
    value: int | Decimal, column_type: str, literal: str
) -> None:
    """No value of the column is cast for the comparison, so none can fail and files are skipped."""
    type_ = CursorType.DECIMAL if isinstance(value, Decimal) else CursorType.INTEGER
    assert cursor_sql(Cursor(type_, value), column_type) == literal


WIDENING = [
    ("INTEGER", "BIGINT", True), ("BIGINT", "INTEGER", False), ("UINTEGER", "BIGINT", True),
    ("INTEGER", "DECIMAL(10,0)", True), ("INTEGER", "DECIMAL(10,2)", False),
    ("DECIMAL(10,2)", "DECIMAL(12,2)", True), ("DECIMAL(10,2)", "DECIMAL(10,4)", False),
    ("DECIMAL(10,2)", "DECIMAL(12,4)", True), ("DATE", "TIMESTAMP", True),
    ("TIMESTAMP", "DATE", False), ("FLOAT", "DOUBLE", True), ("INTEGER", "DOUBLE", False),
    ("INTEGER", "VARCHAR", False), ("VARCHAR", "JSON", False), ("UUID", "UUID", True),
    ("DATE", "TIMESTAMP WITH TIME ZONE", False), ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", False),
    ("INTEGER[]", "BIGINT[]", True), ("INTEGER[]", "BIGINT", False), ("BIGINT", "DOUBLE", False),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "exact"), WIDENING)
def test_widening_is_only_what_loses_nothing(old: str, new: str, exact: bool) -> None:
    """A column may become what holds all of its old values."""
    assert widens(old, new) is exact


@pytest.mark.parametrize(
    ("type_", "lake"),
    [
        ("BIT", "VARCHAR"), ("INTERVAL", "VARCHAR"), ("ENUM('a')", "VARCHAR"),
        ("HUGEINT", None), ("STRUCT(a HUGEINT)", None), ("DECIMAL(38,0)", "DECIMAL(38,0)"),
        ("INTEGER[]", "INTEGER[]"), ("TIMESTAMP_S", "TIMESTAMP"), ("INTERVAL[]", "JSON"),
    ],
)  # fmt: skip
def test_lake_keeps_types_it_holds_exactly(type_: str, lake: str | None) -> None:
    """A type without an exact place becomes text, or is refused."""
    assert lake_type(type_) == lake


WRITTEN = {
    "BIGINT": ["bigint", "BigInt", '"bigint"', "int8", " int64 ", "long"],
    "INTEGER": ["int", "INT4", "Integer", "signed"],
    "UBIGINT": ["bigint unsigned", "uint64"],
    "VARCHAR": ["text", "Text", '"VARCHAR"', "varchar(20)", "character varying (20)"],
    "VARCHAR[][]": ["text[][]", "text [] []", "varchar(3)[] array"],
    "DECIMAL(20,4)": ["decimal(20,4)", "DECIMAL( 20 , 4 )", "numeric (20, 4)", '"dec"(20,4)'],
    "DECIMAL(5,0)": ["Numeric( 5 )", "number(5)", "decimal(5,0)"],
    "DECIMAL(20,4)[]": ["decimal(20, 4)[]"],
    "TIMESTAMP": ["timestamp", "datetime(6)", "timestamp(3) without  time zone", "timestamp_ms"],
    "TIMESTAMP_NS": ["timestamp_ns", "Timestamp_NS", "timestamp(9)"],
    "TIMESTAMP WITH TIME ZONE": ["timestamptz", "timestamp(6) with time zone", "timestamptz(3)"],
    "TIME": ["time", "time(0) without time zone"],
    "DOUBLE": ["double precision", "float8"],
    "JSON": ["jsonb"],
}  # fmt: skip


@pytest.mark.parametrize("type_", WRITTEN)
def test_types_are_read_as_people_write_them(type_: str) -> None:
    """Names of DuckDB and of other databases are understood, in any case, spaced and quoted."""
    assert {text: parse_type(text) for text in WRITTEN[type_]} == dict.fromkeys(
        WRITTEN[type_], type_
    )


def test_every_name_that_duckdb_has_for_a_type_of_the_lake_is_understood() -> None:
    """It means the same type here as there. Those of types that the lake lacks are refused."""
    names = duckdb.sql("select type_name from duckdb_types() where database_name = 'system'")
    parsed, refused = {}, set()
    for (name,) in names.fetchall():
        try:
            parsed[name] = parse_type(name)
        except ValueError:
            refused.add(name)
    types = ", ".join(f'null::{name} as "{name}"' for name in parsed)
    actual = dict(zip(parsed, map(str, duckdb.sql(f"select {types}").types), strict=True))
    assert parsed == {name: lake_type(type_) for name, type_ in actual.items()}
    assert {"bigint", "int8", "bpchar", "guid", "timestamptz"} <= set(parsed)
    assert {"hugeint", "uhugeint", "interval", "bit", "decimal", "struct"} <= refused


@pytest.mark.parametrize(
    "text",
    ["", "money", "int[3]", "decimal", "numeric", "decimal(39,0)", "decimal(3,4)", "decimal(0)",
     "hugeint", "struct(a int)", "timestamptz(9)", "varchar(x)", "[]", "int)"],
)  # fmt: skip
def test_types_that_the_lake_lacks_are_refused(text: str) -> None:
    """The message repeats what was written."""
    with pytest.raises(ValueError, match=rf"^{re.escape(text)}: "):
        parse_type(text)


def test_secrets_are_hidden_in_every_form() -> None:
    """A known secret is hidden raw, quoted and percent-encoded; unknown ones by their look."""
    remember("p@ss'w/rd-planted")
    remember_url("postgresql://me:url%40secret@host/db")
    texts = [
        "it was p@ss'w/rd-planted",
        "encoded p%40ss%27w%2Frd-planted",
        "quoted 'p@ss''w/rd-planted'",
        "password=letmein host=x",
        "postgresql://u:letmein@host/db",
        "url%40secret and url@secret",
    ]
    for text in texts:
        hidden = redact(text)
        assert "***" in hidden
        assert not any(part in hidden for part in ("planted", "letmein", "secret"))
    assert "planted" not in ConnectError("no: p@ss'w/rd-planted").message


def entry(run_id: str, value: int) -> SavedState:
    """Return the state of a table in the catalog."""
    cursor = Cursor(CursorType.INTEGER, value)
    return SavedState(
        "shop", "orders", TableName("shop", "orders"), SyncMode.INCREMENTAL, "id", cursor, run_id,
        datetime(2024, 1, 1, tzinfo=UTC),
    )  # fmt: skip


def file_entry(run_id: str | None, value: int) -> StateFileEntry:
    """Return the state of the same table in the state file."""
    return StateFileEntry("id", Cursor(CursorType.INTEGER, value), run_id, None)


@pytest.mark.parametrize(
    ("state", "value", "notices"),
    [
        (None, 10, 1),
        ({}, 10, 1),
        ({("shop", "orders"): file_entry("run2", 5)}, 5, 0),
        ({("shop", "orders"): file_entry("run1", 5)}, 10, 1),
        ({("shop", "orders"): file_entry(None, 5)}, 10, 1),
    ],
)
def test_catalog_and_state_are_brought_together(state: dict, value: int, notices: int) -> None:
    """The same run: the file wins, a person may have edited it. Another run: the catalog wins."""
    merged, messages = reconcile(state, [entry("run2", 10)])
    assert merged["shop", "orders"].cursor == Cursor(CursorType.INTEGER, value)
    assert len(messages) == notices


def test_state_of_a_lake_that_is_gone_is_dropped() -> None:
    """A cursor whose table the catalog does not know would lose every row before it."""
    assert reconcile({("shop", "orders"): file_entry("run1", 5)}, [])[0] == {}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 1}', '{"version": 1, "tables": 3}', pytest.param(DEEP, id="deep")],
)
def test_corrupt_state_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    """The message names the path and how to rebuild; the file stays as it is."""
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(CatalogError, match=r"state\.json: .*rebuilds it from the catalog"):
        update_state(path, lambda state: state.clear())
    assert path.read_text() == text


def test_state_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """A newer cdpsync's file is not guessed at."""
    path = tmp_path / "state.json"
    path.write_text('{"version": 2, "tables": {}}')
    with pytest.raises(CatalogError, match="Upgrade cdpsync"):
        read_state(path)


def test_state_file_is_private_and_round_trips(tmp_path: Path) -> None:
    """Only its user reads it, and it says what was written."""
    path = tmp_path / "deep/state.json"
    update_state(path, lambda state: state.update({("a", "b"): file_entry("r", 1)}))
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_state(path) == {("a", "b"): file_entry("r", 1)}


def test_lock_names_the_process_that_holds_it(tmp_path: Path) -> None:
    """A second run learns who is at work; when that process dies, nothing stays locked."""
    spawn = multiprocessing.get_context("spawn")
    locked, done = spawn.Event(), spawn.Event()
    process = spawn.Process(target=hold_lock, args=(tmp_path, locked, done))
    process.start()
    assert locked.wait(30)
    assert locks.holder(tmp_path, "shop.orders").pid == process.pid
    second_lock = locks.hold(tmp_path, ["shop.other", "shop.orders"], "run-2", "10:01")
    with pytest.raises(LockHeldError, match=f"process {process.pid} .*run-1"), second_lock:
        pass
    process.kill()
    process.join()
    with locks.hold(tmp_path, ["shop.orders"], "run-3", "10:02"):
        assert locks.holder(tmp_path, "shop.orders").run_id == "run-3"
    assert locks.holder(tmp_path, "shop.orders") is None


def test_upkeep_is_waited_for_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits says for whom, and gets the lock; who does not wait, or waits too long, is told."""
    spawn = multiprocessing.get_context("spawn")
    locked, go = spawn.Event(), spawn.Event()
    process = spawn.Process(target=hold_lock_for_upkeep, args=(tmp_path, locked, go))
    process.start()
    assert locked.wait(30)
    monkeypatch.setattr(locks, "_PATIENCE", 0.0)
    raises_lock_held = pytest.raises(LockHeldError, match="run-1")
    with raises_lock_held, locks.hold(tmp_path, ["shop.orders"], "maintenance", "10:01"):
        pass
    with monkeypatch.context() as patch:
        patch.setattr(locks, "PATIENCE_WITH_UPKEEP", 0.1)
        with raises_lock_held, locks.hold(tmp_path, ["shop.orders"], "run-2", "10:01", waits=True):
            pass
    monkeypatch.setattr(locks, "_PATIENCE", 30.0)
    with caplog.at_level("INFO", "cdpsync.system.locks"):
        monkeypatch.setattr(locks.time, "sleep", lambda _: go.set())
        with locks.hold(tmp_path, ["shop.orders"], "run-2", "10:01", waits=True):
            assert locks.holder(tmp_path, "shop.orders").run_id == "run-2"
    assert [f"waiting for upkeep by process {process.pid}" in text for text in caplog.messages] == [
        True
    ]
    process.join()


def test_folder_never_overwrites(tmp_path: Path) -> None:
    """A name that was put stays what it was."""
    storage = FolderStorage(tmp_path / "lake")
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text("first")
    second.write_text("second")
    url = storage.put(first, "a/b.parquet")
    with pytest.raises(LandingError, match=r"b\.parquet"):
        storage.put(second, "a/b.parquet")
    with open(url) as file:  # noqa: PTH123 - the url is what DuckDB gets
        assert file.read() == "first"
