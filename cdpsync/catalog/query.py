"""Read-only SQL over a lake, with results row by row."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cdpsync.catalog.values import readers_for
from cdpsync.engine import LARGE_ROWS, first_line, memory_per_thread, retyped_advice
from cdpsync.errors import QueryError
from cdpsync.model import Column
from cdpsync.sql import quote_name, quote_text
from cdpsync.system.memory import row_group_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

_BATCH = 1000
_READS = {"SELECT", "EXPLAIN"}
_EXPLAIN_WORDS = {"explain", "analyze", "analyse", "verbose"}
_SETS = {"SET", "VARIABLE_SET"}


class QueryResult:
    """The result of one query. Its rows are fetched while they are iterated, and only once."""

    def __init__(self, con: duckdb.DuckDBPyConnection, sql: str) -> None:
        self._con = con
        self._sql = sql
        relation = con.sql(f"select * from ({sql}\n)")
        self.columns = tuple(
            Column(name, str(type_))
            for name, type_ in zip(relation.columns, relation.types, strict=True)
        )
        self._readers = readers_for(con, relation.types)

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Return the rows as Python values.

        Values that Python has no type for are text, also inside lists, structs and maps: an
        INTERVAL is an ISO 8601 duration, TIMESTAMP_NS and TIME_NS are ISO 8601. Dates and
        timestamps before year 1, after 9999 and `infinity` are DuckDB's own text. A FLOAT is the
        float with the same shortest text.
        """
        decoders = [
            (index, reader.decode) for index, reader in self._readers.items() if reader.decode
        ]
        with translated():
            self._con.execute(self._exact_sql())
            while batch := self._con.fetchmany(_BATCH):
                if not decoders:
                    yield from batch
                    continue
                for row in batch:
                    values = list(row)
                    for index, decode in decoders:
                        if values[index] is not None:
                            values[index] = decode(values[index])
                    yield tuple(values)

    def _exact_sql(self) -> str:
        """Return the query with its columns cast to types that Python fetches exactly."""
        if not self._readers:
            return self._sql
        names = [f"c{index}" for index in range(len(self.columns))]
        select = ", ".join(
            self._readers[index].sql(name) if index in self._readers else name
            for index, name in enumerate(names)
        )
        return f"select {select} from ({self._sql}\n) as answer({', '.join(names)})"

    def write_parquet(self, file: Path) -> int:
        """Write the rows to a Parquet file, in their order; return how many."""
        import duckdb

        with translated():
            try:
                return self._copy(file, "")
            except duckdb.OutOfMemoryException:
                # One thread keeps the order, and row groups are limited in bytes.
                self._con.execute(f"set threads = 1; {LARGE_ROWS}")
                size = row_group_bytes(memory_per_thread(self._con))
                return self._copy(file, f", row_group_size_bytes {size}")

    def _copy(self, file: Path, options: str) -> int:
        target = f"{quote_text(str(file))} (format parquet, compression zstd{options})"
        row = self._con.execute(f"copy ({self._sql}\n) to {target}").fetchone()
        return int(row[0]) if row else 0


@contextmanager
def translated() -> Iterator[None]:
    """Raise DuckDB's errors about the user's SQL as QueryError."""
    import duckdb

    unread = (duckdb.HTTPException, duckdb.IOException, duckdb.InvalidInputException)
    try:
        yield
    except duckdb.InterruptException as error:
        raise KeyboardInterrupt from error
    except duckdb.Error as error:
        message = first_line(error)
        advice = retyped_advice(message)
        message = f"{message} {advice}." if advice else message
        raise QueryError(message, unread=isinstance(error, unread)) from error


_TABLES = """
    select schema_name as "schema", table_name as name
    from (
        select database_name, schema_name, table_name, internal from duckdb_tables()
        union all
        select database_name, schema_name, view_name, internal from duckdb_views()
    )
    where database_name = 'lake' and schema_name <> 'cdpsync' and not internal
    order by all
"""


def run_query(con: duckdb.DuckDBPyConnection, sql: str, schema: str | None = None) -> QueryResult:
    """Run a query on the lake attached to `con`, where `shop.orders` is the name of a table.

    A table named without a schema is one of `schema`. Settings may come before the query. `show
    tables` lists the tables of every schema. Raises QueryError for a statement that is not a query.
    """
    with translated():
        con.execute(f"use lake.{quote_name(schema)}" if schema else "use lake")
        statements = con.extract_statements(sql)
        if not statements:
            raise QueryError("there is no SQL to run.")
        if any(not statement.query for statement in statements):
            raise QueryError(
                "PIVOT is refused here unless its values are named, since DuckDB would first "
                "create a type for them. Write, for example: "
                "pivot shop.orders on status in ('open', 'paid') using count(*)."
            )
        for statement in statements:
            _refuse_changes(statement.type.name, statement is statements[-1])
        for statement in statements[:-1]:
            con.execute(statement)
        last, words = _without_end(statements[-1].query)
        if statements[-1].type.name == "EXPLAIN":
            _refuse_to_explain(con, last)
            last = _explained(con, last)
        return QueryResult(con, _TABLES if words == ["show", "tables"] else last)


def _refuse_changes(kind: str, is_last: bool) -> None:
    if kind in _READS or (kind in _SETS and not is_last):
        return
    if kind in _SETS:
        raise QueryError("a SET alone has no result. Add a SELECT after it.")
    word = kind.replace("_", " ")
    raise QueryError(
        f"{word} is refused: `query` is read-only. The lake changes only by `cdpsync run`, "
        "`reset` and `delete`; to save a result, use --to FILE."
    )


def _refuse_to_explain(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise for an EXPLAIN of a statement that is refused alone, because ANALYZE runs it."""
    inner = _inner(con, sql)
    if inner is None:
        raise QueryError("EXPLAIN takes one SELECT here.")
    if inner != "SELECT":
        _refuse_changes(inner, is_last=True)


def _inner(con: duckdb.DuckDBPyConnection, sql: str) -> str | None:
    """Return the kind of the statement that an EXPLAIN explains; None unless it is exactly one."""
    import duckdb

    tokens = _tokens(sql)
    start = 0
    while start < len(tokens) and tokens[start][1].lower() in _EXPLAIN_WORDS:
        start += 1
    while start < len(tokens):
        explained = sql.encode()[tokens[start][0] :].decode()
        try:
            statements = con.extract_statements(explained)
        except duckdb.Error:
            if tokens[start][1] != "(":
                return None
        else:
            single = len(statements) == 1 and bool(statements[0].query)
            return statements[0].type.name if single else None
        while start < len(tokens) and tokens[start][1] != ")":  # options contain no parentheses
            start += 1
        start += 1
    return None


def _without_end(sql: str) -> tuple[str, list[str]]:
    """Return a statement without trailing semicolons and comments, and its words."""
    tokens = _tokens(sql)
    end = None
    while tokens and tokens[-1][1] == ";":
        end, _ = tokens.pop()
    return sql.encode()[:end].decode(), [word.lower() for _, word in tokens]


def _tokens(sql: str) -> list[tuple[int, str]]:
    """Return the first byte and first word or sign of each token; comments are no tokens."""
    import duckdb

    text = sql.encode()
    starts = [start for start, _ in duckdb.tokenize(sql)]
    matches = (re.match(rb"\w+|.", text[start:], re.DOTALL) for start in starts)
    return [
        (start, word[0].decode(errors="replace"))
        for start, word in zip(starts, matches, strict=True)
        if word
    ]


def _explained(con: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Run an EXPLAIN and return a query whose result is its text."""
    rows = con.execute(sql).fetchall()
    values = ", ".join(f"({quote_text(str(key))}, {quote_text(str(text))})" for key, text in rows)
    return f"select * from (values {values}) as plan({quote_name('part')}, {quote_name('plan')})"
