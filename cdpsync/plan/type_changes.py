"""Columns whose type changed at the source in a way that may have rewritten its old rows.

No cursor tells of such rows. They are loaded again where that loses nothing, else the table stops.
docs/decisions/0024 has the reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.errors import ContractError
from cdpsync.model import Deletes, SyncMode
from cdpsync.model.types import OPEN_DECIMAL, common_type, lake_type
from cdpsync.plan.resume import ResumePoint
from cdpsync.plan.schema_changes import ChangeKind, ColumnChange
from cdpsync.sql import fold_name, quote_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cdpsync.model import Column, TablePlan
    from cdpsync.plan.configured import ConfiguredTable

    KeepsValues = Callable[[str, str, str], bool]


def keeps_any_value(_before: str, _after: str, _lake_type: str) -> bool:
    """Return True: for a connector that does not know what its source does to old rows.

    Only the types in the lake tell then.
    """
    return True


def rewritten_columns(
    plan: TablePlan, changes: Iterable[ColumnChange], keeps_values: KeepsValues
) -> list[ColumnChange]:
    """Return the changes after which an old row in the lake may differ from the source's."""
    saved = plan.saved_state.columns if plan.saved_state else None
    if saved is None or plan.lake_table is None:
        return []
    lake_types = {fold_name(column.name): column.type for column in plan.lake_table.columns}
    columns = {column.name: column for column in plan.columns}
    rewritten = []
    for change in changes:
        type_ = lake_types.get(fold_name(change.column))
        if change.kind is not ChangeKind.RETYPED or type_ is None:
            continue
        column = columns[change.column]
        after = column.source_type or column.type
        keeps = keeps_values(saved[change.column], after, type_)
        if not keeps or not _has_room(plan, column, type_):
            rewritten.append(change)
    return rewritten


def _has_room(plan: TablePlan, column: Column, existing: str) -> bool:
    """Whether the lake's column can stay, or widen, for values of the new type."""
    incoming = lake_type(plan.types.get(column.name, column.type))
    if incoming is None or incoming == OPEN_DECIMAL:
        return True  # the read decides
    return common_type(existing, incoming) is not None


def restart_after(
    table: ConfiguredTable, plan: TablePlan, rewritten: Iterable[ColumnChange]
) -> ResumePoint:
    """Return the start of a load that replaces the table.

    Raises ContractError where the lake may have rows that the source no longer has, because a
    replacement would lose them.
    """
    rewritten = list(rewritten)
    if plan.mode is SyncMode.INCREMENTAL and plan.deletes is Deletes.HARD:
        names = quote_names(change.column for change in rewritten)
        return ResumePoint(reason=f"the new type of {names} may have changed old rows")
    messages = "; ".join(change.message for change in rewritten)
    raise ContractError(
        f'{table.location}: table "{table.name}": {messages}, which may have changed old rows, '
        "and no cursor tells which. Nothing was read. Load the table again: "
        f"cdpsync run {plan.table} --full-refresh (rows that the source no longer has leave the "
        "lake then)."
    )
