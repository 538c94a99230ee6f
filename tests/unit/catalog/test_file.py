"""The creation of the catalog file, as a whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.catalog import CatalogFile, Lake

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def _catalog(folder: Path) -> CatalogFile:
    return CatalogFile(folder / "here/catalog.ducklake", f"{folder}/data/")


def test_catalog_gets_its_name_when_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other processes see no catalog before."""
    catalog, rename = _catalog(tmp_path), CatalogFile._rename
    existed_before: list[bool] = []

    def observed_rename(self: CatalogFile, draft: Path) -> None:
        existed_before.append(catalog.exists())
        rename(self, draft)

    monkeypatch.setattr(CatalogFile, "_rename", observed_rename)
    with catalog.writer() as con:
        Lake(con).system_tables.prepare()
    assert existed_before == [False]
    assert catalog.path.stat().st_mode & 0o777 == 0o600
    with catalog.reader() as con:
        assert Lake(con).state().saved_states == ()


def test_catalog_that_another_process_creates_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have tables already, so the draft is dropped."""
    catalog, rename = _catalog(tmp_path), CatalogFile._rename

    def late_rename(self: CatalogFile, draft: Path) -> None:
        monkeypatch.setattr(CatalogFile, "_rename", rename)
        with CatalogFile(catalog.path, catalog.data_path).writer() as other_con:
            other_con.execute("create schema lake.theirs")
        rename(self, draft)

    monkeypatch.setattr(CatalogFile, "_rename", late_rename)
    with catalog.writer() as con:
        rows = con.execute("select 1 from duckdb_schemas() where schema_name = 'theirs'")
        assert rows.fetchone()


def test_new_catalog_does_not_use_the_log_of_one_that_was_moved_away(tmp_path: Path) -> None:
    """A crash may leave a log; moving the catalog away must help, as the message says."""
    catalog = _catalog(tmp_path)
    with catalog.writer() as con:
        Lake(con).system_tables.prepare()
    catalog.path.rename(tmp_path / "moved")
    catalog.path.with_name(catalog.path.name + ".wal").write_bytes(
        (tmp_path / "moved").read_bytes()
    )
    with catalog.writer() as con:
        con.execute("create schema lake.anew")
    with catalog.reader() as con:
        assert con.execute("select 1 from duckdb_schemas() where schema_name = 'anew'").fetchone()


def test_connection_is_lent_again_with_all_threads(tmp_path: Path) -> None:
    """Whatever its last borrower chose for small queries."""
    catalog = _catalog(tmp_path)
    threads = "select current_setting('threads')"
    with catalog.writer() as con:
        Lake(con).system_tables.prepare()
        before = con.execute(threads).fetchone()
    with catalog.reader() as con:
        con.execute("set threads = 7")
    with catalog.reader() as con:
        assert con.execute(threads).fetchone() == before != (7,)
