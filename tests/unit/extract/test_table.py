"""What comes of a table whose view is lost, whatever the source: each row once, and an end."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from cdpsync.errors import ConnectError, ConnectorError, ViewLostError
from cdpsync.extract.table import ExtractHooks, extract
from cdpsync.extract.workers import Workers
from cdpsync.model import Column, Stream, SyncMode, TableName, TablePlan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cdpsync.connector import ReadRequest
    from cdpsync.extract.chunk_writer import SpoolFile

COLUMNS = (Column("i", "INTEGER"),)
PLAN = TablePlan(
    "shop", Stream("t", "t", COLUMNS), TableName("shop", "t"), SyncMode.FULL_TABLE, COLUMNS
)


@dataclass
class Part:
    """A row of the view that it is read in; the last one is lost with its view."""

    source: Flighty
    label: str
    view: int

    def relation(self, con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        if self.label == "last" and self.view <= self.source.losses:
            raise ViewLostError("the view is gone.")
        return con.sql(f"select {self.view} as i")


@dataclass
class Flighty:
    """A source whose first views are lost before their last chunk, and that confirms nothing."""

    losses: int
    parts: tuple[str, ...] = ("first", "second", "last")
    views: int = 0
    extensions: tuple[str, ...] = ()
    asked: list[ReadRequest] = field(default_factory=list)

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[list[Part]]:
        self.views += 1
        self.asked.append(request)
        yield [Part(self, label, self.views) for label in self.parts]

    def translate(self, _: Exception) -> ConnectorError | None:
        return None


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    pool = Workers(1, tmp_path / "spill")
    yield pool
    pool.close()


def told_of(source: Any, workers: Workers, folder: Path) -> tuple[list[int], set[str]]:
    """Return the rows that were read, and the files that were told of and not dropped."""
    told: list[SpoolFile] = []
    folder.mkdir()
    hooks = ExtractHooks(on_file=told.append, on_drop=told.remove)
    got = extract(PLAN, source, workers, folder, hooks=hooks)
    assert {one.path for one in got.files} == {one.path for one in told}
    files = [str(one.path) for one in got.files]
    rows = duckdb.sql("select i from read_parquet($files) order by 1", params={"files": files})
    return [row[0] for row in rows.fetchall()], {one.path.name for one in told}


def test_what_cannot_be_confirmed_is_read_again(workers: Workers, tmp_path: Path) -> None:
    """No file of the lost view stays among those that land."""
    source = Flighty(losses=1)
    rows, _ = told_of(source, workers, tmp_path / "spool")
    assert rows == [2, 2, 2]
    assert [chunk.label for chunk in source.asked[1].previous_chunks] == ["first", "second", "last"]


def test_view_that_is_lost_twice_in_vain_is_given_up(workers: Workers, tmp_path: Path) -> None:
    """Its own error is the table's."""
    source = Flighty(losses=9)
    with pytest.raises(ViewLostError):
        told_of(source, workers, tmp_path / "spool")
    assert source.views == 2


def test_stop_ends_the_waiting(workers: Workers, tmp_path: Path) -> None:
    """No further view is opened once the run is to stop."""

    @dataclass
    class Stopped(Flighty):
        @contextmanager
        def read(self, _: ReadRequest) -> Iterator[list[Part]]:
            self.views += 1
            workers.stopping.set()
            raise ConnectError("nobody is there.", retryable=True)
            yield []

    source = Stopped(losses=0)
    with pytest.raises(ConnectError, match="nobody"):
        told_of(source, workers, tmp_path / "spool")
    assert source.views == 1
