"""Plans from options, streams and previous state: the tables, their reads, and errors."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cdpsync.errors import ContractError, ReadError
from cdpsync.model import (
    Column,
    Cursor,
    CursorType,
    LakeTable,
    SavedState,
    Source,
    Stream,
    SyncMode,
    TableName,
    TableOptions,
    TableRule,
)
from cdpsync.plan.configured import ConfiguredTable, configured_tables, table_options
from cdpsync.plan.resume import PreviousState
from cdpsync.plan.schedule import is_due
from cdpsync.plan.selector import concerns_source, matches_name
from cdpsync.plan.source_changes import idle_patterns, shared_tables
from cdpsync.plan.table import table_plan

ORDERS = Stream(
    "public.orders",
    "orders",
    (
        Column("id", "BIGINT", nullable=False),
        Column("note", "VARCHAR"),
        Column("updated_at", "TIMESTAMP WITH TIME ZONE"),
    ),
    ("id",),
    ("updated_at", "id"),
)
LAKE_ORDERS = LakeTable(TableName("shop", "orders"), ORDERS.columns)
LOGS = Stream("audit.log", "audit_log", (Column("line", "VARCHAR"),))
INCREMENTAL = TableOptions(mode=SyncMode.INCREMENTAL, cursor_field="updated_at")
NOON = Cursor(CursorType.TIMESTAMPTZ, datetime(2024, 1, 1, 12, tzinfo=UTC))


def source(**tables: TableOptions) -> Source:
    """Return a source with these keys under `tables:`, dots written as two underscores."""
    rules = tuple(
        TableRule(name.replace("__", "."), options, f"p.yml:{line}")
        for line, (name, options) in enumerate(tables.items(), start=10)
    )
    return Source("shop", "postgres", None, "p.yml:3", tables=rules)


def plan_of(options: TableOptions, previous: PreviousState | None = None, **overrides: bool):
    """Plan `public.orders` with these options."""
    (table,) = configured_tables(source(public__orders=options), [ORDERS])
    run_options = {"full_refresh": False, "allow_shrink": False, "now": NOON.value, **overrides}
    return table_plan(table, previous or PreviousState(), **run_options)


def first_plan(table: ConfiguredTable):
    """Plan a table that was never loaded."""
    return table_plan(
        table, PreviousState(), full_refresh=False, allow_shrink=False, now=NOON.value
    )


def test_without_keys_every_stream_is_loaded_in_full() -> None:
    """No `tables`: every stream, `full_table`."""
    tables = configured_tables(source(), [ORDERS, LOGS])
    assert [(str(table.table), table.mode) for table in tables] == [
        ("shop.orders", SyncMode.FULL_TABLE),
        ("shop.audit_log", SyncMode.FULL_TABLE),
    ]


def test_project_that_only_disables_tables_syncs_the_others() -> None:
    """Streams without a key are synced if every key has `enabled: false`."""
    off = TableOptions(enabled=False)
    rules = (TableRule("audit.*", off, "p.yml:9"),)
    tables = configured_tables(replace(source(), tables=rules), [ORDERS, LOGS])
    assert [table.name for table in tables] == ["public.orders"]


def test_exact_key_wins_over_globs_in_any_order() -> None:
    """Globs apply in their order, then the exact key."""
    rules = (
        TableRule("public.orders", TableOptions(every=timedelta(hours=1)), "p.yml:1"),
        TableRule("*", TableOptions(every=timedelta(hours=2), where="a"), "p.yml:2"),
        TableRule("public.*", TableOptions(where="b"), "p.yml:3"),
    )
    options = table_options(replace(source(), tables=rules), "public.orders")
    assert options == TableOptions(every=timedelta(hours=1), where="b")


def test_glob_that_matches_nothing_is_idle_with_its_line() -> None:
    """A typo in a glob is told beside what the source has, and no other table fails."""
    rules = (TableRule("pubic.*", TableOptions(), "p.yml:7"),)
    (idle,) = idle_patterns(replace(source(), tables=rules), [ORDERS])
    assert re.search(r"p\.yml:7: .*pubic.*matches no stream.*public\.orders", idle.message)
    assert configured_tables(replace(source(), tables=rules), [ORDERS]) == ()


def test_two_streams_for_one_table_both_fail() -> None:
    """The message names both streams and their lines. Table names ignore case."""
    twins = source(public__orders=TableOptions(), audit__log=TableOptions(name="ORDERS"))
    errors = shared_tables(configured_tables(twins, [ORDERS, LOGS]), [])
    assert set(errors) == {("shop", "public.orders"), ("shop", "audit.log")}
    message = errors["shop", "audit.log"].message
    assert re.search(r"p\.yml:11.*audit\.log.*public\.orders.*p\.yml:10.*shop\.ORDERS", message)


def test_missing_stream_fails_alone() -> None:
    """A stream that does not exist fails its own table only, with the line and the next step."""
    (orders, missing) = configured_tables(
        source(public__orders=TableOptions(), gone=TableOptions()), [ORDERS]
    )
    first_plan(orders)
    with pytest.raises(ReadError, match=r'p\.yml:11: stream "gone".*cdpsync discover shop'):
        first_plan(missing)


def test_unreadable_stream_fails_alone() -> None:
    """An unreadable stream fails its table with the reason, before its options are checked."""
    unreadable = replace(ORDERS, columns=(), unreadable_reason="orders.csv, line 3: fix it.")
    tables = source(public__orders=TableOptions(cursor_field="nope"), audit__log=TableOptions())
    orders, logs = configured_tables(tables, [unreadable, LOGS])
    with pytest.raises(ReadError, match=r"^orders\.csv, line 3: fix it\.$"):
        first_plan(orders)
    first_plan(logs)


def test_first_load_reads_everything() -> None:
    """Without a cursor there is no window, and the table is replaced."""
    plan = plan_of(INCREMENTAL)
    assert (plan.window, plan.replace, plan.primary_key) == (None, True, ("id",))


def test_lookback_moves_the_window_not_the_cursor() -> None:
    """A read starts at the cursor less the lookback."""
    previous = PreviousState("updated_at", NOON, lake_table=LAKE_ORDERS)
    plan = plan_of(replace(INCREMENTAL, lookback=timedelta(minutes=10)), previous)
    assert plan.window is not None
    assert plan.window.low.value == datetime(2024, 1, 1, 11, 50, tzinfo=UTC)
    assert (plan.cursor_before, plan.replace) == (NOON, False)


@pytest.mark.parametrize(
    ("previous", "overrides"),
    [
        (PreviousState("updated_at", NOON, reset=True), {}),
        (PreviousState("created_at", NOON), {}),
        (PreviousState("updated_at", Cursor(CursorType.INTEGER, 5)), {}),
        (PreviousState("updated_at", NOON), {"full_refresh": True}),
    ],
)
def test_cursor_that_does_not_apply_is_not_followed(
    previous: PreviousState, overrides: dict
) -> None:
    """After a reset, with another cursor field or type, or with --full-refresh: from the start."""
    plan = plan_of(INCREMENTAL, replace(previous, lake_table=LAKE_ORDERS), **overrides)
    assert (plan.window, plan.replace) == (None, True)


def test_full_refresh_needs_no_notice() -> None:
    """A notice explains a load from the start that nobody asked for."""
    other_field = PreviousState("created_at", NOON, lake_table=LAKE_ORDERS)
    assert plan_of(INCREMENTAL, other_field, full_refresh=True).notices == ()
    assert "loaded from the start" in plan_of(INCREMENTAL, other_field).notices[0]


def saved_state(columns: dict[str, str]) -> SavedState:
    """Return the state of `shop.orders` that a commit saved with these columns."""
    return SavedState(
        "shop",
        "public.orders",
        TableName("shop", "orders"),
        SyncMode.INCREMENTAL,
        "updated_at",
        NOON,
        "20240101T120000Z-a1b2c3",
        NOON.value,
        columns=columns,
    )


def test_new_column_has_one_notice() -> None:
    """A column that is new at the source and in the lake is named once."""
    saved = saved_state({"id": "INTEGER", "updated_at": "TIMESTAMP WITH TIME ZONE"})
    in_lake = LakeTable(TableName("shop", "orders"), (ORDERS.columns[0], ORDERS.columns[2]))
    previous = PreviousState("updated_at", NOON, lake_table=in_lake, saved_state=saved)
    new_column, new_type = plan_of(INCREMENTAL, previous).notices
    assert new_column.startswith('column "note" is new: it is NULL in rows')
    assert new_column.endswith("until cdpsync run shop.orders --full-refresh")
    assert new_type == (
        'column "id" was INTEGER and is BIGINT at the source: rows that are not read again stay as '
        "they are, until cdpsync run shop.orders --full-refresh"
    )


def test_column_that_came_back_needs_no_full_refresh() -> None:
    """Its notice says only that it is new at the source, because the lake has the column."""
    saved = saved_state({"id": "BIGINT", "updated_at": "TIMESTAMP WITH TIME ZONE"})
    previous = PreviousState("updated_at", NOON, lake_table=LAKE_ORDERS, saved_state=saved)
    assert plan_of(INCREMENTAL, previous).notices == (
        'column "note" is new at the source (VARCHAR)',
    )


def test_cursor_without_its_table_is_not_followed() -> None:
    """A table that is no longer in the lake is loaded from its start."""
    plan = plan_of(INCREMENTAL, PreviousState("updated_at", NOON))
    assert plan.replace


CONTRACT_ERRORS = [
    (
        TableOptions(mode=SyncMode.INCREMENTAL),
        'needs a cursor_field. Add "cursor_field: updated_at"',
    ),
    (TableOptions(mode=SyncMode.APPEND_ONLY, cursor_field="note"), "could be: updated_at, id"),
    (TableOptions(mode=SyncMode.APPEND_ONLY, cursor_field="update_at"), 'mean "updated_at"'),
    (replace(INCREMENTAL, exclude=("updated_at",)), "among the excluded columns"),
    (replace(INCREMENTAL, exclude=("id",)), 'primary key\'s column "id" is among'),
    (replace(INCREMENTAL, primary_key=("uid",)), 'has no column "uid"'),
    (TableOptions(exclude=("nope",)), 'columns.exclude: stream "public.orders" has no column'),
    (TableOptions(types={"note": "decimal(40,2)"}), "1 to 38 digits"),
    (TableOptions(types={"note": "money"}), "not a type of the lake"),
    (TableOptions(include=()), "no column to read"),
]


@pytest.mark.parametrize(("options", "message"), CONTRACT_ERRORS)
def test_wrong_options_are_refused_with_their_line(options: TableOptions, message: str) -> None:
    """Each error names the line of the project file and what to write instead."""
    with pytest.raises(ContractError) as raised:
        plan_of(options)
    assert raised.value.message.startswith("p.yml:10: ")
    assert message in raised.value.message


@pytest.mark.parametrize("lookback", [Decimal(5), timedelta(minutes=5)])
def test_lookback_of_the_wrong_kind_is_refused(lookback: Decimal | timedelta) -> None:
    """Minutes do not fit an integer cursor, nor a number a time."""
    field = "updated_at" if isinstance(lookback, Decimal) else "id"
    cursor = NOON if field == "updated_at" else Cursor(CursorType.INTEGER, 5)
    options = replace(INCREMENTAL, cursor_field=field, lookback=lookback)
    with pytest.raises(ContractError, match=r"lookback does not fit"):
        plan_of(options, PreviousState(field, cursor, lake_table=LAKE_ORDERS))


def test_name_in_other_case_is_suggested() -> None:
    """Where a source has upper case names, a lower case name gets the right one as a hint."""
    upper_case = replace(
        ORDERS, name="PUBLIC.ORDERS", columns=(Column("ID", "BIGINT"),), primary_key=()
    )
    (table,) = configured_tables(source(public__orders=INCREMENTAL), [upper_case])
    with pytest.raises(ReadError, match=r'Did you mean "PUBLIC\.ORDERS"\?'):
        first_plan(table)
    (table,) = configured_tables(source(PUBLIC__ORDERS=TableOptions(include=("id",))), [upper_case])
    with pytest.raises(ContractError, match=r'Did you mean "ID"\?'):
        first_plan(table)


AMOUNTS = replace(
    ORDERS,
    columns=(*ORDERS.columns, Column("rev", "DECIMAL(38,2)"), Column("tax", "DECIMAL(38,2)")),
    cursor_fields=("rev",),
)


def plan_of_amounts(field: str, lookback: Decimal | timedelta | None = None):
    """Plan a table whose decimal column `rev` its connector offers as a cursor."""
    options = replace(INCREMENTAL, cursor_field=field, lookback=lookback)
    (table,) = configured_tables(source(public__orders=options), [AMOUNTS])
    cursor = Cursor(CursorType.DECIMAL, Decimal("10.25"))
    in_lake = LakeTable(TableName("shop", "orders"), AMOUNTS.columns)
    previous = PreviousState(field, cursor, lake_table=in_lake)
    return table_plan(table, previous, full_refresh=False, allow_shrink=False, now=NOON.value)


def test_decimal_is_a_cursor_where_the_connector_offers_it() -> None:
    """A lookback for a decimal cursor is a plain number."""
    plan = plan_of_amounts("rev", Decimal("0.125"))
    assert plan.cursor_type is CursorType.DECIMAL
    assert plan.window is not None
    assert plan.window.low.value == Decimal("10.12")


def test_decimal_that_is_not_offered_is_refused() -> None:
    """At other sources a numeric may be NaN, or rounded, so it is not a cursor."""
    with pytest.raises(ContractError, match=r"could be: rev"):
        plan_of_amounts("tax")


def test_duration_does_not_fit_a_decimal_cursor() -> None:
    """A lookback in minutes cannot be subtracted from a number."""
    with pytest.raises(ContractError, match=r"plain number for numbers"):
        plan_of_amounts("rev", timedelta(minutes=5))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("view", "this view"),
        ("foreign table", "this foreign table"),
        ("files", "these files"),
        ("class", "this class"),
    ],
)
def test_incremental_stream_without_key_is_refused(kind: str, words: str) -> None:
    """The message says which key of the project file to add, whatever the stream is."""
    stream = replace(ORDERS, primary_key=(), kind=kind)
    (table,) = configured_tables(source(public__orders=INCREMENTAL), [stream])
    with pytest.raises(ContractError, match=rf"primary_key.*declares none for {words}\."):
        first_plan(table)


def test_columns_that_differ_in_case_are_refused() -> None:
    """`ID` and `id` would be one column of the lake."""
    twins = replace(ORDERS, columns=(*ORDERS.columns, Column("ID", "VARCHAR")))
    (table,) = configured_tables(source(public__orders=TableOptions()), [twins])
    with pytest.raises(ContractError, match=r'"id" and "ID" differ only in case'):
        first_plan(table)


@pytest.mark.parametrize(
    ("pattern", "means"),
    [
        ("shop", True),
        ("shop.public.orders", True),
        ("shop.orders", True),
        ("shop.*", True),
        ("*.orders", True),
        ("sho", False),
        ("orders", False),
        ("other.*", False),
    ],
)
def test_select_means_source_stream_table_or_glob(pattern: str, means: bool) -> None:
    """SELECT is `source`, `source.stream`, the table's own name, or a glob over these."""
    assert matches_name("shop", "public.orders", "shop.orders", pattern) is means


def test_only_selected_sources_are_read() -> None:
    """A run of one source connects to no other, unless a glob can match it."""
    assert concerns_source("shop", ["shop.public.orders"])
    assert not concerns_source("shop", ["billing"])
    assert concerns_source("shop", ["*orders"])
    assert concerns_source("shop", [])


def test_due_tolerates_cron_jitter() -> None:
    """An hourly table is due when cron comes a second early; a fresh one is not."""
    last = datetime(2024, 1, 1, 10, 0, 2, tzinfo=UTC)
    hour = timedelta(hours=1)
    assert is_due(hour, last, datetime(2024, 1, 1, 11, 0, 1, tzinfo=UTC))
    assert not is_due(hour, last, datetime(2024, 1, 1, 10, 30, tzinfo=UTC))
    assert is_due(None, last, last)
    assert is_due(hour, None, last)


@pytest.mark.parametrize(
    ("at", "lookback", "low"),
    [
        ("2024-10-27 02:59", None, "2024-10-27 01:59"),
        ("2024-10-26 23:00", None, "2024-10-26 22:00"),
        ("2024-10-27 03:59", None, "2024-10-27 02:59"),
        ("2024-10-27 04:00", None, "2024-10-27 03:55"),
        ("2024-10-27 22:59", None, "2024-10-27 22:54"),
        ("2024-10-27 02:59", timedelta(0), "2024-10-27 02:59"),
        ("2024-10-27 02:59", timedelta(minutes=10), "2024-10-27 02:49"),
    ],
)
def test_hour_that_a_clock_repeats_is_read_again(
    at: str, lookback: timedelta | None, low: str
) -> None:
    """Under timestamps without zone, at night, and where nobody has chosen a lookback."""
    columns = (Column("id", "BIGINT"), Column("updated_at", "TIMESTAMP"))
    stream = replace(ORDERS, columns=columns)
    options = replace(INCREMENTAL, lookback=lookback)
    (table,) = configured_tables(source(public__orders=options), [stream])
    cursor = Cursor(CursorType.TIMESTAMP, datetime.fromisoformat(at))
    lake = replace(LAKE_ORDERS, columns=columns)
    previous = PreviousState("updated_at", cursor, lake_table=lake)
    plan = table_plan(table, previous, full_refresh=False, allow_shrink=False, now=NOON.value)
    assert plan.window is not None
    assert plan.window.low.value == datetime.fromisoformat(low)


@pytest.mark.parametrize(
    ("type_", "cursor_type"),
    [
        ("int8", CursorType.INTEGER), ("BigInt", CursorType.INTEGER),
        ('"bigint"', CursorType.INTEGER), ("uint64", CursorType.INTEGER),
        ("decimal(20, 4)", CursorType.DECIMAL), ("Numeric( 20 )", CursorType.DECIMAL),
        ("date", CursorType.DATE), ("timestamp_ns", CursorType.TIMESTAMP),
        ("Timestamp(6)", CursorType.TIMESTAMP), ("datetime", CursorType.TIMESTAMP),
        ("timestamptz", CursorType.TIMESTAMPTZ),
        ("timestamp with  time zone", CursorType.TIMESTAMPTZ),
        ("text", None), ("VarChar(20)", None), ("double precision", None), ("bigint[]", None),
    ],
)  # fmt: skip
def test_cursor_has_the_type_that_the_project_file_gives_it(
    type_: str, cursor_type: CursorType | None
) -> None:
    """A type may be written as in any database. One without an order is refused, by its name."""
    options = replace(INCREMENTAL, cursor_field="id", types={"id": type_})
    if cursor_type is not None:
        assert plan_of(options).cursor_type is cursor_type
        return
    with pytest.raises(ContractError, match=r'"id" is \w.* because of columns\.types; a cursor is'):
        plan_of(options)


def test_type_of_all_columns_is_that_of_those_without_one() -> None:
    """`types: {"*": …}` counts for each column that is read and has no type of its own."""
    options = TableOptions(types={"*": "varchar", "id": "integer"}, exclude=("note",))
    assert plan_of(options).types == {"id": "INTEGER", "updated_at": "VARCHAR"}
    (table,) = configured_tables(
        source(public__orders=options), [replace(ORDERS, open_schema=True)]
    )
    with pytest.raises(ContractError, match="known only from its rows"):
        first_plan(table)
