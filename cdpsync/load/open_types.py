"""Digits of the lake's numbers in columns whose type only their rows give."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.catalog import sql_name
from cdpsync.model.types import MAX_PRECISION, is_number
from cdpsync.sql import fold_name, quote_name

if TYPE_CHECKING:
    import duckdb

    from cdpsync.model import TablePlan

_TOO_MANY = (MAX_PRECISION + 1, 0)


def with_lake_digits(con: duckdb.DuckDBPyConnection, plan: TablePlan) -> TablePlan:
    """Return the plan with the most digits that the lake's values have in each guessed column.

    A column of text has more than any decimal, so that it stays text. `con` has the lake attached.
    It reads the columns of numbers of the whole table, which happens only after a value did not fit
    one of them.
    """
    lake_columns = (
        {}
        if plan.lake_table is None
        else {fold_name(column.name): column for column in plan.lake_table.columns}
    )
    guessed_types = {
        column.name: lake_columns[fold_name(column.name)].type
        for column in plan.columns
        if plan.is_guessed(column.name) and fold_name(column.name) in lake_columns
    }
    names = [name for name, type_ in guessed_types.items() if is_number(type_)]
    of_text = {name: _TOO_MANY for name, type_ in guessed_types.items() if type_ == "VARCHAR"}
    if not names:
        return replace(plan, lake_digits=of_text)
    figures = []
    for name in names:
        text = f"cast({quote_name(name)} as varchar)"
        figures.append(f"max(length(ltrim(split_part({text}, '.', 1), '-0')))")
        figures.append(f"max(length(rtrim(split_part({text}, '.', 2), '0')))")
    row = con.execute(f"select {', '.join(figures)} from {sql_name(plan.table)}").fetchone() or ()
    return replace(
        plan,
        lake_digits=of_text
        | {
            name: (whole, scale)
            for name, whole, scale in zip(names, row[0::2], row[1::2], strict=True)
            if whole is not None
        },
    )
