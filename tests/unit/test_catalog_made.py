"""How a catalog comes to be: whole, or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from cdpsync.catalog import CatalogFile, Lake, file

if TYPE_CHECKING:
    from pathlib import Path


def _catalog(folder: Path) -> CatalogFile:
    return CatalogFile(folder / "here/catalog.ducklake", f"{folder}/data/")


@pytest.mark.parametrize("links", [True, False])
def test_catalog_has_its_name_once_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Whoever looks at it meanwhile sees none; also where the filesystem knows no links."""
    catalog, name, seen = _catalog(tmp_path), file._name, []

    def look(draft: Path, path: Path) -> None:
        seen.append(catalog.exists())
        name(draft, path)

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(file, "_name", look)
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    with catalog.writer() as con:
        Lake(con).books.prepare()
    assert seen == [False]
    assert catalog.path.stat().st_mode & 0o777 == 0o600
    with catalog.reader() as con:
        assert Lake(con).recorded().cursors == ()


def test_catalog_that_another_made_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold tables already; the draft is dropped."""
    catalog, name = _catalog(tmp_path), file._name

    def late(draft: Path, path: Path) -> None:
        monkeypatch.setattr(file, "_name", name)
        with CatalogFile(catalog.path, catalog.data_path).writer() as other:
            other.execute("create schema lake.theirs")
        name(draft, path)

    monkeypatch.setattr(file, "_name", late)
    with catalog.writer() as con:
        found = con.execute("select 1 from duckdb_schemas() where schema_name = 'theirs'")
        assert found.fetchone()
