"""The columns of a source's rows, in the types that the lake stores."""

from __future__ import annotations

from cdpsync.errors import ContractError
from cdpsync.model import DELETED_AT, DELETED_AT_COLUMN, Column, Deletes, TablePlan
from cdpsync.model.types import common_type, lake_type
from cdpsync.sql import fold_name, quote_name, quote_names, quote_text

# DuckDB reads such times from Parquet and Arrow, but not from their own text (measured with 1.5.5).
# DuckLake keeps the lowest value of a column as text, so that no query could read the table.
_UNREADABLE = {
    "DATE": "{0} < date '-infinity'",
    "TIMESTAMP": ("{0} < timestamp '290309-12-22 (BC) 00:00:00' and {0} <> timestamp '-infinity'"),
    "TIMESTAMP WITH TIME ZONE": (
        "{0} < timestamptz '290309-12-22 (BC) 00:00:00+00' and {0} <> timestamptz '-infinity'"
    ),
    "TIMESTAMP_NS": (
        "{0} < timestamp_ns '1677-09-22 00:00:00' and {0} <> timestamp_ns '-infinity'"
    ),
}


def incoming_expression(source_type: str | None, column: Column) -> str:
    """Return a column as an expression of the lake's type; NULL where the source lacks it.

    A time that the lake could not be queried with is an error in DuckDB, which names the column.
    """
    name = quote_name(column.name)
    if source_type is None:
        return f"cast(null as {column.type}) as {name}"
    value = name if source_type == column.type else f"cast({name} as {column.type})"
    unreadable = _UNREADABLE.get(source_type)
    if unreadable is None:
        return value if value == name else f"{value} as {name}"
    message = (
        f'column "{column.name}" has a value before the first {source_type.lower()} that the lake '
        "can be queried with. Correct it at the source, or leave it out with where: or "
        f"columns: {{exclude: [{column.name}]}}"
    )
    guarded = f"case when {unreadable.format(name)} then error({quote_text(message)}) else {value}"
    return f"{guarded} end as {name}"


def requested_columns(plan: TablePlan) -> tuple[Column, ...]:
    """Return the columns that a read asks its source for.

    With `deletes: soft`, `_deleted_at` is the lake's own.
    """
    is_soft = plan.deletes is Deletes.SOFT
    return tuple(column for column in plan.columns if not is_soft or column.name != DELETED_AT)


def reads_deletes(plan: TablePlan) -> bool:
    """Whether a read asks for deleted rows too, which the source reports in `_deleted_at`."""
    changes = plan.stream.changes
    includes_deletes = changes is not None and changes.includes_deletes
    goes_on = plan.window is not None or (plan.follows_state and plan.cursor_before is not None)
    return includes_deletes and plan.deletes is not Deletes.IGNORE and goes_on


def require_requested(plan: TablePlan, source_columns: list[Column], relation: str) -> None:
    """Raise ContractError where a chunk lacks a requested column, or has one beside them.

    `relation` names the method that returned the chunk's rows. A stream with an open schema may
    lack any column but the key and the cursor, and may have others.
    """
    names = [column.name for column in source_columns]
    requested = [column.name for column in requested_columns(plan)]
    needed = {*plan.primary_key, plan.cursor_field} if plan.stream.open_schema else set(requested)
    missing = [name for name in requested if name in needed and name not in names]
    allowed = {*requested, DELETED_AT} if reads_deletes(plan) else set(requested)
    extra = [name for name in names if name not in allowed and not plan.stream.open_schema]
    if not missing and not extra:
        return
    lacks = [f"lacks {quote_names(missing)}, which the read asks for"] if missing else []
    has = [f"has {quote_names(extra)}, which the read does not ask for"] if extra else []
    raise ContractError(
        f"{plan.table}: what {relation} returns {' and '.join(lacks + has)}. Nothing was "
        "committed. A connector must return exactly the columns of request.columns."
    )


def incoming_columns(plan: TablePlan, source_columns: list[Column]) -> tuple[Column, ...]:
    """Return the columns of the Parquet files, given those that the source returns.

    A type that the lake cannot store becomes one that holds it exactly. Where rows are added to a
    table, its types stay: narrower values are widened. Where its type does not hold the source's,
    the commit widens the lake's column. Raises ContractError where that could change a value.
    """
    lake_columns = plan.lake_table.columns if plan.lake_table else ()
    existing = {fold_name(column.name): column for column in lake_columns}
    columns = []
    for column in source_columns:
        type_ = lake_type(column.type)
        if type_ is None:
            raise ContractError(
                f'{plan.table}: column "{column.name}" has type {column.type}, which the lake '
                f"cannot hold exactly. Set columns: {{types: {{{column.name}: varchar}}}}, or "
                "exclude it."
            )
        lake_column = existing.get(fold_name(column.name))
        becomes_json = plan.stream.open_schema and type_ == "JSON"
        is_measured = plan.lake_digits is not None and plan.is_guessed(column.name)
        converts = becomes_json or is_measured  # the lake's column converts too
        if lake_column is not None and not plan.replace and not converts:
            type_ = _shared_type(plan, column.name, lake_column.type, type_)
        columns.append(Column(column.name, type_, nullable=not _is_required(plan, column.name)))
    if plan.deletes is Deletes.SOFT and all(column.name != DELETED_AT for column in columns):
        columns.append(DELETED_AT_COLUMN)
    return tuple(columns)


def _is_required(plan: TablePlan, name: str) -> bool:
    """Whether a column is part of the key and never NULL at the source."""
    if name not in plan.primary_key:
        return False
    return any(column.name == name and not column.nullable for column in plan.columns)


def _shared_type(plan: TablePlan, name: str, existing: str, incoming: str) -> str:
    """Return the type that holds both the lake's values and the incoming ones exactly."""
    shared = common_type(existing, incoming)
    if shared is not None:
        return shared
    is_needed = name in plan.primary_key or name == plan.cursor_field
    leave_out = "" if is_needed else f"; or leave it out: columns: {{exclude: [{name}]}}"
    raise ContractError(
        f'{plan.table}: column "{name}" is {existing} in the lake and arrives as {incoming}, '
        "which the old rows cannot become without a change to their values. Load the table again: "
        f"cdpsync run {plan.table} --full-refresh{leave_out}."
    )
