"""What arrives from a source, as the lake writes it down: which columns, of which types."""

from __future__ import annotations

from cdpsync.errors import ContractError
from cdpsync.model import DELETED_AT, DELETED_AT_COLUMN, Column, Deletes, TableName, TablePlan
from cdpsync.model.types import lake_type, widens


def incoming_columns(plan: TablePlan, arrived: list[Column]) -> tuple[Column, ...]:
    """Return the columns under which arriving rows are written down.

    A type the lake cannot hold becomes the one that holds it exactly. A table that is added to
    keeps its types: narrower values are widened into them, and where they grew, the table
    will. Raises ContractError where neither is exact.
    """
    held = (
        {column.name.lower(): column for column in plan.lake_table.columns}
        if plan.lake_table
        else {}
    )
    keys = set(plan.primary_key)
    columns = []
    for column in arrived:
        type_ = lake_type(column.type)
        if type_ is None:
            raise ContractError(
                f'{plan.table}: column "{column.name}" has type {column.type}, which the lake '
                f"cannot hold exactly. Set columns: {{types: {{{column.name}: varchar}}}}, or "
                "exclude it."
            )
        old = held.get(column.name.lower())
        converts = (
            plan.stream.open_schema and type_ == "JSON"
        )  # then the lake's column turns into JSON
        if old is not None and not plan.replace and not converts:
            type_ = _joined(plan.table, column.name, old.type, type_)
        planned = next((one for one in plan.columns if one.name == column.name), None)
        required = column.name in keys and planned is not None and not planned.nullable
        columns.append(Column(column.name, type_, nullable=not required))
    marks = plan.deletes is Deletes.SOFT and all(one.name != DELETED_AT for one in columns)
    return (*columns, DELETED_AT_COLUMN) if marks else tuple(columns)


def _joined(table: TableName, name: str, held: str, arriving: str) -> str:
    if widens(arriving, held):
        return held
    if widens(held, arriving):
        return arriving
    raise ContractError(
        f'{table}: column "{name}" is {held} in the lake and arrives as {arriving}; neither holds '
        f"the other exactly. Reload the table: cdpsync run {table} --full-refresh; or fix the "
        f"type: columns: {{types: {{{name}: {held.lower()}}}}}."
    )
