"""Reads whose snapshot is lost, whatever the source: each row arrives once, and the read ends."""

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
class NumberedChunk:
    """One row, the number of its snapshot; the chunk `last` fails in a snapshot that is lost."""

    source: LossySource
    label: str
    snapshot: int

    def relation(self, con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        if self.label == "last" and self.snapshot <= self.source.losses:
            raise ViewLostError("the view is gone.")
        return con.sql(f"select {self.snapshot} as i")


@dataclass
class LossySource:
    """A source that loses its first snapshots before their last chunk; no chunk is versioned."""

    losses: int
    labels: tuple[str, ...] = ("first", "second", "last")
    snapshots: int = 0
    extensions: tuple[str, ...] = ()
    requests: list[ReadRequest] = field(default_factory=list)

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[list[NumberedChunk]]:
        self.snapshots += 1
        self.requests.append(request)
        yield [NumberedChunk(self, label, self.snapshots) for label in self.labels]

    def translate(self, _: Exception) -> ConnectorError | None:
        return None


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    pool = Workers(1, tmp_path / "spill")
    yield pool
    pool.close()


def rows_of(source: Any, workers: Workers, folder: Path) -> list[int]:
    """Return the rows that were read; the hooks must leave exactly their files."""
    hooked: list[SpoolFile] = []
    folder.mkdir()
    hooks = ExtractHooks(on_file=hooked.append, on_drop=hooked.remove)
    extracted = extract(PLAN, source, workers, folder, hooks=hooks)
    assert {file.path for file in extracted.files} == {file.path for file in hooked}
    files = [str(file.path) for file in extracted.files]
    rows = duckdb.sql("select i from read_parquet($files) order by 1", params={"files": files})
    return [row[0] for row in rows.fetchall()]


def test_chunks_that_cannot_be_confirmed_are_read_again(workers: Workers, tmp_path: Path) -> None:
    """No file of the lost snapshot stays in the result."""
    source = LossySource(losses=1)
    assert rows_of(source, workers, tmp_path / "spool") == [2, 2, 2]
    previous = source.requests[1].previous_chunks
    assert [chunk.label for chunk in previous] == ["first", "second", "last"]


def test_table_fails_after_two_snapshots_without_progress(workers: Workers, tmp_path: Path) -> None:
    """The error of the second snapshot is the table's."""
    source = LossySource(losses=9)
    with pytest.raises(ViewLostError):
        rows_of(source, workers, tmp_path / "spool")
    assert source.snapshots == 2


def test_stopped_run_opens_no_further_snapshot(workers: Workers, tmp_path: Path) -> None:
    """The pause before the next snapshot ends at once, with the error of the last."""

    @dataclass
    class StoppedSource(LossySource):
        @contextmanager
        def read(self, _: ReadRequest) -> Iterator[list[NumberedChunk]]:
            self.snapshots += 1
            workers.stopping.set()
            raise ConnectError("nobody is there.", retryable=True)
            yield []

    source = StoppedSource(losses=0)
    with pytest.raises(ConnectError, match="nobody"):
        rows_of(source, workers, tmp_path / "spool")
    assert source.snapshots == 1


@dataclass
class VersionedNumberedChunk(NumberedChunk):
    """A chunk that a later snapshot can confirm."""

    @property
    def key(self) -> str:
        return self.label

    @property
    def version(self) -> str:
        return str(self.snapshot)

    def is_unchanged_since(self, *_: object) -> bool:
        return True


def test_source_that_stays_down_after_a_lost_snapshot_fails_its_table(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of the lost snapshot are no progress of the attempts that reach no source."""

    @dataclass
    class DownSource(LossySource):
        @contextmanager
        def read(self, _: ReadRequest) -> Iterator[list[NumberedChunk]]:
            self.snapshots += 1
            if self.snapshots > 20:
                raise AssertionError("the read never ends")
            if self.snapshots > 1:
                raise ConnectError("the server refuses connections.", retryable=True)
            yield [VersionedNumberedChunk(self, label, self.snapshots) for label in self.labels]

    monkeypatch.setattr("cdpsync.extract.table._FIRST_PAUSE", 0.0)
    source = DownSource(losses=9)
    with pytest.raises(ConnectError, match="refuses connections"):
        rows_of(source, workers, tmp_path / "spool")
    assert 2 < source.snapshots <= 7
