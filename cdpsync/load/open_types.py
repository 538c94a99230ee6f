"""Digits of the lake's numbers in columns whose type only their rows give."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.catalog import sql_name
from cdpsync.model.types import is_number
from cdpsync.sql import fold_name, quote_name

if TYPE_CHECKING:
    import duckdb

    from cdpsync.model import TablePlan


def with_lake_digits(con: duckdb.DuckDBPyConnection, plan: TablePlan) -> TablePlan:
    """Return the plan with the most digits that the lake's values have in each guessed column.

    `con` has the lake attached. It reads these columns of the whole table, which happens only
    after a value did not fit one of them.
    """
    lake_columns = (
        {}
        if plan.lake_table is None
        else {fold_name(column.name): column for column in plan.lake_table.columns}
    )
    names = [
        column.name
        for column in plan.columns
        if plan.is_guessed(column.name)
        and (existing := lake_columns.get(fold_name(column.name))) is not None
        and is_number(existing.type)
    ]
    if not names:
        return replace(plan, lake_digits={})
    figures = []
    for name in names:
        text = f"cast({quote_name(name)} as varchar)"
        figures.append(f"max(length(ltrim(split_part({text}, '.', 1), '-0')))")
        figures.append(f"max(length(rtrim(split_part({text}, '.', 2), '0')))")
    row = con.execute(f"select {', '.join(figures)} from {sql_name(plan.table)}").fetchone() or ()
    return replace(
        plan,
        lake_digits={
            name: (whole, scale)
            for name, whole, scale in zip(names, row[0::2], row[1::2], strict=True)
            if whole is not None
        },
    )
