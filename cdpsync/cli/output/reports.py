"""Reports of the commands: the JSON, the CSV and the table of each result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.cli.output.report import Heading, Report
from cdpsync.model import TableStatus
from cdpsync.redact import redact
from cdpsync.serialize import results as serialize
from cdpsync.serialize.text import ago, count, due, duration, missing_since, seconds, with_table
from cdpsync.state import entry_of, state_json
from cdpsync.system import clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cdpsync.model import (
        CheckResult,
        Failure,
        InstallResult,
        MaintenanceStep,
        Planned,
        RunRecord,
        RunResult,
        SavedState,
        SourceOverview,
        SourceType,
        Stream,
        TableName,
        TableOverview,
        TablePlan,
        TableResult,
    )
    from cdpsync.model.deliveries import DestinationOverview
    from cdpsync.model.verification import VerifyResult

_MOST_DIFFERENCES = 10  # lines of one table

_ROW_COUNTS = {
    "rows_read": "read",
    "rows_inserted": "inserted",
    "rows_updated": "updated",
    "rows_deleted": "deleted",
}  # fields of a TableResult, and their headings

_WRITES = {
    "create": "creates the table",
    "replace": "replaces the table",
    "upsert": "upserts by key",
    "append": "appends new rows",
}


def check_report(results: Sequence[CheckResult]) -> Report:
    """Report which sources can be reached, and whether the warehouse can."""
    records = [serialize.of_check(result) for result in results]
    keys, csv_records = serialize.flat(records, serialize.CHECK_KEYS)
    headings = [Heading("name"), Heading("kind"), Heading("result"), Heading("time", number=True)]
    rows = [
        (result.name, result.kind, "ok" if result.ok else "failed", seconds(result.seconds))
        for result in results
    ]
    return Report(records, keys, csv_records, headings, rows)


def install_report(results: Sequence[InstallResult]) -> Report:
    """Report what was installed for each source, and under which licence it is."""
    records = [serialize.of_install(result) for result in results]
    keys, csv_records = serialize.flat(records, serialize.INSTALL_KEYS)
    names = ("source", "package", "version", "licence", "Python", "result")
    headings = [*map(Heading, names), Heading("time", number=True)]
    rows = [
        (
            result.source,
            result.program,
            result.version,
            result.licence,
            result.python,
            "failed" if result.error else "installed" if result.is_new else "is there",
            seconds(result.seconds),
        )
        for result in results
    ]
    return Report(records, keys, csv_records, headings, rows)


def sources_report(sources: Sequence[SourceOverview]) -> Report:
    """Report the sources of the project file."""
    records = [serialize.of_source(source) for source in sources]
    keys, csv_records = serialize.flat(records, serialize.SOURCE_KEYS)
    headings = [Heading(name) for name in ("name", "type", "address")]
    rows = [(source.name, source.type, source.address) for source in sources]
    notes = _error_lines((source.name, source.error) for source in sources)
    return Report(records, keys, csv_records, headings, rows, notes)


def source_types_report(types: Sequence[SourceType]) -> Report:
    """Report the types that a source can have."""
    records = [serialize.of_source_type(type_) for type_ in types]
    csv_records = [
        record | {"docs": ", ".join(type_.docs), "needs": ", ".join(type_.needs)}
        for record, type_ in zip(records, types, strict=True)
    ]
    headings = [Heading(name) for name in ("type", "about", "needs")]
    rows = [(type_.name, type_.about, ", ".join(type_.needs)) for type_ in types]
    return Report(records, serialize.SOURCE_TYPE_KEYS, csv_records, headings, rows)


def maintain_report(steps: Sequence[MaintenanceStep]) -> Report:
    """Report what maintenance did, or would do."""
    records: list[serialize.Record] = [
        {
            "step": step.step,
            "table": step.table,
            "count": step.count,
            "error": serialize.of_failure(step.error),
        }
        for step in steps
    ]
    headings = [Heading("step"), Heading("table"), Heading("count", number=True)]
    rows = [(step.step, step.table, count(step.count)) for step in steps]
    return Report(records, ("step", "table", "count"), records, headings, rows)


def verify_report(results: Sequence[VerifyResult]) -> Report:
    """Report how tables compare with their sources; the keys that differ stand below."""
    records = [serialize.of_verify_result(result) for result in results]
    keys, csv_records = serialize.flat(records, serialize.VERIFY_KEYS)
    numbers = ("source", "lake", "missing", "stale", "extra", "kept", "not synced", "repaired")
    headings = [
        Heading("table"),
        Heading("status"),
        *(Heading(name, number=True) for name in (*numbers, "time")),
    ]
    rows = [
        (str(result.table), result.status, *_verify_counts(result), seconds(result.seconds))
        for result in results
    ]
    notes = [line for result in results for line in _differences(result)]
    return Report(records, keys, csv_records, headings, rows, notes)


def _verify_counts(result: VerifyResult) -> list[str | None]:
    from cdpsync.model.verification import DiffKind  # of `verify` alone

    diff = result.compared
    if diff is None:
        return [None] * 8
    kinds = (DiffKind.MISSING, DiffKind.STALE, DiffKind.EXTRA, DiffKind.GONE, DiffKind.NEWER)
    numbers = (diff.source.rows, diff.lake.rows, *(diff.counts.get(kind, 0) for kind in kinds))
    return [count(number) for number in (*numbers, result.repaired)]


def _differences(result: VerifyResult) -> list[str]:
    """Return a line for each of the first differences of a table, and one for the others."""
    diff = result.compared
    if diff is None:
        return []
    listed = diff.listed[:_MOST_DIFFERENCES]
    lines = []
    for difference in listed:
        key = ", ".join(
            f"{name}={'NULL' if text is None else text}" for name, text in difference.key
        )
        lines.append(f"{result.table}: {difference.kind}: {key}")
    if diff.wrong > len(listed):
        lines.append(f"{result.table}: … and {diff.wrong - len(listed):,} more: -o json")
    return lines


def discover_report(streams: Sequence[Stream]) -> Report:
    """Report a source's streams, in the table a line per column."""
    headings = [
        *map(Heading, ("stream", "table", "column", "type", "key", "cursor")),
        Heading("about rows", number=True),
    ]
    rows = [row for stream in streams for row in _column_rows(stream)]
    columns = [column for stream in streams for column in serialize.of_columns(stream)]
    document = [serialize.of_stream(stream) for stream in streams]
    return Report(document, serialize.COLUMN_KEYS, columns, headings, rows)


def _column_rows(stream: Stream) -> Iterator[tuple[str, ...]]:
    """Go through a line per column; one line for a stream without columns."""
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
    records = [serialize.of_plan(plan) for plan in planned.plans]
    records += [serialize.of_unplanned(result) for result in unplanned]
    keys, csv_records = serialize.flat(records, serialize.PLAN_KEYS)
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
            "replaces what differs" if plan.compares_rows else _WRITES[serialize.writes(plan)],
            count(plan.stream.estimated_rows) or "?",
        )
        for plan in planned.plans
    ]
    failures = [
        (str(result.table), result.mode, None, None, "fails", None) for result in planned.failed
    ]
    return Report(records, keys, csv_records, headings, [*rows, *failures])


def run_report(run: RunResult) -> Report:
    """Report what a run did; tables that were skipped stand in its JSON and CSV only."""
    records = [serialize.of_result(result) for result in run.tables]
    keys, csv_records = serialize.flat(records, serialize.RESULT_KEYS)
    headings = [
        *map(Heading, ("table", "mode", "status")),
        *_row_count_headings(),
        *(Heading(name, number=True) for name in ("in table", "time")),
    ]
    rows = [
        (
            str(result.table),
            result.mode,
            result.status,
            *_row_counts(result),
            count(result.rows_in_table),
            seconds(result.seconds),
        )
        for result in run.tables
        if result.status is not TableStatus.SKIPPED
    ]
    return Report(serialize.of_run(run), keys, csv_records, headings, rows)


def status_report(
    overviews: Sequence[TableOverview], destinations: Sequence[DestinationOverview] = ()
) -> Report:
    """Report the state of each table, and of each destination below them."""
    now = clock.now()
    records = [serialize.of_overview(overview) for overview in overviews]
    keys, csv_records = serialize.flat(records, serialize.STATUS_KEYS)
    headings = [
        *map(Heading, ("table", "mode", "status")),
        Heading("rows", number=True),
        *map(Heading, ("cursor", "last run", "every", "next due")),
    ]
    rows = [
        (
            str(overview.table),
            overview.mode,
            "missing" if _is_quietly_missing(overview) else overview.status,
            count(overview.rows),
            serialize.cursor_glance(overview.cursor),
            ago(overview.last_run_at, now),
            duration(overview.every),
            due(overview.next_due_at, now),
        )
        for overview in overviews
    ]
    notes = _error_lines((overview.table, overview.error) for overview in overviews)
    notes += [
        f"{overview.table}: {missing_since(overview.missing_since)}. To forget it: cdpsync delete "
        f"{overview.table}"
        for overview in overviews
        if overview.missing_since and _is_quietly_missing(overview)
    ]
    notes += [
        f"{overview.table}: {notice}" for overview in overviews for notice in overview.notices
    ]
    report = Report(records, keys, csv_records, headings, rows, notes)
    if not destinations:
        return report
    from cdpsync.cli.output.delivery_reports import with_destinations

    return with_destinations(report, records, destinations)


def _is_quietly_missing(overview: TableOverview) -> bool:
    """Whether a table is missing at its source and its last run, from before that, was well."""
    return overview.missing_since is not None and overview.status == "ok"


def history_report(history: Sequence[RunRecord]) -> Report:
    """Report what each run did to each table."""
    records = [serialize.of_history(record) for record in history]
    keys, csv_records = serialize.flat(records, serialize.HISTORY_KEYS)
    headings = [
        *map(Heading, ("started", "run", "kind", "table", "status")),
        *_row_count_headings(),
        Heading("time", number=True),
    ]
    rows = [
        (
            f"{record.started_at.astimezone():%Y-%m-%d %H:%M:%S}",
            record.run_id,
            record.kind,
            str(record.result.table),
            record.result.status,
            *_row_counts(record.result),
            seconds(record.result.seconds),
        )
        for record in history
    ]
    notes = [
        f"{record.run_id} {line}"
        for record in history
        for line in _error_lines([(record.result.table, record.result.error)])
    ]
    notes += [
        f"{record.run_id} {record.result.table}: {notice}"
        for record in history
        for notice in record.result.notices
    ]
    return Report(records, keys, csv_records, headings, rows, notes)


def cursor_report(entries: Sequence[SavedState]) -> Report:
    """Report the cursors, in JSON as the state file has them."""
    document = state_json(
        {(saved_state.source, saved_state.stream): entry_of(saved_state) for saved_state in entries}
    )
    now = clock.now()
    rows = [
        (
            str(entry.table),
            entry.cursor_field,
            "from the start" if entry.reset else serialize.cursor_text(entry.cursor),
            entry.run_id,
            ago(entry.committed_at, now),
        )
        for entry in entries
    ]
    headings = [Heading(name) for name in ("table", "cursor field", "cursor", "run", "committed")]
    records = [serialize.of_saved_state(entry) for entry in entries]
    return Report(document, serialize.CURSOR_KEYS, records, headings, rows)


def deleted_report(tables: Sequence[TableName]) -> Report:
    """Report the tables that were dropped."""
    records: list[serialize.Record] = [{"table": str(table)} for table in tables]
    rows = [(str(table),) for table in tables]
    return Report(records, ("table",), records, [Heading("table")], rows)


def _row_count_headings() -> list[Heading]:
    return [Heading(name, number=True) for name in _ROW_COUNTS.values()]


def _row_counts(result: TableResult) -> list[str | None]:
    return [count(getattr(result, field)) for field in _ROW_COUNTS]


def _reads(plan: TablePlan) -> str:
    """Return which rows a run asks for: `updated_at >= … (lookback 10m), and NULLs`."""
    if plan.follows_state and plan.cursor_before is not None:
        rows = "what changed since its state"
    elif plan.window is None:
        rows = "every row"
    else:
        rows = f"{plan.window.cursor_field} >= {plan.window.low.value}"
        span = serialize.lookback(plan.lookback)
        rows += f" (lookback {span}), and NULLs" if span else ", and NULLs"
    return f"{rows}, where {redact(plan.where)}" if plan.where else rows


def _error_lines(failures: Iterable[tuple[object, Failure | None]]) -> list[str]:
    """Return a line for each failure, because an error has no room in a table."""
    return [with_table(table, failure.message) for table, failure in failures if failure]
