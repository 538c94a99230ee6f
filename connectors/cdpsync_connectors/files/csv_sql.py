"""The SELECT of a CSV file's fields, and of its lines, as texts.

DuckDB detects nothing, because a guess from a sample may be wrong for the rest of a file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cdpsync.connector.exact_sql import quote_files
from cdpsync.sql import quote_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duckdb import DuckDBPyConnection

    from cdpsync_connectors.files.dialect import Dialect

_READ = """read_csv({files}, auto_detect = false, strict_mode = true, hive_partitioning = false,
    header = {header}, delim = {delimiter}, quote = {quote}, escape = {quote}, nullstr = [{nulls}],
    allow_quoted_nulls = false, max_line_size = 16777216,
    buffer_size = 33554432, columns = {{{columns}}}{more_options})"""

# Each line as one column: without quotes, and with a separator that no text has. A quoted cell may
# have other line ends than the records (Excel writes LF in a file of CR LF), which is not strict.
_LINES = """
    select {values} from read_csv({files}, auto_detect = false, hive_partitioning = false,
        header = false, delim = '\x01\x02\x03\x04', quote = '', escape = '', strict_mode = false,
        new_line = '\\n', max_line_size = 16777216, buffer_size = 33554432,
        columns = {{'line': 'VARCHAR'}}, filename = true)
"""

_HAS_SPACE = """
    (contains(line, {space_and_quote}) or contains(line, {quote_and_space}))
    and regexp_matches(line, {pattern})
"""

_PADDED = ", null_padding = true, parallel = false, filename = true"


def read_fields(paths: Sequence[str], dialect: Dialect, width: int) -> str:
    """Return the table function of the fields `c0`, `c1`, … of files with so many columns."""
    return _read(paths, dialect, width, dialect.nulls)


def read_padded_fields(paths: Sequence[str], dialect: Dialect, width: int, no_text: str) -> str:
    """Return the same, with `filename`: a field is NULL where its record has no such field.

    No text of the files may be `no_text`.
    """
    return _read(paths, dialect, width, (no_text,), _PADDED)


def _read(
    paths: Sequence[str],
    dialect: Dialect,
    width: int,
    nulls: Sequence[str],
    more_options: str = "",
) -> str:
    return _READ.format(
        files=quote_files(list(paths)),
        header=str(dialect.header).lower(),
        delimiter=quote_text(dialect.delimiter),
        quote=quote_text(dialect.quote),
        nulls=", ".join(map(quote_text, nulls)),
        columns=", ".join(f"'c{number}': 'VARCHAR'" for number in range(width)),
        more_options=more_options,
    )


def lines_of(con: DuckDBPyConnection, path: str, count: int) -> list[str]:
    """Return the first lines of a file, at most so many."""
    statement = _LINES.format(values="line", files=quote_files([path])) + f"limit {count}"
    return [line or "" for (line,) in con.execute(statement).fetchall()]


def paths_with_spaces(con: DuckDBPyConnection, paths: Sequence[str], dialect: Dialect) -> list[str]:
    """Return the files in which a space may stand beside a quote or behind a CR.

    It may also stand in the middle of quoted text.
    """
    condition = "starts_with(line, ' ')"
    if dialect.quote:
        condition += f" or {_space_at_quote(dialect)}"
    lines = _LINES.format(values="filename", files=quote_files(list(paths)))
    rows = con.execute(f"{lines} where {condition} group by filename order by 1").fetchall()
    return [str(path) for (path,) in rows]


def _space_at_quote(dialect: Dialect) -> str:
    sign, quote = re.escape(dialect.delimiter), re.escape(dialect.quote)
    opening = f"(^|{sign}) {quote}([^{quote}]|{quote}{quote}|{quote} *({sign}|$))"
    closing = f"((^|[^{quote}]){quote}|(^|{sign}){quote}{quote})({quote}{quote})* +({sign}|$)"
    return _HAS_SPACE.format(
        space_and_quote=quote_text(f" {dialect.quote}"),
        quote_and_space=quote_text(f"{dialect.quote} "),
        pattern=quote_text(f"{opening}|{closing}"),
    )
