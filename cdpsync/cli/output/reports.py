"""What commands found, each as a `Report`: its JSON, its CSV and its table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.cli.output.report import Heading, Report
from cdpsync.model import TableStatus
from cdpsync.redact import redact
from cdpsync.serialize import results as records
from cdpsync.serialize.text import ago, count, due, duration, seconds
from cdpsync.state import StateFileEntry, state_json
from cdpsync.system import clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cdpsync.model import (
        CheckResult,
        Failure,
        MaintenanceStep,
        Planned,
        RunRecord,
        RunResult,
        SavedState,
        Stream,
        TableName,
        TableOverview,
        TablePlan,
    )
    from cdpsync.model.verification import VerifyResult

_SHOWN = 10  # differences of a table

_WRITES = {
    "create": "creates the table",
    "replace": "replaces the table",
    "upsert": "upserts by key",
    "append": "appends what is new",
}


def check_report(results: Sequence[CheckResult]) -> Report:
    """Report what was tried."""
    told = [records.of_check(result) for result in results]
    keys, flat = records.flat(told, records.CHECK_KEYS)
    headings = [Heading("name"), Heading("kind"), Heading("result"), Heading("time", number=True)]
    rows = [
        (result.name, result.kind, "ok" if result.ok else "failed", seconds(result.seconds))
        for result in results
    ]
    return Report(told, keys, flat, headings, rows)


def maintain_report(chores: Sequence[MaintenanceStep]) -> Report:
    """Report what maintenance did, or would do."""
    told: list[records.Record] = [
        {"step": chore.step, "table": chore.table, "count": chore.count} for chore in chores
    ]
    headings = [Heading("step"), Heading("table"), Heading("count", number=True)]
    rows = [(chore.step, chore.table, count(chore.count)) for chore in chores]
    return Report(told, ("step", "table", "count"), told, headings, rows)


def verify_report(verdicts: Sequence[VerifyResult]) -> Report:
    """Report how tables compare with their sources; below, the keys that differ."""
    told = [records.of_verdict(verdict) for verdict in verdicts]
    keys, flat = records.flat(told, records.VERIFY_KEYS)
    numbers = ("source", "lake", "missing", "stale", "extra", "kept", "not synced", "repaired")
    headings = [
        Heading("table"),
        Heading("status"),
        *(Heading(name, number=True) for name in (*numbers, "time")),
    ]
    rows = [
        (str(verdict.table), verdict.status, *_verdict_cells(verdict), seconds(verdict.seconds))
        for verdict in verdicts
    ]
    notes = [note for verdict in verdicts for note in _differences(verdict)]
    notes += _errors((verdict.table, verdict.error) for verdict in verdicts)
    return Report(told, keys, flat, headings, rows, notes)


def _verdict_cells(verdict: VerifyResult) -> list[str | None]:
    from cdpsync.model.verification import DiffKind  # of `verify` alone

    found = verdict.compared
    if found is None:
        return [None] * 8
    kinds = (DiffKind.MISSING, DiffKind.STALE, DiffKind.EXTRA, DiffKind.GONE, DiffKind.NEWER)
    numbers = (found.source.rows, found.lake.rows, *(found.counts.get(kind, 0) for kind in kinds))
    return [count(number) for number in (*numbers, verdict.repaired)]


def _differences(verdict: VerifyResult) -> list[str]:
    """Return a line for each of the first differences of a table, and one for the rest."""
    found = verdict.compared
    if found is None:
        return []
    shown = found.listed[:_SHOWN]
    lines = []
    for one in shown:
        key = ", ".join(f"{name}={'NULL' if text is None else text}" for name, text in one.key)
        lines.append(f"{verdict.table}: {one.kind}: {key}")
    if found.wrong > len(shown):
        lines.append(f"{verdict.table}: … and {found.wrong - len(shown):,} more: -o json")
    return lines


def discover_report(streams: Sequence[Stream]) -> Report:
    """Report a source's streams, in the table a line per column."""
    headings = [
        *map(Heading, ("stream", "table", "column", "type", "key", "cursor")),
        Heading("about rows", number=True),
    ]
    rows = [row for stream in streams for row in _column_rows(stream)]
    columns = [column for stream in streams for column in records.of_columns(stream)]
    document = [records.of_stream(stream) for stream in streams]
    return Report(document, records.COLUMN_KEYS, columns, headings, rows)


def _column_rows(stream: Stream) -> Iterator[tuple[str, ...]]:
    """Return a line per column; one for a stream without any, which may be refused."""
    rows = count(stream.estimated_rows) or "?"
    if not stream.columns:
        yield (
            stream.name,
            stream.table,
            "cannot be read" if stream.unreadable_reason else "",
            "",
            "",
            "",
            rows,
        )
    for at, column in enumerate(stream.columns):
        yield (
            "" if at else stream.name,
            "" if at else stream.table,
            column.name,
            column.type if column.nullable else f"{column.type} NOT NULL",
            "key" if column.name in stream.primary_key else "",
            "possible" if column.name in stream.cursor_fields else "",
            "" if at else rows,
        )


def plan_report(planned: Planned) -> Report:
    """Report what a run would do."""
    unplanned = [*planned.failed, *planned.skipped]
    told = [records.of_plan(plan) for plan in planned.plans]
    told += [records.of_unplanned(result) for result in unplanned]
    keys, flat = records.flat(told, records.PLAN_KEYS)
    headings = [
        *map(Heading, ("table", "mode", "reads", "key", "writes")),
        Heading("about rows", number=True),
    ]
    rows = [
        (
            str(plan.table),
            plan.mode,
            _reads(plan),
            ", ".join(plan.primary_key) or None,
            _WRITES[records.writes(plan)],
            count(plan.stream.estimated_rows) or "?",
        )
        for plan in planned.plans
    ]
    failures = [(str(one.table), one.mode, None, None, "fails", None) for one in planned.failed]
    return Report(told, keys, flat, headings, [*rows, *failures])


def run_report(result: RunResult) -> Report:
    """Report what a run did; tables that were skipped stand in its JSON and CSV only."""
    document = records.of_run(result)
    told = [records.of_result(table) for table in result.tables]
    keys, flat = records.flat(told, records.RESULT_KEYS)
    headings = [
        *map(Heading, ("table", "mode", "status")),
        *(Heading(name, number=True) for name in ("read", "inserted", "updated", "deleted")),
        *(Heading(name, number=True) for name in ("in table", "time")),
    ]
    rows = [
        (
            str(table.table),
            table.mode,
            table.status,
            *map(count, (table.rows_read, table.rows_inserted)),
            *map(count, (table.rows_updated, table.rows_deleted, table.rows_in_table)),
            seconds(table.seconds),
        )
        for table in result.tables
        if table.status is not TableStatus.SKIPPED
    ]
    return Report(document, keys, flat, headings, rows)


def status_report(states: Sequence[TableOverview]) -> Report:
    """Report how each table is."""
    now = clock.now()
    told = [records.of_state(state) for state in states]
    keys, flat = records.flat(told, records.STATUS_KEYS)
    headings = [
        *map(Heading, ("table", "mode", "status")),
        Heading("rows", number=True),
        *map(Heading, ("cursor", "last run", "every", "next due")),
    ]
    rows = [
        (
            str(state.table),
            state.mode,
            state.status,
            count(state.rows),
            records.cursor_glance(state.cursor),
            ago(state.last_run_at, now),
            duration(state.every),
            due(state.next_due_at, now),
        )
        for state in states
    ]
    errors = _errors((state.table, state.error) for state in states)
    errors += [f"{state.table}: {notice}" for state in states for notice in state.notices]
    return Report(told, keys, flat, headings, rows, errors)


def history_report(history: Sequence[RunRecord]) -> Report:
    """Report what each run did to each table."""
    told = [records.of_history(record) for record in history]
    keys, flat = records.flat(told, records.HISTORY_KEYS)
    headings = [
        *map(Heading, ("started", "run", "kind", "table", "status")),
        *(Heading(name, number=True) for name in ("read", "inserted", "updated", "deleted")),
        Heading("time", number=True),
    ]
    rows = [
        (
            f"{record.started_at.astimezone():%Y-%m-%d %H:%M:%S}",
            record.run_id,
            record.kind,
            str(record.result.table),
            record.result.status,
            *map(count, (record.result.rows_read, record.result.rows_inserted)),
            *map(count, (record.result.rows_updated, record.result.rows_deleted)),
            seconds(record.result.seconds),
        )
        for record in history
    ]
    errors = _errors(
        (f"{record.run_id} {record.result.table}", record.result.error) for record in history
    )
    errors += [
        f"{record.run_id} {record.result.table}: {notice}"
        for record in history
        for notice in record.result.notices
    ]
    return Report(told, keys, flat, headings, rows, errors)


def cursor_report(entries: Sequence[SavedState]) -> Report:
    """Report the cursors, in JSON as the state file has them."""
    document = state_json(
        {
            (one.source, one.stream): StateFileEntry(
                one.cursor_field, one.cursor, one.run_id, one.committed_at, one.reset
            )
            for one in entries
        }
    )
    now = clock.now()
    rows = [
        (
            str(one.table),
            one.cursor_field,
            "from the start" if one.reset else records.cursor_text(one.cursor),
            one.run_id,
            ago(one.committed_at, now),
        )
        for one in entries
    ]
    headings = [Heading(name) for name in ("table", "cursor field", "cursor", "run", "committed")]
    told = [records.of_cursor(one) for one in entries]
    return Report(document, records.CURSOR_KEYS, told, headings, rows)


def deleted_report(tables: Sequence[TableName]) -> Report:
    """Report the tables that were dropped."""
    told: list[records.Record] = [{"table": str(name)} for name in tables]
    return Report(told, ("table",), told, [Heading("table")], [(str(name),) for name in tables])


def _reads(plan: TablePlan) -> str:
    """Return which rows a run asks for: `updated_at >= … (lookback 10m), and NULLs`."""
    if plan.window is None:
        told = "every row"
    else:
        told = f"{plan.window.cursor_field} >= {plan.window.low.value}"
        span = records.lookback(plan.lookback)
        told += f" (lookback {span}), and NULLs" if span else ", and NULLs"
    return f"{told}, where {redact(plan.where)}" if plan.where else told


def _errors(told: Iterable[tuple[object, Failure | None]]) -> list[str]:
    """Return a line for each that failed: an error has no room in a table."""
    return [f"{name}: {error.message}" for name, error in told if error]
