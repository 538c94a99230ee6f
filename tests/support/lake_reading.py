"""Queries of a lake by a test: the last reader is used again until the lake has changed."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdpsync import project
from cdpsync.catalog.query import run_query

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from cdpsync.catalog import CatalogFile


@dataclass(frozen=True)
class _Reader:
    """An open copy of a catalog, of this project and this version."""

    of: tuple[object, ...]
    con: duckdb.DuckDBPyConnection
    end: ExitStack


_kept: list[_Reader] = []  # at most one, while no query uses it


def lake_rows(sql: str, file: Path) -> list[tuple[Any, ...]]:
    """Return the rows of a query of a project's lake.

    Unlike `cdpsync.query` it uses a connection again, and an attached catalog if it has not changed
    since, because most of a small query's time is the attaching.
    """
    with lake_reader(file) as con:
        return list(run_query(con, sql).rows())


@contextmanager
def lake_reader(file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Lend a reader of a project's lake as it is now."""
    catalog = project.catalog_of(project.load(file))
    if "://" in catalog.data_path or not catalog.exists():
        with catalog.reader() as con:
            yield con
        return
    of = catalog.path, catalog.data_path, catalog.version(), file.read_bytes()
    reader = _kept.pop() if _kept else None
    if reader is None or reader.of != of:
        if reader is not None:
            reader.end.close()
        reader = _opened(catalog, of)
    with reader.end as at_failure:
        yield reader.con
        reader = _Reader(of, reader.con, at_failure.pop_all())
    close()  # another thread's
    _kept.append(reader)


def _opened(catalog: CatalogFile, of: tuple[object, ...]) -> _Reader:
    """Open a copy beside the project, in which no file of it is seen."""
    with ExitStack() as end:
        folder = Path(tempfile.mkdtemp())
        end.callback(shutil.rmtree, folder)
        copy = folder / "catalog.ducklake"
        catalog._copy_to(copy)
        con = end.enter_context(catalog._connection(folder / "spill"))
        catalog._relocate(con, copy)
        catalog._attach(con, copy, ["read_only"])
        return _Reader(of, con, end.pop_all())


def close() -> None:
    """Close the reader that is kept."""
    while _kept:
        _kept.pop().end.close()
