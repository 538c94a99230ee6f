"""Upkeep of a lake: what is old expires, small files are merged, and crashed runs leave nothing."""

from __future__ import annotations

import logging
import re
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cdpsync import project
from cdpsync.catalog import Lake, ducklake, transaction
from cdpsync.errors import CatalogError, CdpsyncError, LockHeldError
from cdpsync.maintain.publish import publish
from cdpsync.model import MaintenanceStep
from cdpsync.project.journal import crashed_runs, run_of
from cdpsync.storage import open_storage
from cdpsync.system import clock, locks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

    from cdpsync.catalog import CatalogFile
    from cdpsync.model import Config
    from cdpsync.storage import Storage

log = logging.getLogger("cdpsync.maintain")

GRACE = timedelta(days=1)
"""How long files that no snapshot names stay, for questions that are still being answered."""

_OFTEN = timedelta(days=1)  # between two times that a run lets go of what is old

_DELETED_SHARE = 0.5  # of a file's rows; then it is written anew without them
_OF_DUCKLAKE = re.compile(r"ducklake-([0-9a-f]{8}-[0-9a-f]{4})-7[0-9a-f-]+-delete\.parquet$")


def maintain(config: Config, *, dry_run: bool = False) -> tuple[MaintenanceStep, ...]:
    """Do what keeps a lake small and fast; return what was done, or would be.

    Tables that a run is at work on are left alone. Raises CatalogError, LandingError.
    """
    storage = open_storage(config.warehouse)
    catalog = project.catalog_of(config, storage)
    if not catalog.exists():
        raise CatalogError(f"{catalog.path}: there is no lake yet. Load it: cdpsync run.")
    folder = project.locks_folder(config)
    now, keep = clock.now(), config.warehouse.keep
    try:
        chores = [
            _tidy(catalog, now, keep, dry_run),
            _expire(catalog, now - keep, dry_run),
            *_compact(catalog, folder, dry_run),
            _remove(catalog, now - GRACE, dry_run),
            *_remove_what_is_dead(config, catalog, storage, dry_run),
            _forget_verified(config, catalog, dry_run),
        ]
        if config.warehouse.publish and not dry_run:
            publish(catalog, storage, folder, "maintenance")
    finally:
        storage.close()
    return tuple(chore for chore in chores if chore.count)


def expiry_is_due(lake: Lake, keep: timedelta) -> bool:
    """Whether there are states of the lake older than they are kept, for a day or more."""
    oldest = lake.oldest_snapshot()
    return oldest is not None and oldest < clock.now() - keep - _OFTEN


def expire(catalog: CatalogFile, keep: timedelta) -> None:
    """Let go of what is older than it is kept: the part of upkeep that no run has to wait for.

    A run does it about once a day, so that its lake stays small where nobody maintains it; nothing
    hangs on it, so that a failure is a warning.
    """
    now = clock.now()
    try:
        _tidy(catalog, now, keep, dry_run=False)
        _expire(catalog, now - keep, dry_run=False)
        _remove(catalog, now - GRACE, dry_run=False)
    except CdpsyncError as error:
        log.warning("what is old stays for now: %s", error.message)


def _tidy(catalog: CatalogFile, now: datetime, keep: timedelta, dry_run: bool) -> MaintenanceStep:
    with catalog.writer(data=False) as con:
        return MaintenanceStep(
            "books", None, Lake(con).system_tables.prune(now, keep, dry_run=dry_run)
        )


def _expire(catalog: CatalogFile, older_than: datetime, dry_run: bool) -> MaintenanceStep:
    with catalog.writer() as con:
        snapshots = ducklake.expire_snapshots(con, older_than, dry_run=dry_run)
    return MaintenanceStep("expire", None, snapshots)


def _remove(catalog: CatalogFile, older_than: datetime, dry_run: bool) -> MaintenanceStep:
    with catalog.writer() as con:
        files = ducklake.remove_expired_files(con, older_than, dry_run=dry_run)
    return MaintenanceStep("remove", None, files)


def _compact(catalog: CatalogFile, folder: Path, dry_run: bool) -> Iterator[MaintenanceStep]:
    """Rewrite files most of whose rows were deleted, and merge small neighbours, table by table."""
    with catalog.reader(data=False) as con:
        tables = ducklake.tables_to_rewrite(con)
    for table in tables:
        try:
            since = clock.now().isoformat(timespec="seconds")
            with (
                locks.hold(folder, [str(table)], "maintenance", since, upkeep=True),
                catalog.writer() as con,
            ):
                if dry_run:
                    files = ducklake.count_files(con, table)  # one alone is left as it is
                    yield MaintenanceStep("compact", str(table), files if files > 1 else 0)
                    continue
                with transaction(con, f"maintain: {table}", table):
                    files = ducklake.rewrite_data_files(con, table, _DELETED_SHARE)
                yield MaintenanceStep("rewrite", str(table), files)
                with transaction(con, f"maintain: {table}", table):
                    files = ducklake.merge_adjacent_files(con, table)
                yield MaintenanceStep("merge", str(table), files)
        except LockHeldError:
            yield MaintenanceStep("in use", str(table), 1)


def _forget_verified(config: Config, catalog: CatalogFile, dry_run: bool) -> MaintenanceStep:
    """Remove what `verify` knew of tables that the lake has no more."""
    with catalog.reader(data=False) as con:
        held = {project.verified_folder(config, table) for table in Lake(con).tables()}
    gone = [one for one in project.verified_folder(config).glob("*/*") if one not in held]
    if not dry_run:
        for folder in gone:
            shutil.rmtree(folder, ignore_errors=True)
    return MaintenanceStep("verified", None, len(gone))


def _remove_what_is_dead(
    config: Config, catalog: CatalogFile, storage: Storage, dry_run: bool
) -> Iterator[MaintenanceStep]:
    """Remove the files, whole and half, of runs that this project began and that died."""
    dead = crashed_runs(config)  # who is dead commits no more
    old = clock.now() - GRACE

    def is_over(name: str, since: datetime) -> bool:
        ours = run_of(name)
        return ours is not None and (ours in dead or since < old)

    yield MaintenanceStep("abort", None, storage.abort_uploads(is_over, dry_run=dry_run))
    undecided = False
    if dead:
        chore, undecided = _remove_orphans(dead, catalog, storage, dry_run)
        yield chore
    if not dry_run and not undecided:
        for run_id in dead:
            (project.journal_folder(config) / run_id).unlink(missing_ok=True)


def _deletes_from_lake(con: duckdb.DuckDBPyConnection, path: str, root: str) -> bool | None:
    """Whether a file of deleted rows, as DuckLake writes it before its commit, is of this lake.

    It names the data file whose rows it deletes, and that one tells whose it is. One that was left
    half written tells nothing (None); nobody writes it any more when it is as old as the grace.
    """
    import duckdb

    try:
        return ducklake.deletes_only_from_lake(con, path, root)
    except duckdb.Error:
        begun = _begun(path)
        return True if begun is not None and begun < clock.now() - GRACE else None


def _begun(path: str) -> datetime | None:
    """Return when DuckLake began a file, whose name is a UUID of version 7."""
    name = _OF_DUCKLAKE.search(path)
    if name is None:
        return None
    return datetime.fromtimestamp(int(name[1].replace("-", ""), 16) / 1000, UTC)


def _remove_orphans(
    dead: set[str], catalog: CatalogFile, storage: Storage, dry_run: bool
) -> tuple[MaintenanceStep, bool]:
    """Remove the files of these runs that no commit names; tell whether some are not decided on.

    Never another's: two projects may have chosen the same place by mistake.
    """
    with catalog.writer() as con:
        stray = [path for path in ducklake.orphaned_files(con) if path.startswith(storage.root)]
        of_runs = [path for path in stray if run_of(path) in dead]
        deletions = [path for path in stray if path.endswith("-delete.parquet")]
        whose = {path: _deletes_from_lake(con, path, storage.root) for path in deletions}
        ours = [*of_runs, *(path for path, is_ours in whose.items() if is_ours)]
    found = [path.removeprefix(storage.root) for path in ours]
    if not dry_run:
        for name in found:
            storage.remove(name)
    return MaintenanceStep("orphans", None, len(found)), None in whose.values()
