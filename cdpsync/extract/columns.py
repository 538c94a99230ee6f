"""The columns of a source's rows, in the types that the lake stores."""

from __future__ import annotations

from cdpsync.errors import ContractError
from cdpsync.model import DELETED_AT, DELETED_AT_COLUMN, Column, Deletes, TableName, TablePlan
from cdpsync.model.types import lake_type, widens


def incoming_columns(plan: TablePlan, source_columns: list[Column]) -> tuple[Column, ...]:
    """Return the columns of the Parquet files, given those that the source returns.

    A type that the lake cannot store becomes one that holds it exactly. Where rows are added to a
    table, its types stay: narrower values are widened. Where the source's type is the wider one,
    the commit widens the lake's column. Raises ContractError where neither type holds the
    other exactly.
    """
    lake_columns = plan.lake_table.columns if plan.lake_table else ()
    existing = {column.name.lower(): column for column in lake_columns}
    columns = []
    for column in source_columns:
        type_ = lake_type(column.type)
        if type_ is None:
            raise ContractError(
                f'{plan.table}: column "{column.name}" has type {column.type}, which the lake '
                f"cannot hold exactly. Set columns: {{types: {{{column.name}: varchar}}}}, or "
                "exclude it."
            )
        lake_column = existing.get(column.name.lower())
        becomes_json = plan.stream.open_schema and type_ == "JSON"  # the lake's column converts too
        if lake_column is not None and not plan.replace and not becomes_json:
            type_ = _wider_type(plan.table, column.name, lake_column.type, type_)
        columns.append(Column(column.name, type_, nullable=not _is_required(plan, column.name)))
    if plan.deletes is Deletes.SOFT and all(column.name != DELETED_AT for column in columns):
        columns.append(DELETED_AT_COLUMN)
    return tuple(columns)


def _is_required(plan: TablePlan, name: str) -> bool:
    """Whether a column is part of the key and never NULL at the source."""
    if name not in plan.primary_key:
        return False
    return any(column.name == name and not column.nullable for column in plan.columns)


def _wider_type(table: TableName, name: str, existing: str, incoming: str) -> str:
    """Return the one of two types that holds the other exactly."""
    if widens(incoming, existing):
        return existing
    if widens(existing, incoming):
        return incoming
    raise ContractError(
        f'{table}: column "{name}" is {existing} in the lake and arrives as {incoming}; neither '
        f"holds the other exactly. Reload the table: cdpsync run {table} --full-refresh; or fix "
        f"the type: columns: {{types: {{{name}: {existing.lower()}}}}}."
    )
