"""What MySQL's catalogs say: relations, their columns with real types, keys, sizes."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cdpsync_connectors._shared.naming import stream_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pymysql.connections import Connection

SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")


def quote_name(name: str) -> str:
    """Return an identifier as MySQL writes it."""
    return "`" + name.replace("`", "``") + "`"


def quote_lake_name(name: str) -> str:
    """Return an identifier as DuckDB writes it."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Return a string as DuckDB's literal."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column: `kind` is the bare type (`int`), `display` all of it (`int(10) unsigned`)."""

    name: str
    kind: str
    display: str
    precision: int | None
    scale: int | None
    required: bool
    json: bool = False
    """Whether it is text that the server keeps to JSON, as MariaDB does."""

    @property
    def unsigned(self) -> bool:
        """Whether it holds no number below zero."""
        return "unsigned" in self.display.lower()


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or a view."""

    schema: str
    name: str
    kind: str
    columns: tuple[SourceColumn, ...]
    primary_key: tuple[str, ...]
    estimated_rows: int | None

    @property
    def stream(self) -> str:
        """The name users see: `shop.orders`; a part with a dot or a quote in it is quoted."""
        return stream_name((self.schema, self.name))

    @property
    def sql(self) -> str:
        """The name as SQL."""
        return f"{quote_name(self.schema)}.{quote_name(self.name)}"


_TABLES = """
    select table_schema, table_name, table_type, table_rows
    from information_schema.tables
    where table_type in ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED') and {which}
    order by table_schema, table_name
"""

# Invisible and generated columns are among them: the select list names every column.
_COLUMNS = """
    select table_schema, table_name, column_name, data_type, column_type,
        numeric_precision, numeric_scale, is_nullable
    from information_schema.columns
    where {which}
    order by table_schema, table_name, ordinal_position
"""

_KEYS = """
    select table_schema, table_name, column_name
    from information_schema.statistics
    where index_name = 'PRIMARY' and {which}
    order by table_schema, table_name, seq_in_index
"""

# MariaDB has no type of JSON; the word in CREATE TABLE leaves this check behind.
_JSON_CHECKS = """
    select constraint_schema, table_name, check_clause
    from information_schema.check_constraints
    where check_clause like 'json_valid(%%' and {which}
"""
_JSON_CHECK = re.compile(r"json_valid\(`((?:[^`]|``)+)`\)", re.IGNORECASE)


def fetch_relations(
    con: Connection[Any],
    schemas: Iterable[str] | None = None,
    only: tuple[str, str] | None = None,
    *,
    mariadb: bool,
) -> list[Relation]:
    """Return the relations of these schemas, or of all but the system's, or `only` that one."""
    which, values = _which(schemas, only)

    def ask(sql: str, schema: str = "table_schema") -> Sequence[Sequence[Any]]:
        with con.cursor() as cursor:
            cursor.execute(sql.format(which=which.format(schema=schema)), values)
            rows: Sequence[Sequence[Any]] = cursor.fetchall()
            return rows

    keys: dict[tuple[str, str], list[str]] = {}
    for schema, table, column in ask(_KEYS):
        keys.setdefault((schema, table), []).append(column)
    columns: dict[tuple[str, str], list[SourceColumn]] = {}
    for schema, table, *described in ask(_COLUMNS):
        columns.setdefault((schema, table), []).append(_column(described))
    if mariadb:
        for schema, table, clause in ask(_JSON_CHECKS, "constraint_schema"):
            _mark_json(columns.get((schema, table), []), clause)
    return [
        Relation(
            schema=schema,
            name=name,
            kind="view" if kind == "VIEW" else "table",
            columns=tuple(columns.get((schema, name), ())),
            primary_key=tuple(keys.get((schema, name), ())),
            estimated_rows=None if kind == "VIEW" or rows is None else int(rows),
        )
        for schema, name, kind, rows in ask(_TABLES)
    ]


def _which(
    schemas: Iterable[str] | None, only: tuple[str, str] | None
) -> tuple[str, tuple[Any, ...]]:
    if only:
        return "{schema} = %s and table_name = %s", only
    if schemas is not None:
        return "{schema} in %s", (tuple(schemas) or ("",),)
    return "{schema} not in %s", (SYSTEM,)


def fetch_schemas(con: Connection[Any]) -> list[str]:
    """Return every database this user can see, but the system's."""
    with con.cursor() as cursor:
        cursor.execute("select schema_name from information_schema.schemata order by 1")
        return [name for (name,) in cursor.fetchall() if name.lower() not in SYSTEM]


def _column(described: Sequence[Any]) -> SourceColumn:
    name, kind, display, precision, scale, nullable = described
    digits = None if precision is None else int(precision)
    places = None if scale is None else int(scale)
    return SourceColumn(name, _text(kind).lower(), _text(display), digits, places, nullable == "NO")


def _text(value: str | bytes) -> str:
    """Return text of the catalogs, which MySQL 8 says to be bytes in some columns."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _mark_json(columns: list[SourceColumn], clause: str) -> None:
    found = _JSON_CHECK.fullmatch(clause.strip())
    for place, column in enumerate(columns):
        if found and column.name == found[1].replace("``", "`"):
            columns[place] = replace(column, json=True)
