"""What a stream's columns were at the last run and are now. Pure: no I/O, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.errors import ContractError
from cdpsync.model import SchemaChanges

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cdpsync.model import Column
    from cdpsync.plan.configured import ConfiguredTable


def column_types(columns: Sequence[Column]) -> dict[str, str]:
    """Return what is remembered of columns: their names and types at the source."""
    return {column.name: column.source_type or column.type for column in columns}


def diff_columns(before: Mapping[str, str] | None, now: Mapping[str, str]) -> list[str]:
    """Say what is new, gone or of another type; the order of columns means nothing."""
    if before is None:
        return []
    told = [
        f'column "{name}" is gone at the source' + _renamed(name, before, now)
        for name in before
        if name not in now
    ]
    told += [
        f'column "{name}" is new at the source ({type_})'
        for name, type_ in now.items()
        if name not in before
    ]
    told += [
        f'column "{name}" was {before[name]} and is {type_} at the source'
        for name, type_ in now.items()
        if name in before and before[name] != type_
    ]
    return told


def _renamed(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say that one column went and one of the same type came, which may be a new name."""
    came = [other for other in now if other not in before and now[other] == before[name]]
    went = [other for other in before if other not in now and before[other] == before[name]]
    return f' (perhaps it is "{came[0]}" now)' if len(came) == len(went) == 1 else ""


def enforce_schema_policy(one: ConfiguredTable, told: Sequence[str], *, accepted: bool) -> None:
    """Raise ContractError for changes that the project file does not let in."""
    rule = one.options.schema_changes or SchemaChanges.EVOLVE
    if not told or rule is SchemaChanges.EVOLVE or accepted:
        return
    way = (
        f"Take them: cdpsync run {one.table} --accept-changes"
        if rule is SchemaChanges.ASK
        else "Take them with schema_changes: evolve"
    )
    raise ContractError(
        f'{one.location}: table "{one.name}": {"; ".join(told)}. Its schema_changes: {rule} lets '
        f"no change in, and nothing was read. {way}; or leave columns out: columns: {{exclude: …}}."
    )
