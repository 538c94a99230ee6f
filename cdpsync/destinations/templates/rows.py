"""The row that expressions are about: its columns, and the names by which they are reached."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cdpsync.destinations.templates.sandbox import sandbox
from cdpsync.destinations.templates.syntax import Name, is_time
from cdpsync.errors import suggest
from cdpsync.sql import fold_name, quote_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import duckdb
    from duckdb.sqltypes import DuckDBPyType

RELATION = "changes"
"""The alias of the relation that expressions are compiled over."""

CHANGE_COLUMNS = {
    "event_id": "VARCHAR",
    "key": "VARCHAR",
    "change": "VARCHAR",
    "snapshot_id": "BIGINT",
    "changed_at": "TIMESTAMP WITH TIME ZONE",
    "ord": "BIGINT",
}
"""The columns of `changes` beside the images, with their types."""

_NAMED = ("event_id", "change", "snapshot_id", "changed_at")
_SHOWN = 20


class UnknownNameError(Exception):
    """A name that the row does not have."""


@dataclass(frozen=True, slots=True)
class Row:
    """The columns of a row with their DuckDB types, and the name that expressions may give it."""

    columns: Mapping[str, str]
    alias: str | None = None

    @property
    def type(self) -> str:
        """The row as a DuckDB type."""
        fields = (f"{quote_name(name)} {type_}" for name, type_ in self.columns.items())
        return f"STRUCT({', '.join(fields)})"

    def column(self, name: str) -> str | None:
        """Return a column as the row spells it, or None."""
        return next((own for own in self.columns if fold_name(own) == fold_name(name)), None)


def row_of(
    con: duckdb.DuckDBPyConnection, relation: str = RELATION, alias: str | None = None
) -> Row:
    """Return the row of a relation of changes, from the type of its column `row`."""
    image = con.sql(f'select "row" from {relation}').types[0]
    return Row({name: str(type_) for name, type_ in image.children}, alias)


@dataclass(slots=True)
class Names:
    """Resolves the names of expressions.

    Inputs come before what a change has, and that before the row's columns. `row.x` and `alias.x`
    are the column `x` in any case. `image` is the image that a bare column is of:
    `row` or `old`. `no_row`: why no name is allowed.
    """

    row: Row
    alias: str | None
    inputs: Mapping[str, Name] = field(default_factory=dict)
    image: str = "row"
    no_row: str | None = None

    def knows(self, name: str) -> bool:
        """Whether a change has this name, whatever the inputs are."""
        named = (*_NAMED, "row", "old", self.alias or "row")
        is_named = fold_name(name) in map(fold_name, named)
        return is_named or self.row.column(name) is not None

    def resolve(self, name: Name) -> Name:
        """Return the name over `changes` of a name in an expression; raise UnknownNameError."""
        first, *rest = name
        folded = fold_name(first)
        if folded in self.inputs:
            return (RELATION, *self.inputs[folded], *rest)
        if self.no_row:
            if is_time(name):
                return name
            raise UnknownNameError(self.no_row)
        if folded in ("row", "old"):
            return self._image(folded, rest)
        if self.alias and folded == fold_name(self.alias) and rest:
            return self._image(self.image, rest)
        if folded in _NAMED:
            return (RELATION, folded, *rest)
        if self.row.column(first) is not None:
            return self._image(self.image, list(name))
        if self.alias and folded == fold_name(self.alias):
            return self._image(self.image, [])
        if is_time(name):
            return name
        raise UnknownNameError(self._unknown(first))

    def _image(self, image: str, path: list[str]) -> Name:
        """Return a path into the row or its old image."""
        if not path:
            return (RELATION, image)
        column = self.row.column(path[0])
        if column is None:
            raise UnknownNameError(self._unknown(path[0]))
        return (RELATION, image, column, *path[1:])

    def _unknown(self, name: str) -> str:
        columns = list(self.row.columns)
        candidates = [*columns, *self.inputs, *_NAMED, "old", "row"]
        meant = suggest(name, candidates)
        hint = f' Did you mean "{meant}"?' if meant else ""
        return f'there is no column "{name}".{hint} The row has {_listed(columns)}'


def _listed(columns: Iterable[str]) -> str:
    names = list(columns)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "no columns") + more


class Binder:
    """Tells the type of SQL over `changes`, in a sandbox where the relation has no rows."""

    def __init__(self, con: duckdb.DuckDBPyConnection, row: Row) -> None:
        """Make the relation. The connection must be one of the sandbox."""
        self._con = con
        columns = {**CHANGE_COLUMNS, "row": row.type, "old": row.type}
        listed = ", ".join(f"{quote_name(name)} {type_}" for name, type_ in columns.items())
        con.execute(f"create temp table {RELATION} ({listed})")

    def type_of(self, sql: str) -> DuckDBPyType:
        """Return the type of a value; raise DuckDB's error if there is none."""
        return self._con.sql(f"select {sql} from {RELATION}").types[0]

    def add(self, name: str, type_: str) -> None:
        """Add a column to the relation."""
        self._con.execute(f"alter table {RELATION} add column {quote_name(name)} {type_}")

    def value_of(self, sql: str) -> object:
        """Return the value of SQL that names no table."""
        row = self._con.execute(sql).fetchone()
        return row[0] if row else None


@contextmanager
def open_binder(row: Row) -> Iterator[Binder]:
    """Lend a binder for expressions over a row."""
    with sandbox() as con:
        yield Binder(con, row)
