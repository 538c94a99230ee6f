"""Snowflake's catalogs: databases, relations, columns, keys; and its rules for names.

A name has the case that Snowflake shows: `ORDERS` for a table that was created as `orders`. A part
with a dot or a quote in it is quoted, as in SQL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cdpsync.sql import quote_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Rows = list[dict[str, Any]]  # the values have the types of the catalog's columns
    Ask = Callable[[str], Rows]

_TABLES = """
    select * from {database}.information_schema.tables
    where table_schema <> 'INFORMATION_SCHEMA'{table_filter}
    order by table_schema, table_name
"""
_COLUMNS = """
    select table_schema, table_name, column_name, data_type, numeric_precision, numeric_scale,
        is_nullable
    from {database}.information_schema.columns
    where table_schema <> 'INFORMATION_SCHEMA'{table_filter}
    order by table_schema, table_name, ordinal_position
"""
_KINDS = {
    "BASE TABLE": "table",
    "EXTERNAL TABLE": "external table",
    "EVENT TABLE": "event table",
    "LOCAL TEMPORARY": "temporary table",
    "MATERIALIZED VIEW": "materialized view",
    "VIEW": "view",
}
_SPECIAL = {
    "IS_DYNAMIC": "dynamic table",
    "IS_ICEBERG": "iceberg table",
    "IS_HYBRID": "hybrid table",
}


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column of information_schema; `kind` is its type without parameters."""

    name: str
    kind: str
    precision: int | None = None
    scale: int | None = None
    required: bool = False

    @property
    def display(self) -> str:
        """The type as a person writes it."""
        if self.kind == "NUMBER" and self.precision is not None:
            return f"NUMBER({self.precision},{self.scale or 0})"
        return self.kind


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view of any kind; `created` is when a table was made, by CREATE OR REPLACE too."""

    database: str
    schema: str
    name: str
    kind: str
    columns: tuple[SourceColumn, ...]
    primary_key: tuple[str, ...] = ()
    estimated_rows: int | None = None
    created: str | None = None

    @property
    def sql(self) -> str:
        """The relation's name as SQL."""
        return ".".join(quote_name(part) for part in (self.database, self.schema, self.name))


def quote_literal(text: str) -> str:
    """Return a string literal of Snowflake, which reads backslashes as escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def plain_name(text: str) -> str:
    """Return the name of an identifier: upper case, unless it is quoted."""
    quoted = re.fullmatch(r'"((?:[^"]|"")+)"', text.strip())
    return quoted[1].replace('""', '"') if quoted else text.strip().upper()


def lake_name(parts: Iterable[str]) -> str:
    """Return a table's name in the lake: a plain upper-case part becomes lower case."""
    return "_".join(
        part.lower() if re.fullmatch(r"[A-Z_][A-Z0-9_$]*", part) else part for part in parts
    )


def fetch_databases(ask: Ask) -> list[str]:
    """Return every database that the role may see."""
    return [row["name"] for row in ask("show databases")]


def fetch_schemas(ask: Ask, database: str) -> list[str]:
    """Return every schema of a database that the role may see, except INFORMATION_SCHEMA."""
    rows = ask(f"select schema_name from {quote_name(database)}.information_schema.schemata")
    names = [row["SCHEMA_NAME"] for row in rows]
    return [name for name in names if name != "INFORMATION_SCHEMA"]


def fetch_relations(
    ask: Ask,
    database: str,
    is_selected: Callable[[str], bool],
    table: tuple[str, str] | None = None,
) -> list[Relation]:
    """Return the relations in a database's selected schemas, or only `table`, a (schema, name).

    Keys are fetched for each schema, because SHOW ends after ten thousand rows without notice
    (docs.snowflake.com/en/sql-reference/sql/show). With `table`, no keys are fetched.
    """
    table_filter = ""
    if table is not None:
        schema, name = (quote_literal(part) for part in table)
        table_filter = f"\n    and table_schema = {schema} and table_name = {name}"
    quoted = quote_name(database)
    tables = [
        row
        for row in ask(_TABLES.format(database=quoted, table_filter=table_filter))
        if is_selected(row["TABLE_SCHEMA"])
    ]
    columns: dict[tuple[str, str], list[SourceColumn]] = {}
    if tables:
        for row in ask(_COLUMNS.format(database=quoted, table_filter=table_filter)):
            of_table = columns.setdefault((row["TABLE_SCHEMA"], row["TABLE_NAME"]), [])
            of_table.append(_column(row))
    keys: dict[tuple[str, str], tuple[str, ...]] = {}
    if table is None:
        for schema in sorted({row["TABLE_SCHEMA"] for row in tables}):
            keys |= _primary_keys(ask, database, schema)
    return [_relation(database, row, columns, keys) for row in tables]


def _column(row: Mapping[str, Any]) -> SourceColumn:
    return SourceColumn(
        name=row["COLUMN_NAME"],
        kind=row["DATA_TYPE"].split("(")[0].strip().upper(),
        precision=row["NUMERIC_PRECISION"],
        scale=row["NUMERIC_SCALE"],
        required=row["IS_NULLABLE"] == "NO",
    )


def _primary_keys(ask: Ask, database: str, schema: str) -> dict[tuple[str, str], tuple[str, ...]]:
    rows = ask(f"show primary keys in schema {quote_name(database)}.{quote_name(schema)}")
    keys: dict[tuple[str, str], list[str]] = {}
    for row in sorted(rows, key=lambda row: int(row["key_sequence"])):
        keys.setdefault((schema, row["table_name"]), []).append(row["column_name"])
    return {table: tuple(columns) for table, columns in keys.items()}


def _relation(
    database: str,
    row: Mapping[str, Any],
    columns: Mapping[tuple[str, str], list[SourceColumn]],
    keys: Mapping[tuple[str, str], tuple[str, ...]],
) -> Relation:
    table = (row["TABLE_SCHEMA"], row["TABLE_NAME"])
    special = [kind for column, kind in _SPECIAL.items() if row.get(column) == "YES"]
    rows = row["ROW_COUNT"]
    return Relation(
        database=database,
        schema=table[0],
        name=table[1],
        kind=special[0] if special else _KINDS.get(row["TABLE_TYPE"], row["TABLE_TYPE"].lower()),
        columns=tuple(columns.get(table, ())),
        primary_key=keys.get(table, ()),
        estimated_rows=None if rows is None else int(rows),
        created=_created(row),
    )


def _created(row: Mapping[str, Any]) -> str | None:
    """Return when a table was made; None for a view, which may be replaced by itself each day."""
    created = row.get("CREATED")
    is_table = row["TABLE_TYPE"] == "BASE TABLE"
    return str(created) if is_table and created is not None else None
