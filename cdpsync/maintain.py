"""Upkeep of a lake: what is old expires, small files are merged, and crashed runs leave nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cdpsync import locks, project
from cdpsync.catalog import Lake
from cdpsync.errors import CatalogError, LockHeldError
from cdpsync.model import Chore
from cdpsync.publish import publish
from cdpsync.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

    from cdpsync.catalog import CatalogFile
    from cdpsync.model import Config, TableName
    from cdpsync.storage import Storage

GRACE = timedelta(days=1)
"""How long files that no snapshot names stay, for questions that are still being answered."""

_DELETED_SHARE = 0.5  # of a file's rows; then it is written anew without them
_STEPS = (
    ("rewrite", "ducklake_rewrite_data_files", f", delete_threshold => {_DELETED_SHARE}"),
    ("merge", "ducklake_merge_adjacent_files", ""),
)
_OF_A_RUN = re.compile(r"(\d{8}T\d{6}Z-[0-9a-f]{6})(?:-\d+)?-\d{5}\.parquet")


def maintain(config: Config, *, dry_run: bool = False) -> tuple[Chore, ...]:
    """Do what keeps a lake small and fast; return what was done, or would be.

    Tables that a run is at work on are left alone. Raises CatalogError, LandingError.
    """
    storage = open_storage(config.warehouse)
    catalog = project.catalog_of(config, storage)
    if not catalog.exists():
        raise CatalogError(f"{catalog.path}: there is no lake yet. Load it: cdpsync run.")
    folder = project.locks_folder(config)
    now, keep = datetime.now(UTC), config.warehouse.keep
    try:
        chores = [
            _call(catalog, "expire", "ducklake_expire_snapshots", now - keep, dry_run),
            *_compact(catalog, folder, dry_run),
            _call(catalog, "remove", "ducklake_cleanup_old_files", now - GRACE, dry_run),
            _remove_orphans(config, catalog, storage, dry_run),
            Chore("abort", None, storage.abort_uploads(now - GRACE, _OF_A_RUN, dry_run=dry_run)),
        ]
        if config.warehouse.publish and not dry_run:
            publish(catalog, storage, folder, "maintenance")
    finally:
        storage.close()
    return tuple(chore for chore in chores if chore.count)


def _call(
    catalog: CatalogFile, step: str, function: str, older_than: datetime, dry_run: bool
) -> Chore:
    with catalog.writer() as con:
        rows = con.execute(
            f"call {function}('lake', dry_run => ?, older_than => ?)", [dry_run, older_than]
        ).fetchall()
    return Chore(step, None, len(rows))


def _compact(catalog: CatalogFile, folder: Path, dry_run: bool) -> Iterator[Chore]:
    """Rewrite files most of whose rows were deleted, and merge small neighbours, table by table."""
    with catalog.reader(data=False) as con:
        tables = Lake(con).tables()
    for table in tables:
        try:
            with locks.hold(folder, [str(table)], "maintenance", "now"), catalog.writer() as con:
                if dry_run:
                    yield Chore("compact", str(table), _files(con, table))
                    continue
                for step, function, more in _STEPS:
                    rows = con.execute(
                        f"call {function}('lake', ?, schema => ?{more})", [table.name, table.schema]
                    ).fetchall()
                    yield Chore(step, str(table), sum(row[2] for row in rows))
        except LockHeldError:
            yield Chore("in use", str(table), 1)


def _files(con: duckdb.DuckDBPyConnection, table: TableName) -> int:
    """Count the files that compacting a table would look at; one alone is left as it is."""
    rows = con.execute(
        "select data_file from ducklake_list_files('lake', ?, schema => ?)",
        [table.name, table.schema],
    ).fetchall()
    return len(rows) if len(rows) > 1 else 0


def _remove_orphans(config: Config, catalog: CatalogFile, storage: Storage, dry_run: bool) -> Chore:
    """Remove the files of runs that this project began and that died before they ended.

    Never another's: two projects may have chosen the same place by mistake.
    """
    journal = project.journal_folder(config)
    begun = {entry.name for entry in journal.iterdir()} if journal.exists() else set()
    dead = begun - locks.live_runs(project.locks_folder(config))  # who is dead commits no more
    if not dead:
        return Chore("orphans", None, 0)
    with catalog.writer() as con:
        rows = con.execute(
            "call ducklake_delete_orphaned_files('lake', dry_run => true, cleanup_all => true)"
        ).fetchall()
    found = []
    for (path,) in rows:
        name = _OF_A_RUN.fullmatch(path.rsplit("/", 1)[-1])
        if name and name[1] in dead and path.startswith(storage.root):
            found.append(path.removeprefix(storage.root))
    if not dry_run:
        for name in found:
            storage.remove(name)
        for run_id in dead:
            (journal / run_id).unlink(missing_ok=True)
    return Chore("orphans", None, len(found))
