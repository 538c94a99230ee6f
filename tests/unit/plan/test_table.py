"""Config, streams and cursors to plans: which tables, how they are read, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cdpsync.errors import ConfigError, ContractError, ReadError
from cdpsync.model import (
    Column,
    Cursor,
    CursorType,
    LakeTable,
    Source,
    Stream,
    SyncMode,
    TableName,
    TableOptions,
    TableRule,
)
from cdpsync.plan.configured import configured_tables, table_options
from cdpsync.plan.resume import PreviousState
from cdpsync.plan.schedule import is_due
from cdpsync.plan.selector import concerns_source, matches_name
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


def plan_of(options: TableOptions, remembered: PreviousState | None = None, **how: bool):
    """Plan `public.orders` with these options."""
    (one,) = configured_tables(source(public__orders=options), [ORDERS])
    how = {"full_refresh": False, "allow_shrink": False, "now": NOON.value, **how}
    return table_plan(one, remembered or PreviousState(), **how)


def test_without_keys_every_stream_is_loaded_in_full() -> None:
    """No `tables`: every stream, `full_table`."""
    wanted = configured_tables(source(), [ORDERS, LOGS])
    assert [(str(one.table), one.mode) for one in wanted] == [
        ("shop.orders", SyncMode.FULL_TABLE),
        ("shop.audit_log", SyncMode.FULL_TABLE),
    ]


def test_keys_that_only_switch_off_leave_the_rest() -> None:
    """A project that only disables tables syncs all the others."""
    off = TableOptions(enabled=False)
    rules = (TableRule("audit.*", off, "p.yml:9"),)
    wanted = configured_tables(replace(source(), tables=rules), [ORDERS, LOGS])
    assert [one.name for one in wanted] == ["public.orders"]


def test_exact_key_wins_over_globs_wherever_it_stands() -> None:
    """Globs apply in their order, then the exact key."""
    rules = (
        TableRule("public.orders", TableOptions(every=timedelta(hours=1)), "p.yml:1"),
        TableRule("*", TableOptions(every=timedelta(hours=2), where="a"), "p.yml:2"),
        TableRule("public.*", TableOptions(where="b"), "p.yml:3"),
    )
    options = table_options(replace(source(), tables=rules), "public.orders")
    assert options == TableOptions(every=timedelta(hours=1), where="b")


def test_glob_that_matches_nothing_is_an_error_with_its_line() -> None:
    """A typo in a glob is found before anything runs."""
    rules = (TableRule("pubic.*", TableOptions(), "p.yml:7"),)
    with pytest.raises(ConfigError, match=r"p\.yml:7: .*pubic.*matches no stream.*public\.orders"):
        configured_tables(replace(source(), tables=rules), [ORDERS])


def test_two_streams_for_one_table_is_an_error() -> None:
    """Both streams and their lines are named; the lake does not tell case apart."""
    named = source(public__orders=TableOptions(), audit__log=TableOptions(name="ORDERS"))
    with pytest.raises(ConfigError, match=r"p\.yml:11.*public\.orders.*p\.yml:10.*shop\.ORDERS"):
        configured_tables(named, [ORDERS, LOGS])


def test_missing_stream_fails_alone() -> None:
    """A stream that is not there is a failure of its table, with the line and the way out."""
    (orders, gone) = configured_tables(
        source(public__orders=TableOptions(), gone=TableOptions()), [ORDERS]
    )
    table_plan(orders, PreviousState(), full_refresh=False, allow_shrink=False, now=NOON.value)
    with pytest.raises(ReadError, match=r'p\.yml:11: stream "gone".*cdpsync discover shop'):
        table_plan(gone, PreviousState(), full_refresh=False, allow_shrink=False, now=NOON.value)


def test_refused_stream_fails_alone() -> None:
    """A stream that cannot be read fails its table with the reason, whatever its options name."""
    refused = replace(ORDERS, columns=(), unreadable_reason="orders.csv, line 3: mend it.")
    named = source(public__orders=TableOptions(cursor_field="nope"), audit__log=TableOptions())
    orders, logs = configured_tables(named, [refused, LOGS])
    with pytest.raises(ReadError, match=r"^orders\.csv, line 3: mend it\.$"):
        table_plan(orders, PreviousState(), full_refresh=False, allow_shrink=False, now=NOON.value)
    table_plan(logs, PreviousState(), full_refresh=False, allow_shrink=False, now=NOON.value)


def test_first_load_reads_everything() -> None:
    """Without a cursor there is no window, and the table is replaced."""
    plan = plan_of(INCREMENTAL)
    assert (plan.window, plan.replace, plan.primary_key) == (None, True, ("id",))


def test_lookback_moves_the_window_not_the_cursor() -> None:
    """A read starts at the cursor less the lookback."""
    landed = LakeTable(TableName("shop", "orders"), ORDERS.columns)
    before = PreviousState("updated_at", NOON, lake_table=landed)
    plan = plan_of(replace(INCREMENTAL, lookback=timedelta(minutes=10)), before)
    assert plan.window is not None
    assert plan.window.low.value == datetime(2024, 1, 1, 11, 50, tzinfo=UTC)
    assert (plan.cursor_before, plan.replace) == (NOON, False)


@pytest.mark.parametrize(
    ("remembered", "how"),
    [
        (PreviousState("updated_at", NOON, reset=True), {}),
        (PreviousState("created_at", NOON), {}),
        (PreviousState("updated_at", Cursor(CursorType.INTEGER, 5)), {}),
        (PreviousState("updated_at", NOON), {"full_refresh": True}),
    ],
)
def test_cursor_of_another_making_is_not_followed(remembered: PreviousState, how: dict) -> None:
    """After a reset, with another cursor field or type, or when asked: from the start."""
    landed = LakeTable(TableName("shop", "orders"), ORDERS.columns)
    plan = plan_of(INCREMENTAL, replace(remembered, lake_table=landed), **how)
    assert (plan.window, plan.replace) == (None, True)


def test_load_that_was_asked_for_is_not_explained() -> None:
    """A notice says why a table starts over by itself; --full-refresh needs none."""
    landed = LakeTable(TableName("shop", "orders"), ORDERS.columns)
    moved = PreviousState("created_at", NOON, lake_table=landed)
    assert plan_of(INCREMENTAL, moved, full_refresh=True).notices == ()
    assert "loaded from the start" in plan_of(INCREMENTAL, moved).notices[0]


def test_cursor_without_its_table_is_not_followed() -> None:
    """A table that is no longer in the lake is loaded whole, whatever the state file says."""
    plan = plan_of(INCREMENTAL, PreviousState("updated_at", NOON))
    assert plan.replace


REFUSED = [
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


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_cannot_work_is_refused_with_its_line(options: TableOptions, message: str) -> None:
    """Each refusal names the line of the project file and what to write instead."""
    with pytest.raises(ContractError) as refused:
        plan_of(options)
    assert refused.value.message.startswith("p.yml:10: ")
    assert message in refused.value.message


@pytest.mark.parametrize("lookback", [Decimal(5), timedelta(minutes=5)])
def test_lookback_of_the_wrong_kind_is_refused(lookback: Decimal | timedelta) -> None:
    """Minutes do not fit an integer cursor, nor a number a time."""
    field = "updated_at" if isinstance(lookback, Decimal) else "id"
    cursor = NOON if field == "updated_at" else Cursor(CursorType.INTEGER, 5)
    landed = LakeTable(TableName("shop", "orders"), ORDERS.columns)
    options = replace(INCREMENTAL, cursor_field=field, lookback=lookback)
    with pytest.raises(ContractError, match=r"lookback does not fit"):
        plan_of(options, PreviousState(field, cursor, lake_table=landed))


def test_name_in_other_case_is_told() -> None:
    """Where a source shows upper case, who types lower case is shown the name to type."""
    loud = replace(ORDERS, name="PUBLIC.ORDERS", columns=(Column("ID", "BIGINT"),), primary_key=())
    (one,) = configured_tables(source(public__orders=INCREMENTAL), [loud])
    with pytest.raises(ReadError, match=r'Did you mean "PUBLIC\.ORDERS"\?'):
        table_plan(one, PreviousState(), full_refresh=False, allow_shrink=False, now=NOON.value)
    (one,) = configured_tables(source(PUBLIC__ORDERS=TableOptions(include=("id",))), [loud])
    with pytest.raises(ContractError, match=r'Did you mean "ID"\?'):
        table_plan(one, PreviousState(), full_refresh=False, allow_shrink=False, now=NOON.value)


AMOUNTS = replace(
    ORDERS,
    columns=(*ORDERS.columns, Column("rev", "DECIMAL(38,2)"), Column("tax", "DECIMAL(38,2)")),
    cursor_fields=("rev",),
)


def plan_of_amounts(field: str, lookback: Decimal | timedelta | None = None):
    """Plan a table whose decimal column `rev` its connector offers as a cursor."""
    options = replace(INCREMENTAL, cursor_field=field, lookback=lookback)
    (one,) = configured_tables(source(public__orders=options), [AMOUNTS])
    cursor = Cursor(CursorType.DECIMAL, Decimal("10.25"))
    landed = LakeTable(TableName("shop", "orders"), AMOUNTS.columns)
    before = PreviousState(field, cursor, lake_table=landed)
    return table_plan(one, before, full_refresh=False, allow_shrink=False, now=NOON.value)


def test_decimal_is_a_cursor_where_the_connector_offers_it() -> None:
    """An exact numeric is followed at a source that says so, and moved back by a plain number."""
    plan = plan_of_amounts("rev", Decimal("0.125"))
    assert plan.cursor_type is CursorType.DECIMAL
    assert plan.window is not None
    assert plan.window.low.value == Decimal("10.12")


def test_decimal_that_is_not_offered_is_refused() -> None:
    """Elsewhere a numeric may be NaN, or rounded on its way: it is no cursor."""
    with pytest.raises(ContractError, match=r"could be: rev"):
        plan_of_amounts("tax")


def test_duration_does_not_fit_a_decimal_cursor() -> None:
    """Minutes before a number mean nothing."""
    with pytest.raises(ContractError, match=r"plain number for numbers"):
        plan_of_amounts("rev", timedelta(minutes=5))


def test_view_without_key_says_what_to_add() -> None:
    """An incremental table needs a key from somewhere."""
    view = replace(ORDERS, primary_key=(), kind="view")
    (one,) = configured_tables(source(public__orders=INCREMENTAL), [view])
    with pytest.raises(ContractError, match=r"primary_key.*declares none for this view"):
        table_plan(one, PreviousState(), full_refresh=False, allow_shrink=False, now=NOON.value)


def test_columns_that_differ_in_case_are_refused() -> None:
    """The lake would take `Id` and `id` for one column."""
    twins = replace(ORDERS, columns=(*ORDERS.columns, Column("ID", "VARCHAR")))
    (one,) = configured_tables(source(public__orders=TableOptions()), [twins])
    with pytest.raises(ContractError, match=r'"id" and "ID" differ only in case'):
        table_plan(one, PreviousState(), full_refresh=False, allow_shrink=False, now=NOON.value)


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


def test_only_the_selected_sources_are_asked() -> None:
    """A run of one source connects to no other, unless a glob may mean it."""
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
