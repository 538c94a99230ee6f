"""Text of a database that does not check its text: what is no UTF-8, and where it stands.

A database of encoding SQL_ASCII takes any bytes, and the server refuses to send those that are no
UTF-8, without naming the column.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cdpsync.sql import quote_name
from cdpsync_connectors.postgres.parameters import load_driver

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from cdpsync_connectors.postgres.connections import Sessions

# Bytes as hex digits that are UTF-8 (The Unicode Standard, table 3-7).
_UTF8 = (
    "^([0-7].|(c[2-9a-f]|d.)[89ab].|e0[ab].[89ab].|e[1-9a-cef]([89ab].){2}|ed[89].[89ab]."
    "|f0[9ab].([89ab].){2}|f[1-3]([89ab].){3}|f48.([89ab].){2})*$"
)
_ENCODING = "pg_catalog.getdatabaseencoding()"
_REFUSED = re.compile(r"invalid byte sequence for encoding|has no equivalent in encoding")


def is_refused_text(error: Exception) -> bool:
    """Whether the server could not send a text as UTF-8."""
    return bool(_REFUSED.search(str(error)))


def is_utf8(value: str) -> str:
    """Return a condition, in SQL, that a text of the database is UTF-8; NULL for NULL."""
    stored = f"pg_catalog.convert_to({value}::text, {_ENCODING})"
    return f"(pg_catalog.encode({stored}, 'hex') ~ '{_UTF8}')"


def has_readable_names() -> str:
    """Return a condition on pg_class `c` and pg_namespace `n`: its names can be sent."""
    return f"""{is_utf8("n.nspname")} and {is_utf8("c.relname")} and not exists (
        select from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not {is_utf8("a.attname")}
    )"""


def fetch_unreadable(con: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    """Return schema and name of the tables that `has_readable_names` leaves out, with escapes."""
    sql = f"""
        select pg_catalog.encode(pg_catalog.convert_to(n.nspname::text, {_ENCODING}), 'escape'),
            pg_catalog.encode(pg_catalog.convert_to(c.relname::text, {_ENCODING}), 'escape')
        from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
            and n.nspname !~ '^pg_' and not ({has_readable_names()})
        order by 1, 2
    """
    return [(str(schema), str(name)) for schema, name in con.execute(sql.encode())]


def refused_text_message(
    sessions: Sessions, stream: str, relation: str, columns: Sequence[str]
) -> str | None:
    """Return which column of a table has text that cannot be sent, and the ways out.

    Asks column by column. None where no column is to blame.
    """
    with sessions.lend() as con:
        for column in columns:
            if _is_refused(sessions, con, relation, column):
                return (
                    f'{sessions.location}: table "{stream}", column "{column}": a text is no '
                    f"{_encoding(con)} and cannot be sent as UTF-8. Correct it there; or read the "
                    f"bytes as they are: columns: {{types: {{{column}: blob}}}}; or leave the "
                    f"column out: columns: {{exclude: [{column}]}}."
                )
    return None


def _is_refused(
    sessions: Sessions, con: psycopg.Connection[Any], relation: str, column: str
) -> bool:
    """Whether a column has a text that is no UTF-8, or that has no place in it."""
    name = quote_name(column)
    sessions.begin(con)
    try:
        row = con.execute(
            f"""
            select exists (
                select from {relation} where case
                    when {_ENCODING} in ('SQL_ASCII', 'UTF8') then not {is_utf8(name)}
                    else pg_catalog.convert_to({name}::text, 'UTF8') is null and {name} is not null
                end
            )
            """.encode()
        ).fetchone()
    except load_driver().Error as error:
        refused = is_refused_text(error)
        sessions.begin(con)
        return refused
    return row is not None and row[0] is True


def _encoding(con: psycopg.Connection[Any]) -> str:
    row = con.execute(f"select {_ENCODING}".encode()).fetchone()
    encoding = str(row[0]) if row else ""
    return "valid UTF-8" if encoding in {"SQL_ASCII", "UTF8"} else f"valid {encoding}"
