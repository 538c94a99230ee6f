"""How a catalog comes to be: whole, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.catalog import CatalogFile, Lake

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def _catalog(folder: Path) -> CatalogFile:
    return CatalogFile(folder / "here/catalog.ducklake", f"{folder}/data/")


def test_catalog_has_its_name_once_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks at it meanwhile sees none."""
    catalog, name, seen = _catalog(tmp_path), CatalogFile._rename, []

    def look(self: CatalogFile, draft: Path) -> None:
        seen.append(catalog.exists())
        name(self, draft)

    monkeypatch.setattr(CatalogFile, "_rename", look)
    with catalog.writer() as con:
        Lake(con).system_tables.prepare()
    assert seen == [False]
    assert catalog.path.stat().st_mode & 0o777 == 0o600
    with catalog.reader() as con:
        assert Lake(con).state().saved_states == ()


def test_catalog_that_another_made_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold tables already; the draft is dropped."""
    catalog, name = _catalog(tmp_path), CatalogFile._rename

    def late(self: CatalogFile, draft: Path) -> None:
        monkeypatch.setattr(CatalogFile, "_rename", name)
        with CatalogFile(catalog.path, catalog.data_path).writer() as other:
            other.execute("create schema lake.theirs")
        name(self, draft)

    monkeypatch.setattr(CatalogFile, "_rename", late)
    with catalog.writer() as con:
        found = con.execute("select 1 from duckdb_schemas() where schema_name = 'theirs'")
        assert found.fetchone()


def test_log_of_a_catalog_that_was_moved_away_is_not_taken_for_its_own(tmp_path: Path) -> None:
    """A run that died in its commit left it; the way out that the message names must be one."""
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
