"""The steps of `cdpsync maintain`: prune, expire, compact, and remove unneeded files."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from cdpsync import engine, project
from cdpsync.catalog import Lake, ducklake, transaction
from cdpsync.catalog.delivery_tables import DeliveryTables
from cdpsync.engine import first_line, with_less_memory
from cdpsync.errors import CatalogError, CdpsyncError, LockHeldError
from cdpsync.maintain import orphans
from cdpsync.maintain.pins import expiry_limit
from cdpsync.maintain.publish import publish
from cdpsync.model import Failure, MaintenanceStep
from cdpsync.storage import open_storage
from cdpsync.system import clock, disk, locks
from cdpsync.system.memory import memory_budget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    import duckdb

    from cdpsync.catalog import CatalogFile
    from cdpsync.model import Config, TableName

log = logging.getLogger("cdpsync.maintain")

_EXPIRY_INTERVAL = timedelta(days=1)  # between two runs that expire snapshots

_DELETED_SHARE = 0.5  # of a file's rows; above it, the file is rewritten without them


def maintain(config: Config, *, dry_run: bool = False) -> tuple[MaintenanceStep, ...]:
    """Keep a lake small and fast; return what was done, or with `dry_run`, what would be done.

    Tables that a run has locked are not compacted. A table whose files cannot be rewritten is a
    step "failed", and does not stop the others. Raises CatalogError, LandingError.
    """
    storage = open_storage(config.warehouse)
    memory = memory_budget(config.warehouse.memory).total  # because nothing else runs here
    catalog = replace(project.catalog_of(config, storage), memory=memory)
    if not catalog.exists():
        raise CatalogError(f"{catalog.path}: there is no lake yet. Load it: cdpsync run.")
    locks_folder = project.locks_folder(config)
    now, keep = clock.now(), config.warehouse.keep
    try:
        steps = [
            _prune_system_tables(catalog, now, keep, dry_run),
            _expire_snapshots(catalog, now - keep, dry_run),
            *_compact_tables(catalog, locks_folder, dry_run),
            _remove_expired_files(catalog, now - orphans.GRACE, dry_run),
            *orphans.remove_crashed_runs(config, catalog, storage, dry_run),
            _remove_verify_caches(config, catalog, dry_run),
        ]
        if config.warehouse.publish and not dry_run:
            publish(catalog, storage, locks_folder, "maintenance")
    finally:
        storage.close()
    return tuple(step for step in steps if step.count)


def expiry_is_due(lake: Lake, keep: timedelta) -> bool:
    """Whether the lake has a snapshot that should have expired a day ago or earlier."""
    oldest = lake.oldest_snapshot()
    return oldest is not None and oldest < clock.now() - keep - _EXPIRY_INTERVAL


def expire(catalog: CatalogFile, keep: timedelta) -> None:
    """Expire old snapshots and run records, and remove the files that only they named.

    A run does this about once a day, because nobody may run `maintain`. A failure is a warning.
    """
    now = clock.now()
    try:
        _prune_system_tables(catalog, now, keep, dry_run=False)
        _expire_snapshots(catalog, now - keep, dry_run=False)
        _remove_expired_files(catalog, now - orphans.GRACE, dry_run=False)
    except CdpsyncError as error:
        log.warning("old snapshots were not expired: %s", error.message)


def _prune_system_tables(
    catalog: CatalogFile, now: datetime, keep: timedelta, dry_run: bool
) -> MaintenanceStep:
    with catalog.writer(data=False) as con:
        rows = Lake(con).system_tables.prune(now, keep, dry_run=dry_run)
        rows += DeliveryTables(con).prune(now, dry_run=dry_run)
    return MaintenanceStep("books", None, rows)


def _expire_snapshots(catalog: CatalogFile, older_than: datetime, dry_run: bool) -> MaintenanceStep:
    with catalog.writer() as con:
        limit = expiry_limit(con, older_than, clock.now())
        snapshots = ducklake.expire_snapshots(con, limit, dry_run=dry_run)
    return MaintenanceStep("expire", None, snapshots)


def _remove_expired_files(
    catalog: CatalogFile, older_than: datetime, dry_run: bool
) -> MaintenanceStep:
    with catalog.writer() as con:
        files = ducklake.remove_expired_files(con, older_than, dry_run=dry_run)
    return MaintenanceStep("remove", None, files)


def _compact_tables(
    catalog: CatalogFile, locks_folder: Path, dry_run: bool
) -> Iterator[MaintenanceStep]:
    """Rewrite files most of whose rows are deleted, and merge small files, table by table.

    A table whose rows do not fit into memory is left as it is, with a warning.
    """
    with catalog.reader(data=False) as con:
        tables = ducklake.tables_to_rewrite(con)
    for table in tables:
        try:
            since = clock.now().isoformat(timespec="seconds")
            with (
                locks.hold(locks_folder, [str(table)], "maintenance", since, upkeep=True),
                catalog.writer() as con,
            ):
                if dry_run:
                    files = ducklake.count_files(con, table)  # a single file stays as it is
                    yield MaintenanceStep("compact", str(table), files if files > 1 else 0)
                    continue
                for name, task in (("rewrite", _rewrite), ("merge", _merge)):
                    files = _compact(con, table, task)
                    yield MaintenanceStep(name, str(table), files)
        except LockHeldError:
            yield MaintenanceStep("in use", str(table), 1)
        except CatalogError as error:
            yield MaintenanceStep("failed", str(table), 1, Failure.of(error))


def _compact(
    con: duckdb.DuckDBPyConnection,
    table: TableName,
    task: Callable[[duckdb.DuckDBPyConnection, TableName], int],
) -> int:
    """Return how many files of a table were rewritten. Raises CatalogError that names the table."""
    import duckdb

    try:
        return with_less_memory(con, partial(task, con, table))
    except duckdb.OutOfMemoryException as error:
        log.warning("%s: its files stay as they are: %s.", table, first_line(error))
        return 0
    except duckdb.Error as error:
        message = first_line(error)
        advice = engine.retyped_advice(message, table) or disk.disk_hint(message) or "Run it again"
        raise CatalogError(
            f"{table}: its files could not be rewritten ({message}). {advice}."
        ) from error


def _rewrite(con: duckdb.DuckDBPyConnection, table: TableName) -> int:
    with transaction(con, f"maintain: {table}", table):
        return ducklake.rewrite_data_files(con, table, _DELETED_SHARE)


def _merge(con: duckdb.DuckDBPyConnection, table: TableName) -> int:
    with transaction(con, f"maintain: {table}", table):
        return ducklake.merge_adjacent_files(con, table)


def _remove_verify_caches(config: Config, catalog: CatalogFile, dry_run: bool) -> MaintenanceStep:
    """Remove the caches of `verify` for tables that the lake no longer has."""
    with catalog.reader(data=False) as con:
        needed = {project.verified_folder(config, table) for table in Lake(con).tables()}
    caches = project.verified_folder(config).glob("*/*")
    unneeded = [cache for cache in caches if cache not in needed]
    if not dry_run:
        for cache in unneeded:
            shutil.rmtree(cache, ignore_errors=True)
    return MaintenanceStep("verified", None, len(unneeded))
