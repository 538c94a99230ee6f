"""What a person should know of a planned read: sentences for `plan` and for the run's record."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from cdpsync.model import SyncMode
from cdpsync.plan.resume import row_format_notice, settings_changed
from cdpsync.plan.schema_changes import ChangeKind, ColumnChange
from cdpsync.sql import fold_name, quote_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cdpsync.model import Lookback, TablePlan
    from cdpsync.plan.configured import ConfiguredTable


def notices_of(
    table: ConfiguredTable, plan: TablePlan, restart_reason: str, changes: Iterable[ColumnChange]
) -> tuple[str, ...]:
    """Return what a person should know of a planned read, each fact once."""
    notices = list(plan.stream.notices)
    if restart_reason and plan.lake_table:
        verb = "loaded" if plan.replace else "read"
        notices.append(f"{verb} from the start: {restart_reason}")
    if _is_unsafe(table, plan):
        notices.append(
            f"rows that are committed late are found within {_described(plan.lookback)} below the "
            f"cursor, because {plan.stream.unsafe_cursor_reason}"
        )
    refresh = f"cdpsync run {plan.table} --full-refresh"
    if plan.lake_table and plan.lake_table.unsafe_columns and not plan.replace:
        names = quote_names(sorted(plan.lake_table.unsafe_columns))
        notices.append(
            f"an earlier version of cdpsync changed the type of {names} in place, and old rows may "
            f"be wrong or unreadable: load them again with {refresh}"
        )
    columns_to_add = _columns_to_add(plan)
    notices += [
        f'column "{name}" is new: it is NULL in rows that are not read again, until {refresh}'
        for name in columns_to_add
    ]
    if not plan.replace and settings_changed(plan.saved_state, plan.settings):
        notices.append(f"where has changed: older rows that match it now are loaded by {refresh}")
    if not plan.replace:
        notices += row_format_notice(plan.settings, plan.stream.row_format, refresh)
    notices += [
        _change_notice(plan, change, refresh)
        for change in changes
        if change.kind is not ChangeKind.ADDED or change.column not in columns_to_add
    ]
    return tuple(dict.fromkeys(notices))


def key_notice(plan: TablePlan) -> str:
    """Return the notice of a table whose source declares no primary key any more."""
    key = ", ".join(plan.primary_key)
    return (
        f"the source declares no primary key any more, so the lake's ({key}) is used. If it is "
        f'still unique, add "primary_key: [{key}]"'
    )


def _change_notice(plan: TablePlan, change: ColumnChange, refresh: str) -> str:
    reads_all = plan.window is None and plan.mode is SyncMode.INCREMENTAL
    if plan.replace or reads_all or change.kind is not ChangeKind.RETYPED:
        return change.message
    return f"{change.message}: rows that are not read again stay as they are, until {refresh}"


def _is_unsafe(table: ConfiguredTable, plan: TablePlan) -> bool:
    """Whether to say that late rows may be missed, because nobody has chosen the lookback.

    A default for numbers is a guess about each table, so every run says it. That for times is said
    when a table is read from its start.
    """
    if not plan.stream.unsafe_cursor_reason or table.options.lookback is not None:
        return False
    is_number = isinstance(plan.lookback, Decimal)
    return is_number or (plan.lookback is not None and plan.window is None)


def _described(lookback: Lookback | None) -> str:
    """Return a default lookback in words."""
    if isinstance(lookback, timedelta):
        return f"{lookback // timedelta(minutes=1)} minutes"
    return f"{lookback:,} numbers"


def _columns_to_add(plan: TablePlan) -> list[str]:
    """Return the columns that the lake's table, where it is not replaced, does not have yet."""
    if plan.replace or plan.lake_table is None or plan.stream.open_schema:
        return []
    existing = {fold_name(column.name) for column in plan.lake_table.columns}
    return [column.name for column in plan.columns if fold_name(column.name) not in existing]
