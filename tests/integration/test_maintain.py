"""Maintenance expires and merges; it removes no row, and no file of another project."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from cdpsync import engine, maintain, project
from cdpsync.catalog import system_tables
from cdpsync.maintain import orphans
from cdpsync.project import edit
from cdpsync.storage import open_storage
from cdpsync.system import locks
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Buckets
    from support.shop import Shop

    from cdpsync.model import MaintenanceStep

STORES = pytest.mark.parametrize("shop", ["folder", "s3", "gcs"], indirect=True)
CRASHED, LIVE, ENDED = (f"20200101T00000{i}Z-abcdef" for i in range(3))


def upkeep(shop: Shop, **options: bool) -> dict[str, MaintenanceStep]:
    return {step.step: step for step in maintain.maintain(project.load(shop.file), **options)}


def stored(shop: Shop) -> set[str]:
    """Return the names of the lake's files, as DuckDB lists them."""
    storage = open_storage(project.load(shop.file).warehouse)
    con = engine.connect(extensions=("httpfs",))
    storage.prepare(con)
    rows = con.execute("from glob(?)", [f"{storage.root}**"]).fetchall()
    con.close()
    storage.close()
    return {row[0].rsplit("/", 1)[-1] for row in rows}


@pytest.fixture
def files_to_compact(shop: Shop, monkeypatch, tmp_path: Path) -> Shop:
    """A lake of several small files, beside files of crashed, live and unknown runs."""
    monkeypatch.setattr(orphans, "GRACE", timedelta(0))
    shop.warehouse = {**shop.warehouse, "keep": "0s"}
    shop.pg.execute("create table orders (id int primary key, v int)")
    shop.configure({"public.orders": {"mode": "incremental", "cursor_field": "v"}})
    for number in range(4):
        shop.pg.execute(f"insert into orders select i, {number} from generate_series"
                        f"({number * 50 + 1}, {number * 50 + 50}) i")  # fmt: skip
        shop.pg.execute(f"update orders set v = {number} where id < 40")
        shop.one()
    config = project.load(shop.file)
    journal = project.journal_folder(config)
    assert list(journal.iterdir()) == []
    storage = open_storage(config.warehouse)
    piece = tmp_path / "piece.parquet"
    engine.connect().execute(f"copy (select 1 as id, 1 as v) to '{piece}'")
    for run_id in (CRASHED, LIVE, ENDED):
        storage.put(piece, f"shop/orders/{run_id}-00000.parquet")
    storage.put(piece, f"shop/gone/{CRASHED}-1-00001.parquet")
    storage.put(piece, "shop/orders/somebody's.parquet")
    storage.close()
    for run_id in (CRASHED, LIVE):
        (journal / run_id).touch()
    return shop


@STORES
def test_maintain_keeps_every_row_and_the_files_of_others(files_to_compact: Shop) -> None:
    """Small files are merged. Of files without a commit, only those of crashed runs are removed."""
    before = stored(files_to_compact)
    folder = project.locks_folder(project.load(files_to_compact.file))
    with locks.hold(folder, ["shop.other"], LIVE, "now"):
        assert set(upkeep(files_to_compact, dry_run=True)) == {"expire", "compact", "orphans"}
        assert stored(files_to_compact) == before
        steps = upkeep(files_to_compact)
    assert steps["orphans"].count == 2
    assert steps["expire"].count > 4
    assert steps["merge"].table == "shop.orders"
    files_to_compact.same()
    remaining = stored(files_to_compact)
    assert {name for name in remaining if "abcdef" in name or "somebody" in name} == {
        f"{LIVE}-00000.parquet", f"{ENDED}-00000.parquet", "somebody's.parquet",
    }  # fmt: skip
    steps = upkeep(files_to_compact)
    assert steps["orphans"].count == 1  # the live run has crashed by now
    assert steps["remove"].count  # no snapshot names the merged files any more
    assert len(stored(files_to_compact)) < len(before) - 2
    files_to_compact.pg.execute("insert into orders values (1000, 9)")
    assert files_to_compact.one().rows_inserted == 1
    files_to_compact.same()


def test_table_that_a_run_has_locked_is_not_compacted(files_to_compact: Shop) -> None:
    """Maintenance reports the table as in use, and does not wait."""
    folder = project.locks_folder(project.load(files_to_compact.file))
    with locks.hold(folder, ["shop.orders"], LIVE, "now"):
        steps = upkeep(files_to_compact)
    assert steps["in use"].table == "shop.orders"
    assert "merge" not in steps
    files_to_compact.same()


@pytest.mark.parametrize("shop", ["s3"], indirect=True)
def test_uploads_of_killed_processes_are_aborted(files_to_compact: Shop, s3: Buckets) -> None:
    """Only uploads of files named after this project's runs are aborted."""
    prefix = files_to_compact.warehouse["path"].removeprefix("s3://lake/")
    names = [f"{prefix}/shop/orders/{CRASHED}-00007.parquet", f"{prefix}/other.bin"]
    for name in names:
        s3.client().create_multipart_upload(Bucket="lake", Key=name)
    assert upkeep(files_to_compact, dry_run=True)["abort"].count == 1
    assert upkeep(files_to_compact)["abort"].count == 1
    uploads = s3.client().list_multipart_uploads(Bucket="lake").get("Uploads", [])
    left = [upload for upload in uploads if upload["Key"] in names]
    assert [upload["Key"] for upload in left] == names[1:]
    for upload in left:
        s3.client().abort_multipart_upload(
            Bucket="lake", Key=upload["Key"], UploadId=upload["UploadId"]
        )


def test_run_that_fails_to_commit_stays_in_the_journal(shop: Shop, monkeypatch) -> None:
    """The next maintenance removes its files. A run that succeeds leaves the journal."""
    shop.pg.execute("create table orders as select i as id from generate_series(1, 10) i")
    shop.configure(None)
    shop.one()
    journal = project.journal_folder(project.load(shop.file))
    assert list(journal.iterdir()) == []
    from cdpsync.catalog import Lake
    from cdpsync.errors import CatalogError

    def refused(*_: object) -> None:
        raise CatalogError("the catalog refused the commit")

    shop.pg.execute("insert into orders values (11)")
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "_apply", refused)
        (failed,) = shop.run().tables
    assert failed.error.type == "CatalogError"
    assert len(list(journal.iterdir())) == 1
    assert upkeep(shop)["orphans"].count == 1
    assert list(journal.iterdir()) == []
    shop.one()
    shop.same("*", "public.orders")


def test_system_tables_of_many_runs_stay_small(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Superseded cursors are removed, and records of old runs without changes.

    The current cursors, the runs with changes and each table's last run stay.
    """
    monkeypatch.setattr(system_tables, "_MIN_SUPERSEDED", 3)
    shop.warehouse = {**shop.warehouse, "keep": "0s"}
    shop.pg.execute("create table orders as select 1 as id")
    shop.configure({"public.orders": {"mode": "append_only", "cursor_field": "id"}})
    shop.one()
    config = project.load(shop.file)
    assert "books" not in upkeep(shop)
    for number in range(4):
        shop.pg.execute(f"insert into orders values ({number + 2})")
        shop.one()
        shop.one()
    before, history = edit.cursors(config), project.history(config)
    assert upkeep(shop, dry_run=True)["books"].count == 4 + 3
    assert upkeep(shop)["books"].count == 4 + 3
    assert edit.cursors(config) == before
    with_changes = [record for record in history[1:] if record.result.rows_inserted]
    assert len(with_changes) == 1 + 4
    assert project.history(config) == (history[0], *with_changes)
    assert "books" not in upkeep(shop)
    shop.pg.execute("insert into orders values (8)")
    assert shop.one().rows_inserted == 1
    shop.same()


def test_half_written_deletes_file_does_not_stop_maintain(shop: Shop, monkeypatch) -> None:
    """A file that a killed run left is removed once it is too old to be still written."""
    shop.pg.execute("create table orders as select i as id from generate_series(1, 10) i")
    shop.configure(None)
    shop.run()
    torn = shop.folder / "warehouse/shop/orders/ducklake-01900000-0000-7000-8000-0-delete.parquet"
    torn.write_bytes(b"PAR1half")
    (shop.folder / ".cdpsync/runs/20240101T000000Z-abcdef").touch()
    config = project.load(shop.file)
    monkeypatch.setattr(orphans, "GRACE", timedelta(days=36500))
    assert [step.count for step in maintain.maintain(config) if step.step == "orphans"] == []
    assert torn.exists()
    monkeypatch.setattr(orphans, "GRACE", timedelta())
    assert [step.count for step in maintain.maintain(config) if step.step == "orphans"] == [1]
    assert not torn.exists()
    shop.same("id")


def test_verify_cache_of_a_dropped_table_is_removed(shop: Shop) -> None:
    """`delete` removes the cache; maintenance removes it for tables that were dropped otherwise."""
    for name in ("kept", "left", "dropped"):
        shop.pg.execute(f'create table "{name}" as select i as id from generate_series(1, 9) i')
        shop.pg.execute(f'alter table "{name}" add primary key (id)')
    shop.configure(None)
    shop.run()
    verify(shop.file)
    config = project.load(shop.file)
    folder = project.verified_folder(config)
    assert {cache.name for cache in folder.glob("*/*")} == {"kept", "left", "dropped"}
    edit.delete(config, ["shop.dropped"])
    assert {cache.name for cache in folder.glob("*/*")} == {"kept", "left"}
    with project.catalog_of(config).writer() as con:
        con.execute("drop table lake.shop.left")
    assert upkeep(shop, dry_run=True)["verified"].count == 1
    assert upkeep(shop)["verified"].count == 1
    assert {cache.name for cache in folder.glob("*/*")} == {"kept"}
    assert "verified" not in upkeep(shop)
