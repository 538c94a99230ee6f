"""Results of commands as the JSON that scripts depend on: keys and their order are fixed.

`docs/json.md` documents them; golden files hold them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

from cdpsync.model import Cursor, Failure, TableName
from cdpsync.model.cursors import cursor_digest, cursor_json
from cdpsync.redact import redact
from cdpsync.serialize.text import duration

if TYPE_CHECKING:
    from cdpsync.model import (
        CheckResult,
        InstallResult,
        Lookback,
        RunRecord,
        RunResult,
        SavedState,
        SourceOverview,
        SourceType,
        Stream,
        TableOverview,
        TablePlan,
        TableResult,
    )
    from cdpsync.model.deliveries import DeliveryResult
    from cdpsync.model.verification import DiffKind, SideStats, VerifyResult

Record = dict[str, object]

RESULT_KEYS = (
    "source", "stream", "table", "mode", "status",
    "rows_read", "rows_inserted", "rows_updated", "rows_deleted", "rows_in_table",
    "bytes_written", "cursor_before", "cursor_after", "seconds", "error", "notices",
)  # fmt: skip
HISTORY_KEYS = (*RESULT_KEYS, "run_id", "started_at", "finished_at", "kind")
STATUS_KEYS = (
    "source", "stream", "table", "mode", "enabled", "every", "status",
    "last_run_at", "last_success_at", "next_due_at", "rows", "cursor_field", "cursor", "error",
    "notices", "missing_since", "source_identity",
)  # fmt: skip
DELIVERY_KEYS = (
    "destination", "source", "status", "state", "triggered", "filtered", "masked", "sent",
    "succeeded", "held", "dead", "retried", "requests", "bytes_sent", "p50_ms", "p95_ms",
    "seconds", "error", "notices",
)  # fmt: skip
PLAN_KEYS = (
    "source", "stream", "table", "mode", "status", "primary_key", "cursor_field",
    "cursor_before", "reads_from", "lookback", "where", "writes", "full_refresh",
    "estimated_rows", "error", "source_identity",
)  # fmt: skip
VERIFY_KEYS = (
    "source", "stream", "table", "mode", "status", "rows_source", "rows_lake",
    "missing", "stale", "extra", "gone", "not_synced", "repaired", "share",
    "cursor_field", "cursor_source", "cursor_lake", "differences", "seconds", "error", "notices",
)  # fmt: skip
SOURCE_KEYS = ("name", "type", "address", "error")
SOURCE_TYPE_KEYS = ("type", "about", "docs", "needs", "file")
CHECK_KEYS = ("name", "kind", "ok", "seconds", "error")
INSTALL_KEYS = (
    "source", "program", "version", "licence", "python", "packages", "folder", "is_new", "seconds",
    "error", "notices",
)  # fmt: skip
COLUMN_KEYS = (
    "stream", "table", "column", "type", "nullable", "source_type", "in_primary_key",
    "possible_cursor",
)  # fmt: skip
CURSOR_KEYS = (
    "source", "stream", "table", "cursor_field", "cursor_type", "cursor", "run_id",
    "committed_at", "reset", "source_identity",
)  # fmt: skip


def of_result(result: TableResult) -> Record:
    """Return one table of a run."""
    return _fields(result, RESULT_KEYS)


def of_run(result: RunResult) -> Record:
    """Return a whole run; `destinations` only where it has sent to some."""
    record: Record = {
        "run_id": result.run_id,
        "status": result.status,
        "started_at": moment(result.started_at),
        "finished_at": moment(result.finished_at),
        "tables": [of_result(table) for table in result.tables],
    }
    if result.destinations:
        record["destinations"] = [of_delivery(delivery) for delivery in result.destinations]
    return record


def of_delivery(result: DeliveryResult) -> Record:
    """Return what came of one destination."""
    sent = result.succeeded + result.held + result.dead
    return {
        key: sent if key == "sent" else _json_value(getattr(result, key)) for key in DELIVERY_KEYS
    }


def of_history(record: RunRecord) -> Record:
    """Return one table of a past run."""
    return of_result(record.result) | {
        "run_id": record.run_id,
        "started_at": moment(record.started_at),
        "finished_at": moment(record.finished_at),
        "kind": record.kind,
    }


def of_overview(overview: TableOverview) -> Record:
    """Return one table of `status`."""
    return _fields(overview, STATUS_KEYS)


def of_plan(plan: TablePlan) -> Record:
    """Return what a run would do with a table. `reads_from` null: every row."""
    return {
        "source": plan.source,
        "stream": plan.stream.name,
        "table": str(plan.table),
        "mode": plan.mode,
        "status": "planned",
        "primary_key": list(plan.primary_key),
        "cursor_field": plan.cursor_field,
        "cursor_before": cursor_json(cursor_digest(plan.cursor_before)),
        "reads_from": plan.window and cursor_json(plan.window.low),
        "lookback": lookback(plan.lookback),
        "where": plan.where and redact(plan.where),
        "writes": writes(plan),
        "full_refresh": plan.full_refresh,
        "estimated_rows": plan.stream.estimated_rows,
        "error": None,
        "source_identity": plan.source_identity and plan.source_identity.label,
    }


def of_unplanned(result: TableResult) -> Record:
    """Return a table that a run would fail on, or skip, with the keys of a planned one."""
    keys = ("source", "stream", "table", "mode", "status", "cursor_before", "error")
    no_plan: Record = {"primary_key": [], "full_refresh": False}
    return dict.fromkeys(PLAN_KEYS) | _fields(result, keys) | no_plan


def writes(plan: TablePlan) -> str:
    """Return how the rows reach the table: "create", "replace", "upsert" or "append"."""
    if plan.lake_table is None:
        return "create"
    if plan.replace:
        return "replace"
    return "upsert" if plan.mode == "incremental" else "append"


def of_check(result: CheckResult) -> Record:
    """Return the check of a source, or of the warehouse."""
    return _fields(result, CHECK_KEYS)


def of_install(result: InstallResult) -> Record:
    """Return what was installed for a source."""
    return _fields(result, INSTALL_KEYS)


def of_verify_result(result: VerifyResult) -> Record:
    """Return how a table compares with its source; counts are null where it was not compared."""
    from cdpsync.model.verification import DiffKind  # of `verify` alone

    diff = result.compared
    counts = diff.counts if diff else {}

    def counted(kind: DiffKind) -> int | None:
        return counts.get(kind, 0) if diff else None

    return {
        "source": result.source,
        "stream": result.stream,
        "table": str(result.table),
        "mode": result.mode,
        "status": result.status,
        "rows_source": diff and diff.source.rows,
        "rows_lake": diff and diff.lake.rows,
        "missing": counted(DiffKind.MISSING),
        "stale": counted(DiffKind.STALE),
        "extra": counted(DiffKind.EXTRA),
        "gone": counted(DiffKind.GONE),
        "not_synced": counted(DiffKind.NEWER),
        "repaired": result.repaired,
        "share": result.share,
        "cursor_field": result.cursor_field,
        "cursor_source": _cursor_range(diff.source) if diff and result.cursor_field else None,
        "cursor_lake": _cursor_range(diff.lake) if diff and result.cursor_field else None,
        "differences": [
            {"kind": difference.kind, "key": dict(difference.key)}
            for difference in (diff.listed if diff else ())
        ],
        "seconds": round(result.seconds, 3),
        "error": of_failure(result.error),
        "notices": list(result.notices),
    }


def _cursor_range(side: SideStats) -> Record:
    return {"min": side.lowest, "max": side.highest}


def of_source(source: SourceOverview) -> Record:
    """Return a source of the project file."""
    return _fields(source, SOURCE_KEYS)


def of_source_type(type_: SourceType) -> Record:
    """Return a type that a source can have."""
    return {
        "type": type_.name,
        "about": type_.about,
        "docs": list(type_.docs),
        "needs": list(type_.needs),
        "file": type_.file,
    }


def of_stream(stream: Stream) -> Record:
    """Return a stream with its columns."""
    return {
        "stream": stream.name,
        "table": stream.table,
        "kind": stream.kind,
        "primary_key": list(stream.primary_key),
        "cursor_fields": list(stream.cursor_fields),
        "estimated_rows": stream.estimated_rows,
        "columns": [
            {
                "name": column.name,
                "type": column.type,
                "nullable": column.nullable,
                "source_type": column.source_type,
            }
            for column in stream.columns
        ],
    }


def of_columns(stream: Stream) -> list[Record]:
    """Return a stream's columns, a record each, for CSV."""
    return [
        {
            "stream": stream.name,
            "table": stream.table,
            "column": column.name,
            "type": column.type,
            "nullable": column.nullable,
            "source_type": column.source_type,
            "in_primary_key": column.name in stream.primary_key,
            "possible_cursor": column.name in stream.cursor_fields,
        }
        for column in stream.columns
    ]


def of_saved_state(entry: SavedState) -> Record:
    """Return the saved state of a table, flat."""
    return {
        "source": entry.source,
        "stream": entry.stream,
        "table": str(entry.table),
        "cursor_field": entry.cursor_field,
        "cursor_type": entry.cursor and entry.cursor.type,
        "cursor": cursor_json(entry.cursor),
        "run_id": entry.run_id,
        "committed_at": moment(entry.committed_at),
        "reset": entry.reset,
        "source_identity": entry.source_identity and entry.source_identity.label,
    }


def of_failure(failure: Failure | None) -> Record | None:
    """Return an error."""
    return None if failure is None else {"type": failure.type, "message": failure.message}


def cursor_text(cursor: Cursor | None) -> str | None:
    """Return a cursor as a table shows it, every digit of it."""
    return None if cursor is None else str(cursor.value)


def cursor_glance(cursor: Cursor | None) -> str | None:
    """Return a cursor for a glance: a time without its fraction and, being UTC, its offset.

    A state is a digest.
    """
    cursor = cursor_digest(cursor)
    if cursor is None or not isinstance(cursor.value, datetime):
        return cursor_text(cursor)
    return f"{cursor.value:%Y-%m-%d %H:%M:%S}"


def moment(at: datetime | None) -> str | None:
    """Return a moment as ISO 8601 text in UTC."""
    return None if at is None else at.astimezone(UTC).isoformat()


def lookback(span: Lookback | None) -> str | None:
    """Return a lookback as the YAML writes it."""
    if span is None:
        return None
    return duration(span) if isinstance(span, timedelta) else f"{span:f}"


def flat(records: list[Record], keys: tuple[str, ...]) -> tuple[tuple[str, ...], list[Record]]:
    """Return keys and records for CSV: `error` becomes two columns, `notices` one text."""
    if "error" not in keys:
        return keys, records
    flat_records = []
    for record in records:
        error = record["error"]
        failure = error if isinstance(error, Mapping) else {}
        columns = {"error_type": failure.get("type"), "error_message": failure.get("message")}
        if "notices" in record:
            columns["notices"] = "; ".join(cast("list[str]", record["notices"])) or None
        flat_records.append(record | columns)
    at = keys.index("error")
    return (*keys[:at], "error_type", "error_message", *keys[at + 1 :]), flat_records


def _fields(result: object, keys: tuple[str, ...]) -> Record:
    """Return these fields of a result, whose names are the keys."""
    return {key: _json_value(getattr(result, key)) for key in keys}


def _json_value(value: object) -> object:
    """Return a field's value as `json.dumps` takes it."""
    if isinstance(value, Cursor):
        return cursor_json(cursor_digest(value))
    if isinstance(value, Failure):
        return of_failure(value)
    if isinstance(value, TableName):
        return str(value)
    if isinstance(value, timedelta):
        return duration(value)
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, float):
        return round(value, 3)
    return list(value) if isinstance(value, tuple) else value
