"""The rows of a read that follows a state: of each key the row that came last, as SQL.

A source that reports states has no column that tells which of two rows is newer. It sends a row
again where the row changed meanwhile, so the one that came last counts. Spool files are listed in
the order of the chunks, and a file has its rows in the order in which its chunk has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.load.large_values import INCOMING_DIGESTS
from cdpsync.sql import glob_escaped, quote_name, quote_names, quote_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from cdpsync.model import Column, TablePlan

_FILE = "file of the row"  # no field of a source has this name

_LAST_PER_KEY = """
    select {columns} from {rows}
    qualify row_number() over (
        partition by {key} order by list_position({files}, {file}) desc, file_row_number desc
    ) = 1
"""

_ROWS = """
    read_parquet({files}, hive_partitioning = false, filename = {file}, file_row_number = true)
"""


def last_per_key(
    plan: TablePlan, columns: Sequence[Column], files: Sequence[Path], *, is_digested: bool
) -> str:
    """Return a SELECT of the row of each key that came last.

    `is_digested`: the rows stand in the table of `large_values.read_digests`, with their positions.
    """
    rows, file = INCOMING_DIGESTS, "filename"
    if not is_digested:
        listed = _list(glob_escaped(str(path)) for path in files)
        rows, file = _ROWS.format(files=listed, file=quote_text(_FILE)), quote_name(_FILE)
    return _LAST_PER_KEY.format(
        columns=quote_names(column.name for column in columns),
        rows=rows,
        key=quote_names(plan.primary_key),
        files=_list(map(str, files)),
        file=file,
    )


def _list(texts: Iterable[str]) -> str:
    return "[" + ", ".join(map(quote_text, texts)) + "]"
