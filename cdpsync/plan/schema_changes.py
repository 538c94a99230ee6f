"""Changes of a stream's columns since the last run, and the policy that accepts or stops them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from cdpsync.errors import ContractError
from cdpsync.model import SchemaChanges

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cdpsync.model import Column
    from cdpsync.plan.configured import ConfiguredTable


class ChangeKind(Enum):
    """The kinds of changes of a column."""

    ADDED = auto()
    REMOVED = auto()
    RETYPED = auto()


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """One column that changed at the source; `message` says how, for a person."""

    column: str
    kind: ChangeKind
    message: str


def column_types(columns: Sequence[Column]) -> dict[str, str]:
    """Return the types of columns at the source, by name: the form in which they are saved."""
    return {column.name: column.source_type or column.type for column in columns}


def diff_columns(
    before: Mapping[str, str] | None, after: Mapping[str, str]
) -> tuple[ColumnChange, ...]:
    """Return the columns that were added, removed or got another type; their order is ignored."""
    if before is None:
        return ()
    removed = [
        ColumnChange(
            name,
            ChangeKind.REMOVED,
            f'column "{name}" is gone at the source' + _rename_hint(name, before, after),
        )
        for name in before
        if name not in after
    ]
    added = [
        ColumnChange(
            name, ChangeKind.ADDED, f'column "{name}" is new at the source ({after[name]})'
        )
        for name in after
        if name not in before
    ]
    retyped = [
        ColumnChange(
            name,
            ChangeKind.RETYPED,
            f'column "{name}" was {before[name]} and is {after[name]} at the source',
        )
        for name in after
        if name in before and before[name] != after[name]
    ]
    return (*removed, *added, *retyped)


def _rename_hint(name: str, before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return the probable new name, where one column went and one of the same type came."""
    type_ = before[name]
    removed = [column for column in before if column not in after and before[column] == type_]
    added = [column for column in after if column not in before and after[column] == type_]
    return f' (perhaps it is "{added[0]}" now)' if len(added) == len(removed) == 1 else ""


def enforce_schema_policy(
    table: ConfiguredTable, changes: Sequence[ColumnChange], *, accepted: bool
) -> None:
    """Raise ContractError for changes that the table's `schema_changes` does not accept."""
    policy = table.options.schema_changes or SchemaChanges.EVOLVE
    if not changes or policy is SchemaChanges.EVOLVE or accepted:
        return
    advice = (
        f"Accept the changes: cdpsync run {table.table} --accept-changes"
        if policy is SchemaChanges.ASK
        else "Accept changes with schema_changes: evolve"
    )
    raise ContractError(
        f'{table.location}: table "{table.name}": {"; ".join(change.message for change in changes)}'
        f". Its schema_changes: {policy} stops at any change, and nothing was read. {advice}; or "
        "exclude columns: columns: {exclude: …}."
    )
