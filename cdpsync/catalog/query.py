"""Questions to a lake in SQL: only such as change nothing, answered row by row."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cdpsync.catalog.values import readers_for
from cdpsync.engine import first_line
from cdpsync.errors import QueryError
from cdpsync.model import Column
from cdpsync.sql import quote_name, quote_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

_BATCH = 1000
_ASKING = {"SELECT", "EXPLAIN"}
_EXPLAINING = {"explain", "analyze", "analyse", "verbose"}
_SETTING = {"SET", "VARIABLE_SET"}


class QueryResult:
    """The result of one question. Its rows are fetched as they are asked for, once."""

    def __init__(self, con: duckdb.DuckDBPyConnection, sql: str) -> None:
        self._con = con
        self._sql = sql
        found = con.sql(f"select * from ({sql}\n)")
        self.columns = tuple(
            Column(name, str(type_)) for name, type_ in zip(found.columns, found.types, strict=True)
        )
        self._ways = readers_for(con, found.types)

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Return the rows as Python values.

        What Python cannot hold comes as text, also inside lists, structs and maps: an INTERVAL as
        an ISO 8601 duration, TIMESTAMP_NS and TIME_NS as ISO 8601, and DuckDB's own text of dates
        and timestamps before year 1, after 9999 and `infinity`. A FLOAT is the float that is
        written as it is.
        """
        decoders = [(place, way.decode) for place, way in self._ways.items() if way.decode]
        with translated():
            self._con.execute(self._as_fetched())
            while batch := self._con.fetchmany(_BATCH):
                if not decoders:
                    yield from batch
                    continue
                for row in batch:
                    values = list(row)
                    for place, decode in decoders:
                        if values[place] is not None:
                            values[place] = decode(values[place])
                    yield tuple(values)

    def _as_fetched(self) -> str:
        """Return the question with its columns cast to what can be fetched exactly."""
        if not self._ways:
            return self._sql
        names = [f"c{place}" for place in range(len(self.columns))]
        select = ", ".join(
            self._ways[place].sql(name) if place in self._ways else name
            for place, name in enumerate(names)
        )
        return f"select {select} from ({self._sql}\n) as answer({', '.join(names)})"

    def write_parquet(self, file: Path) -> int:
        """Write the rows to a Parquet file; return how many."""
        with translated():
            target = f"{quote_text(str(file))} (format parquet, compression zstd)"
            row = self._con.execute(f"copy ({self._sql}\n) to {target}").fetchone()
        return int(row[0]) if row else 0


@contextmanager
def translated() -> Iterator[None]:
    """Name what DuckDB says of a person's SQL as a QueryError."""
    import duckdb

    unread = (duckdb.HTTPException, duckdb.IOException, duckdb.InvalidInputException)
    try:
        yield
    except duckdb.InterruptException as error:
        raise KeyboardInterrupt from error
    except duckdb.Error as error:
        raise QueryError(first_line(error), unread=isinstance(error, unread)) from error


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


def run_query(con: duckdb.DuckDBPyConnection, sql: str) -> QueryResult:
    """Ask a question of the lake attached to `con`, where `shop.orders` is a name.

    Settings may come before it. `show tables` names the tables of every schema. Raises
    QueryError for anything that is not a question.
    """
    with translated():
        con.execute("use lake")
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
    if kind in _ASKING or (kind in _SETTING and not is_last):
        return
    if kind in _SETTING:
        raise QueryError("a SET alone has no answer: let a SELECT follow it.")
    word = kind.replace("_", " ")
    raise QueryError(
        f"{word} is refused: `query` is read-only. The lake changes only by `cdpsync run`, "
        "`reset` and `delete`; to keep an answer, use --to FILE."
    )


def _refuse_to_explain(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise for an EXPLAIN of what would not be let through alone: ANALYZE runs it."""
    inner = _inner(con, sql)
    if inner is None:
        raise QueryError("EXPLAIN takes one SELECT here.")
    if inner != "SELECT":
        _refuse_changes(inner, is_last=True)


def _inner(con: duckdb.DuckDBPyConnection, sql: str) -> str | None:
    """Return the kind of the statement that an EXPLAIN explains; None if there is not just one."""
    import duckdb

    tokens = _tokens(sql)
    start = 0
    while start < len(tokens) and tokens[start][1].lower() in _EXPLAINING:
        start += 1
    while start < len(tokens):
        rest = sql.encode()[tokens[start][0] :].decode()
        try:
            found = con.extract_statements(rest)
        except duckdb.Error:
            if tokens[start][1] != "(":
                return None
        else:
            return found[0].type.name if len(found) == 1 and found[0].query else None
        while start < len(tokens) and tokens[start][1] != ")":  # its options have none inside
            start += 1
        start += 1
    return None


def _without_end(sql: str) -> tuple[str, list[str]]:
    """Return one statement without the semicolons and comments behind it, and its words."""
    tokens = _tokens(sql)
    end = None
    while tokens and tokens[-1][1] == ";":
        end, _ = tokens.pop()
    return sql.encode()[:end].decode(), [word.lower() for _, word in tokens]


def _tokens(sql: str) -> list[tuple[int, str]]:
    """Return where each token starts, in bytes, and its first word or sign; comments have none."""
    import duckdb

    text = sql.encode()
    starts = [start for start, _ in duckdb.tokenize(sql)]
    found = (re.match(rb"\w+|.", text[start:], re.DOTALL) for start in starts)
    return [
        (start, word[0].decode(errors="replace"))
        for start, word in zip(starts, found, strict=True)
        if word
    ]


def _explained(con: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Run an EXPLAIN and return a question whose answer is its text."""
    rows = con.execute(sql).fetchall()
    values = ", ".join(f"({quote_text(str(key))}, {quote_text(str(text))})" for key, text in rows)
    return f"select * from (values {values}) as plan({quote_name('part')}, {quote_name('plan')})"
