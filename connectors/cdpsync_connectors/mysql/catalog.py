"""MySQL's catalogs: relations, their columns with real types, keys and sizes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cdpsync_connectors._shared.naming import stream_name
from cdpsync_connectors.mysql.protocol import server_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pymysql.connections import Connection

SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")


def backquote(name: str) -> str:
    """Return an identifier as MySQL writes it, in backquotes."""
    return "`" + name.replace("`", "``") + "`"


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
    """Whether it is text that the server requires to be JSON, as MariaDB does."""

    @property
    def unsigned(self) -> bool:
        """Whether its numbers are never negative."""
        return "unsigned" in self.display.lower()


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or a view; `indexed` are the columns by whose order an index finds rows."""

    schema: str
    name: str
    kind: str
    columns: tuple[SourceColumn, ...]
    primary_key: tuple[str, ...]
    estimated_rows: int | None
    engine: str | None = None
    indexed: frozenset[str] = frozenset()
    created: str | None = None
    """When it was made or last altered, to the second; None for a view or a partitioned table."""

    @property
    def stream(self) -> str:
        """The stream's name: `shop.orders`; a part with a dot or a quote in it is quoted."""
        return stream_name((self.schema, self.name))

    @property
    def sql(self) -> str:
        """The relation's name as SQL."""
        return f"{backquote(self.schema)}.{backquote(self.name)}"


_TABLES = """
    select table_schema, table_name, table_type, table_rows, engine,
        case when coalesce(create_options, '') not like '%%partitioned%%' then create_time end
    from information_schema.tables
    where table_type in ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED') and {table_filter}
    order by table_schema, table_name
"""

# They include invisible and generated columns, because the select list names every column.
_COLUMNS = """
    select table_schema, table_name, column_name, data_type, column_type,
        numeric_precision, numeric_scale, is_nullable
    from information_schema.columns
    where {table_filter}
    order by table_schema, table_name, ordinal_position
"""

_KEYS = """
    select table_schema, table_name, column_name, index_name = 'PRIMARY', seq_in_index = 1
    from information_schema.statistics
    where (index_name = 'PRIMARY' or seq_in_index = 1) and {table_filter}
    order by table_schema, table_name, seq_in_index
"""

# MariaDB has no JSON type; for a column declared as JSON it adds this check.
_JSON_CHECKS = """
    select constraint_schema, table_name, check_clause
    from information_schema.check_constraints
    where check_clause like 'json_valid(%%' and {table_filter}
"""
_JSON_CHECK = re.compile(r"json_valid\(`((?:[^`]|``)+)`\)", re.IGNORECASE)


def fetch_relations(
    con: Connection[Any],
    schemas: Iterable[str] | None = None,
    table: tuple[str, str] | None = None,
    *,
    mariadb: bool,
) -> list[Relation]:
    """Return the relations of these schemas, or of all but the system's.

    With `table`, a (schema, name), return only that relation.
    """
    table_filter, values = _table_filter(schemas, table)

    def ask(sql: str, schema: str = "table_schema") -> Sequence[Sequence[Any]]:
        with con.cursor() as cursor:
            cursor.execute(sql.format(table_filter=table_filter.format(schema=schema)), values)
            rows: Sequence[Sequence[Any]] = cursor.fetchall()
            return rows

    keys: dict[tuple[str, str], list[str]] = {}
    indexed: dict[tuple[str, str], set[str]] = {}
    for schema, name, column, is_key, is_first in ask(_KEYS):
        if is_key:
            keys.setdefault((schema, name), []).append(column)
        if is_first:
            indexed.setdefault((schema, name), set()).add(column)
    columns: dict[tuple[str, str], list[SourceColumn]] = {}
    for schema, name, *described in ask(_COLUMNS):
        columns.setdefault((schema, name), []).append(_column(described))
    if mariadb:
        for schema, name, clause in ask(_JSON_CHECKS, "constraint_schema"):
            _mark_json(columns.get((schema, name), []), clause)
    return [
        Relation(
            schema=schema,
            name=name,
            kind="view" if kind == "VIEW" else "table",
            columns=tuple(columns.get((schema, name), ())),
            primary_key=tuple(keys.get((schema, name), ())),
            estimated_rows=None if kind == "VIEW" or rows is None else int(rows),
            engine=engine,
            indexed=frozenset(indexed.get((schema, name), ())),
            created=None if created is None else str(created),
        )
        for schema, name, kind, rows, engine, created in ask(_TABLES)
    ]


def _table_filter(
    schemas: Iterable[str] | None, table: tuple[str, str] | None
) -> tuple[str, tuple[Any, ...]]:
    if table:
        return "{schema} = %s and table_name = %s", table
    if schemas is not None:
        return "{schema} in %s", (tuple(schemas) or ("",),)
    return "{schema} not in %s", (SYSTEM,)


def fetch_schemas(con: Connection[Any]) -> list[str]:
    """Return every database that this user can see, except the system's."""
    with con.cursor() as cursor:
        cursor.execute("select schema_name from information_schema.schemata order by 1")
        return [name for (name,) in cursor.fetchall() if name.lower() not in SYSTEM]


@dataclass(frozen=True, slots=True)
class TableIds:
    """InnoDB's id of each table, and those of the partitions of others, by schema and name."""

    tables: dict[tuple[str, str], int] = field(default_factory=dict)
    partitions: dict[tuple[str, str], list[int]] = field(default_factory=dict)


def fetch_table_ids(con: Connection[Any], *, mariadb: bool) -> TableIds:
    """Return InnoDB's ids, for a user with PROCESS.

    A table or partition gets another id when it is made anew, truncated, or copied by an ALTER.
    InnoDB writes other characters than letters, digits and `_` in a code of its own; such tables
    are left out.
    """
    is_old = mariadb or server_version(con).startswith("5.")
    view = "innodb_sys_tables" if is_old else "innodb_tables"
    with con.cursor() as cursor:
        cursor.execute(f"select name, table_id from information_schema.{view}")
        names = [(_PLAIN_NAME.match(_text(name)), number) for name, number in cursor.fetchall()]
    ids = TableIds()
    for match, number in names:
        if match and match[3]:
            ids.partitions.setdefault((match[1], match[2]), []).append(int(number))
        elif match:
            ids.tables[match[1], match[2]] = int(number)
    return ids


_PLAIN_NAME = re.compile(r"(\w+)/(\w+)(#p#.*)?$", re.ASCII | re.IGNORECASE)


def _column(described: Sequence[Any]) -> SourceColumn:
    name, kind, display, precision, scale, nullable = described
    digits = None if precision is None else int(precision)
    places = None if scale is None else int(scale)
    return SourceColumn(name, _text(kind).lower(), _text(display), digits, places, nullable == "NO")


def _text(value: str | bytes) -> str:
    """Return text of the catalogs, which MySQL 8 sends as bytes in some columns."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _mark_json(columns: list[SourceColumn], clause: str) -> None:
    match = _JSON_CHECK.fullmatch(clause.strip())
    for index, column in enumerate(columns):
        if match and column.name == match[1].replace("``", "`"):
            columns[index] = replace(column, json=True)
