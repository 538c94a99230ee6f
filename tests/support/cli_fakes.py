"""A project and its runs as the commands see them, without a database behind them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from cdpsync.cli.main import app
from cdpsync.model import (
    CheckResult,
    Column,
    Config,
    Cursor,
    CursorType,
    Failure,
    LakeTable,
    Planned,
    RunRecord,
    RunResult,
    RunStatus,
    SavedState,
    Source,
    Stream,
    SyncMode,
    TableName,
    TableOverview,
    TablePlan,
    TableResult,
    TableStatus,
    Warehouse,
    Window,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOLDEN = Path(__file__).parents[1] / "golden"
NOW = datetime(2024, 2, 1, 12, 0, tzinfo=UTC)
RUN_ID = "20240201T115700Z-a1b2c3"
BEFORE = Cursor(CursorType.TIMESTAMPTZ, datetime(2024, 1, 31, 10, 0, tzinfo=UTC))
AFTER = Cursor(CursorType.TIMESTAMPTZ, datetime(2024, 2, 1, 11, 56, 0, 123456, tzinfo=UTC))
SOURCES = {"shop": Source("shop", "postgres", None, "cdpsync.yml:3")}
REFUSED = Failure("ConnectError", "shop: the server closed the connection. Check that it is up.")

ORDERS = TableResult(
    source="shop",
    stream="public.orders",
    table=TableName("shop", "orders"),
    mode=SyncMode.INCREMENTAL,
    status=TableStatus.OK,
    rows_read=1234,
    rows_inserted=1000,
    rows_updated=234,
    rows_in_table=1_001_000,
    bytes_written=52_000,
    cursor_before=BEFORE,
    cursor_after=AFTER,
    seconds=2.1,
)
PLANS = TableResult(
    source="shop",
    stream="public.plans",
    table=TableName("shop", "plans"),
    mode=SyncMode.FULL_TABLE,
    status=TableStatus.FAILED,
    seconds=0.04,
    error=REFUSED,
)
EVENTS = TableResult(
    source="shop",
    stream="public.events",
    table=TableName("shop", "events"),
    mode=SyncMode.APPEND_ONLY,
    status=TableStatus.SKIPPED,
    cursor_before=Cursor(CursorType.INTEGER, 9_007_199_254_740_993),
    cursor_after=Cursor(CursorType.INTEGER, 9_007_199_254_740_993),
)


def a_run(*tables: TableResult, status: RunStatus = RunStatus.OK) -> RunResult:
    return RunResult(
        RUN_ID, status, NOW - timedelta(minutes=3), NOW - timedelta(seconds=177), tables
    )


ORDERS_STREAM = Stream(
    name="public.orders",
    table="orders",
    columns=(
        Column("id", "BIGINT", nullable=False, source_type="bigint"),
        Column("total", "DECIMAL(12,2)", source_type="numeric(12,2)"),
        Column("updated_at", "TIMESTAMP WITH TIME ZONE", source_type="timestamptz"),
    ),
    primary_key=("id",),
    cursor_fields=("updated_at", "id"),
    estimated_rows=1_001_000,
)
PLANS_STREAM = Stream("public.plans", "plans", (Column("name", "VARCHAR", source_type="text"),))
EVENTS_STREAM = Stream(
    "public.events",
    "events",
    (Column("id", "BIGINT"), Column("made", "TIMESTAMP")),
    ("id",),
    ("id", "made"),
    2_000,
)


def a_plan(stream: Stream, mode: SyncMode, **options: Any) -> TablePlan:
    return TablePlan(
        "shop", stream, TableName("shop", stream.table), mode, stream.columns, **options
    )


PLANNED = Planned(
    plans=(
        a_plan(
            ORDERS_STREAM,
            SyncMode.INCREMENTAL,
            primary_key=("id",),
            cursor_field="updated_at",
            cursor_type=CursorType.TIMESTAMPTZ,
            cursor_before=AFTER,
            window=Window("updated_at", BEFORE),
            lookback=timedelta(minutes=10),
            where="deleted_at is null",
            lake_table=LakeTable(TableName("shop", "orders"), ORDERS_STREAM.columns),
            replace=False,
        ),
        a_plan(
            EVENTS_STREAM,
            SyncMode.APPEND_ONLY,
            cursor_field="id",
            window=Window("id", Cursor(CursorType.INTEGER, 90)),
            lookback=Decimal(10),
            lake_table=LakeTable(TableName("shop", "events"), EVENTS_STREAM.columns),
            replace=False,
        ),
        a_plan(PLANS_STREAM, SyncMode.FULL_TABLE),
    ),
)

STATES = (
    TableOverview(
        source="shop",
        stream="public.orders",
        table=TableName("shop", "orders"),
        mode=SyncMode.INCREMENTAL,
        enabled=True,
        every=timedelta(hours=1),
        status="ok",
        last_run_at=NOW - timedelta(minutes=3),
        last_success_at=NOW - timedelta(minutes=3),
        next_due_at=NOW + timedelta(minutes=57),
        rows=1_001_000,
        cursor_field="updated_at",
        cursor=AFTER,
    ),
    TableOverview(
        source="shop",
        stream="public.plans",
        table=TableName("shop", "plans"),
        mode=SyncMode.FULL_TABLE,
        enabled=True,
        every=timedelta(days=1),
        status="failed",
        last_run_at=NOW - timedelta(minutes=3),
        last_success_at=NOW - timedelta(days=2),
        next_due_at=NOW - timedelta(days=1),
        rows=0,
        error=REFUSED,
    ),
    TableOverview(
        "shop", "audit.log", TableName("shop", "audit_log"), None, False, None, "disabled"
    ),
)
HISTORY = (
    RunRecord(RUN_ID, NOW - timedelta(minutes=3), NOW - timedelta(seconds=177), ORDERS),
    RunRecord(RUN_ID, NOW - timedelta(minutes=3), NOW - timedelta(seconds=179), PLANS),
)
CURSORS = (
    SavedState(
        "shop",
        "public.orders",
        TableName("shop", "orders"),
        SyncMode.INCREMENTAL,
        "updated_at",
        AFTER,
        RUN_ID,
        NOW - timedelta(minutes=3),
    ),
    SavedState(
        "shop",
        "public.rates",
        TableName("shop", "rates"),
        SyncMode.APPEND_ONLY,
        "day",
        Cursor(CursorType.DATE, date(2024, 1, 31)),
        RUN_ID,
        NOW - timedelta(minutes=3),
    ),
    SavedState(
        "shop",
        "public.events",
        TableName("shop", "events"),
        SyncMode.APPEND_ONLY,
        "id",
        None,
        RUN_ID,
        NOW - timedelta(minutes=3),
        reset=True,
    ),
)
CHECKS = (
    CheckResult("warehouse", "/lake", ok=True, seconds=0.012),
    CheckResult("shop", "postgres", ok=False, seconds=1.5, error=REFUSED),
)


@dataclass
class FakeAnswer:
    """The answer of a lake that holds just these rows."""

    columns: tuple[Column, ...] = (Column("n", "INTEGER"),)
    given: tuple[tuple[object, ...], ...] = ((1,), (2,))
    fails_after: int | None = None

    def rows(self) -> Iterator[tuple[object, ...]]:
        from cdpsync.errors import QueryError

        for at, row in enumerate(self.given):
            if at == self.fails_after:
                raise QueryError("Conversion Error: what came was not a number")
            yield row

    def write_parquet(self, path: Path) -> int:
        path.write_bytes(b"PAR1")
        return len(self.given)


@dataclass
class Fake:
    """Stands in for `project` and `sync`; `calls` holds what they were asked."""

    monkeypatch: Any
    config: Config = field(
        default_factory=lambda: Config(
            Warehouse("/lake", Path("/nowhere/catalog"), Path("/nowhere/state.json")), SOURCES, ()
        )
    )
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.monkeypatch.setattr("cdpsync.system.clock.now", lambda: NOW)
        self.monkeypatch.setenv("COLUMNS", "200")
        self.answers("project.load", self.config)

    def answers(self, name: str, result: object) -> None:
        """Let a function return this, or raise it."""

        def stand_in(*args: Any, **named: Any) -> Any:
            self.calls.append((name, *(arg for arg in args if arg is not self.config), named))
            if isinstance(result, BaseException):
                raise result
            return result

        self.monkeypatch.setattr(f"cdpsync.{name}", stand_in)

    def does(self, name: str, function: Callable[..., Any]) -> None:
        """Let a function do this."""
        self.monkeypatch.setattr(f"cdpsync.{name}", function)

    def answers_query(self, answer: FakeAnswer) -> None:
        """Let every query have this answer."""

        @contextmanager
        def open_query(_config: Config, sql: str, *, at: str | None = None) -> Iterator[FakeAnswer]:
            self.calls.append(("project.open_query", sql, at))
            yield answer

        self.does("project.open_query", open_query)


def invoke(*argv: str, typed: str | None = None) -> Any:
    return CliRunner().invoke(app, list(argv), input=typed)


def assert_golden(name: str, text: str) -> None:
    """Compare with a golden file; `UPDATE_GOLDEN=1` writes it anew."""
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
