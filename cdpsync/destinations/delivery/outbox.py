"""The outbox: the changes of one send, rendered, in a Parquet file that outlives the process.

`outbox.parquet` has a row for each change, numbered from 1 (`seq`) in the order of sending.
`meta.json` is written last: without it the outbox was never complete, and its changes are read
again from the lake. `journal.jsonl` has what came of them. No file has a secret: marks stand in
their place.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from cdpsync.destinations.delivery import journal
from cdpsync.errors import CatalogError
from cdpsync.model.destinations import ChangeOrder
from cdpsync.sql import quote_name, quote_text
from cdpsync.system import disk, private_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

ROUTES = ("request", "delete")
"""The value of `route`: which of the destination's requests a change is sent with."""

STEPS = ("", "find_", "create_", "update_")
"""How the columns of a request begin; without `find:` there is one request, and no prefix."""

_KNOWN = {
    "event_id": "varchar",
    "key": "varchar",
    "change": "varchar",
    "snapshot_id": "bigint",
    "changed_at": "timestamptz",
    "ord": "bigint",
    "route": "varchar",
    "attempts": "integer",
    "first_at": "varchar",
    "error": "varchar",
} | {f"{step}{part}": "varchar" for step in STEPS for part in ("url", "headers", "body")}
_SIZE = "coalesce(greatest({}), 0)".format(", ".join(f"strlen({step}body)" for step in STEPS))
_DEFAULTS = {"route": "'request'", "attempts": "0"}

# Small groups, because a reader holds one of them in memory.
_ROWS_PER_GROUP = 8_192

_WRITE = """
    copy (
        select
            row_number() over ({order}) as seq,
            * exclude (error),
            {size} as size,
            {error} as error
        from ({columns})
    ) to {file} (format parquet, compression zstd, compression_level 1, row_group_size {rows})
"""
# Rows come in the order of sending as a rule, and are then numbered without being sorted.
_UNSORTED = """
    select 1
    from (
        select
            seq, ord, route,
            row_number() over () as place, lag(ord) over () as earlier, lag(route) over () as before
        from read_parquet({file})
    )
    where seq <> place or {disorder}
    limit 1
"""
_SORTING = {
    ChangeOrder.EACH: ("order by ord", "ord < earlier"),
    ChangeOrder.LAST: ("order by route desc, ord", "route > before"),
}
_COUNTS = """
    select
        count(*) as rows,
        count(error) as errors,
        coalesce(sum(size), 0)::bigint as bytes,
        coalesce(max(size), 0) as largest,
        count(distinct route) > 1 as is_mixed
    from read_parquet({file})
"""


@dataclass(frozen=True, slots=True)
class Meta:
    """What is known of an outbox as a whole. `details` are the sender's own."""

    id: str
    nonce: str
    order: ChangeOrder
    columns: tuple[str, ...]
    details: Mapping[str, Any]  # JSON
    rows: int
    errors: int
    bytes: int
    largest: int
    is_mixed: bool


@dataclass(frozen=True, slots=True)
class Outbox:
    """A complete outbox in its folder."""

    folder: Path
    meta: Meta

    @classmethod
    def create(
        cls,
        con: duckdb.DuckDBPyConnection,
        select: str,
        folder: Path,
        *,
        nonce: str,
        order: ChangeOrder = ChangeOrder.LAST,
        item_bytes: int | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Outbox:
        """Write the rows of a SELECT, and sync them to the disk; the folder's name is the id.

        The SELECT has event_id, key, change, snapshot_id, changed_at and ord, and of these what is
        not the same for all rows: route, url, headers (an object of JSON), body (of a batch: the
        item), each also with find_, create_ or update_; error (why the row cannot be sent); and of
        a change that was held before: attempts, first_at. A body above `item_bytes` is an error.
        """
        file = folder / "outbox.parquet"
        try:
            shutil.rmtree(folder, ignore_errors=True)
            private_files.make_folder(folder)
            columns, names = _columns(con, select)
            _write_rows(con, file, columns, order, item_bytes)
            private_files.make_private(file)
            disk.fsync(file)
            row = con.execute(_COUNTS.format(file=quote_text(str(file)))).fetchone() or ()
            counts = dict(zip(("rows", "errors", "bytes", "largest", "is_mixed"), row, strict=True))
            meta = Meta(folder.name, nonce, order, names, dict(details or {}), **counts)
            _write_meta(folder, meta)
        except OSError as error:
            raise CatalogError(f"{folder}: {disk.write_error(error)}") from error
        except duckdb.IOException as error:
            hint = disk.disk_hint(str(error))
            if hint is None:
                raise
            raise CatalogError(f"{folder}: {hint}; nothing was sent.") from error
        return cls(folder, meta)

    @classmethod
    def open(cls, folder: Path) -> Outbox:
        """Open a complete outbox. Raises CatalogError if its files cannot be read."""
        try:
            values = json.loads((folder / "meta.json").read_text())
            values["columns"] = tuple(values["columns"])
            values["order"] = ChangeOrder(values["order"])
            return cls(folder, Meta(**values))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CatalogError(
                f"{folder}: the outbox cannot be read ({error}). Remove this folder; its changes "
                "are then read from the lake again, and some may be sent twice."
            ) from error

    @property
    def id(self) -> str:
        """The id of the change set: the name of its folder."""
        return self.meta.id

    @property
    def rows(self) -> int:
        """The number of changes."""
        return self.meta.rows

    @property
    def file(self) -> Path:
        """The Parquet file of the changes."""
        return self.folder / "outbox.parquet"

    @property
    def relation(self) -> str:
        """The changes, as SQL after FROM."""
        return f"read_parquet({quote_text(str(self.file))})"

    @property
    def journal_file(self) -> Path:
        """The file of the journal."""
        return self.folder / "journal.jsonl"

    def settlements(self) -> journal.Settlements:
        """Return what came of the changes so far."""
        return journal.read(self.journal_file, self.rows)

    def remove(self) -> None:
        """Remove the outbox: `meta.json` first, so that a part of it is never taken for a whole."""
        (self.folder / "meta.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def pending(folder: Path) -> list[Outbox]:
    """Return the outboxes that earlier runs left in a destination's folder, the oldest first.

    An incomplete one is removed, because nothing of it was sent.
    """
    outboxes = []
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (place / "meta.json").exists():
            outboxes.append(Outbox.open(place))
        elif place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
    return outboxes


def _columns(con: duckdb.DuckDBPyConnection, select: str) -> tuple[str, tuple[str, ...]]:
    """Return the SELECT with all columns of an outbox, and the names of those that it has."""
    given = [row[0] for row in con.execute(f"describe {select}").fetchall()]
    unknown = [name for name in given if name not in _KNOWN]
    if unknown:
        raise ValueError(f"columns that an outbox does not have: {', '.join(unknown)}")
    parts = [
        f"{quote_name(name) if name in given else _DEFAULTS.get(name, 'null')}::{kind} as {name}"
        for name, kind in _KNOWN.items()
    ]
    return f"select {', '.join(parts)} from ({select})", tuple(given)


def _write_rows(
    con: duckdb.DuckDBPyConnection,
    file: Path,
    columns: str,
    order: ChangeOrder,
    item_bytes: int | None,
) -> None:
    """Write the numbered rows; once more, sorted, if they did not come in the order of sending."""
    sorting, disorder = _SORTING[order]
    for window in ("", sorting):
        con.execute(
            _WRITE.format(
                order=window,
                columns=columns,
                size=_SIZE,
                error=_error(item_bytes),
                file=quote_text(str(file)),
                rows=_ROWS_PER_GROUP,
            )
        )
        check = _UNSORTED.format(file=quote_text(str(file)), disorder=disorder)
        if con.execute(check).fetchone() is None:
            return


def _error(item_bytes: int | None) -> str:
    """Return SQL of why a row cannot be sent."""
    if item_bytes is None:
        return "error"
    text = f"the body has ' || {_SIZE} || ' bytes; at most {item_bytes} are taken"
    return f"coalesce(error, case when {_SIZE} > {item_bytes} then '{text}' end)"


def _write_meta(folder: Path, meta: Meta) -> None:
    temporary = folder / "meta.json.new"
    with private_files.open_file(temporary, "w") as file:
        json.dump(asdict(meta), file)
        file.flush()
        disk.sync(file.fileno())
    temporary.replace(folder / "meta.json")
    for place in (folder, folder.parent):
        disk.fsync(place)


def seq_list(ranges: Iterable[tuple[int, int]]) -> str:
    """Return SQL of the numbers of some ranges: a subquery of one column, `seq`."""
    values = ", ".join(f"({first}, {last})" for first, last in ranges) or "(1, 0)"
    return f"select unnest(range(first, last + 1)) as seq from (values {values}) as r (first, last)"
