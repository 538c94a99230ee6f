"""Removes the files, uploads and journal entries that crashed runs left."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cdpsync import project
from cdpsync.catalog import ducklake
from cdpsync.model import MaintenanceStep
from cdpsync.project.journal import crashed_runs, run_of
from cdpsync.system import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from cdpsync.catalog import CatalogFile
    from cdpsync.model import Config
    from cdpsync.storage import Storage

GRACE = timedelta(days=1)
"""How long files that no snapshot names are kept, because a query may still read them."""

_DELETES_FILE = re.compile(r"ducklake-([0-9a-f]{8}-[0-9a-f]{4})-7[0-9a-f-]+-delete\.parquet$")


def remove_crashed_runs(
    config: Config, catalog: CatalogFile, storage: Storage, dry_run: bool
) -> Iterator[MaintenanceStep]:
    """Remove the files and unfinished uploads of this project's runs that crashed."""
    crashed = crashed_runs(config)  # they commit nothing any more
    oldest_kept = clock.now() - GRACE

    def is_abandoned(name: str, started_at: datetime) -> bool:
        run_id = run_of(name)
        return run_id is not None and (run_id in crashed or started_at < oldest_kept)

    yield MaintenanceStep("abort", None, storage.abort_uploads(is_abandoned, dry_run=dry_run))
    has_undecided = False
    if crashed:
        step, has_undecided = _remove_orphans(crashed, catalog, storage, dry_run)
        yield step
    if not dry_run and not has_undecided:
        for run_id in crashed:
            (project.journal_folder(config) / run_id).unlink(missing_ok=True)


def _remove_orphans(
    crashed: set[str], catalog: CatalogFile, storage: Storage, dry_run: bool
) -> tuple[MaintenanceStep, bool]:
    """Remove the files of crashed runs that no commit names; return whether any is undecided.

    Other files are never removed, because two projects may share a warehouse path by mistake.
    """
    with catalog.writer() as con:
        unnamed = [path for path in ducklake.orphaned_files(con) if path.startswith(storage.root)]
        orphans = [path for path in unnamed if run_of(path) in crashed]
        verdicts = {
            path: _is_deletes_file_of_lake(con, path, storage.root)
            for path in unnamed
            if path.endswith("-delete.parquet")
        }
        orphans += [path for path, is_of_lake in verdicts.items() if is_of_lake]
    if not dry_run:
        for path in orphans:
            storage.remove(path.removeprefix(storage.root))
    return MaintenanceStep("orphans", None, len(orphans)), None in verdicts.values()


def _is_deletes_file_of_lake(con: duckdb.DuckDBPyConnection, path: str, root: str) -> bool | None:
    """Whether a deletes file, which DuckLake writes before its commit, belongs to this lake.

    Its name has no run id, but its rows name the data file whose rows it deletes. A file that was
    half written names none: None, until it is older than the grace period, because then nobody
    is writing it any more.
    """
    import duckdb

    try:
        return ducklake.deletes_only_from_lake(con, path, root)
    except duckdb.Error:
        created_at = _created_at(path)
        return True if created_at is not None and created_at < clock.now() - GRACE else None


def _created_at(path: str) -> datetime | None:
    """Return when DuckLake created a deletes file, whose name is a UUID of version 7."""
    match = _DELETES_FILE.search(path)
    if match is None:
        return None
    return datetime.fromtimestamp(int(match[1].replace("-", ""), 16) / 1000, UTC)
