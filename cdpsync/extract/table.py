"""The read of one planned table into Parquet files in the spool, chunk by chunk on workers.

All chunks are read in one snapshot of the source. If the snapshot is lost, chunks that were read
are reused where the source can show that their rows have not changed.
"""

from __future__ import annotations

import itertools
import logging
import shutil
from concurrent.futures import wait
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from cdpsync.connector import Chunk, Connector, CursorLimited, VersionedChunk, ignore
from cdpsync.connector.faults import own_faults
from cdpsync.connector.returned import chunks_of, opened_read, safe_cursor_of, state_of
from cdpsync.errors import CdpsyncError
from cdpsync.extract.chunk_writer import ChunkTransform, ChunkWriter, ReusableChunk, SpoolFile
from cdpsync.extract.request import request_of
from cdpsync.model.cursors import later
from cdpsync.model.streams import MAX_STATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from cdpsync.connector import KeyFilter, ReadRequest, RowSlice
    from cdpsync.extract.request import OpenRead
    from cdpsync.extract.workers import Workers
    from cdpsync.model import Column, Cursor, TablePlan

log = logging.getLogger("cdpsync.extract.table")

_MOST_ATTEMPTS_WITHOUT_PROGRESS = 2  # snapshots in a row, before the table fails
_MOST_ATTEMPTS_WITH_REUSABLE = 5  # the same, where chunks of earlier snapshots may be reused
_FIRST_PAUSE = 0.5  # seconds; doubled after each snapshot without progress


@dataclass(frozen=True, slots=True)
class Extracted:
    """The result of one table's read: the files that have rows, and their columns.

    `cursor` is where the next read may start. `notices` are sentences from the connector.
    `rejected` has the records that are no rows; None: the connector sets none aside.
    """

    files: tuple[SpoolFile, ...]
    columns: tuple[Column, ...]
    cursor: Cursor | None = None
    notices: tuple[str, ...] = ()
    rejected: SpoolFile | None = None

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return sum(file.rows for file in self.files)

    @property
    def highest_cursor(self) -> Cursor | None:
        """The highest cursor of a row that was read."""
        highest: Cursor | None = None
        for file in self.files:
            highest = later(highest, file.cursor)
        return highest


def _ignore_progress(_rows: int, _chunks_done: int, _chunks: int) -> None:
    """Do nothing: the default of `on_progress`."""


@dataclass(frozen=True, slots=True)
class ExtractHooks:
    """Callbacks of one table's read; each does nothing by default.

    `on_progress(rows, chunks_done, chunks)` is called as rows and chunks arrive. `on_file` takes
    each complete file, on the thread that wrote it. `on_drop` takes a file that is no longer part
    of the result. `wait_for_space` is called before a chunk is read. It may block until the
    function that it takes returns True, because the read is given up. `open_read` opens a read of
    the connector.
    """

    on_progress: Callable[[int, int, int], None] = _ignore_progress
    on_file: Callable[[SpoolFile], None] = ignore
    on_drop: Callable[[SpoolFile], None] = ignore
    wait_for_space: Callable[[Callable[[], bool]], None] = ignore
    open_read: OpenRead = opened_read


_NO_HOOKS = ExtractHooks()


def extract(
    plan: TablePlan,
    connector: Connector,
    workers: Workers,
    folder: Path,
    *,
    hooks: ExtractHooks = _NO_HOOKS,
    transform: ChunkTransform | None = None,
    row_filter: KeyFilter | RowSlice | None = None,
) -> Extracted:
    """Read all rows that the plan asks for into Parquet files under `folder`.

    With `transform`, the files hold its results, and there is no cursor. `row_filter` is an
    optional hint for the source.

    If the snapshot of the source is lost, the table is read in another one, as long as each
    snapshot reads chunks that those before it did not. Any other error fails the table. The
    caller owns the folder, and removes the files that an error leaves in it.
    """
    return TableReader(plan, connector, workers, folder, hooks, transform, row_filter).read()


@dataclass(slots=True)
class TableReader:
    """Reads one table, in as many snapshots of its source as are needed."""

    plan: TablePlan
    connector: Connector
    workers: Workers
    folder: Path
    hooks: ExtractHooks = _NO_HOOKS
    transform: ChunkTransform | None = None
    row_filter: KeyFilter | RowSlice | None = None
    _file_numbers: itertools.count[int] = field(default_factory=itertools.count, init=False)
    _chunks: tuple[Chunk, ...] = field(default=(), init=False)
    """The chunks of the latest snapshot."""
    _failed_chunks: tuple[Chunk, ...] = field(default=(), init=False)
    """Those of them that were not read, because the source hung up."""
    _reusable: dict[str, ReusableChunk] = field(default_factory=dict, init=False)
    """The chunks of all snapshots that a later one can confirm, by their key."""
    _single_use_files: list[SpoolFile] = field(default_factory=list, init=False)
    """Files of the latest snapshot that no later one can confirm."""
    _has_new_chunks: bool = field(default=False, init=False)
    """Whether the latest attempt read a chunk that those before it did not."""
    _has_smaller_chunks: bool = field(default=False, init=False)
    """Whether the latest attempt was cut into more chunks than the one before it."""

    def read(self) -> Extracted:
        """Read the table; see `extract`."""
        attempts_without_progress = 0
        while True:
            try:
                return self._read_snapshot()
            except CdpsyncError as error:
                if not error.retryable or self.workers.stopping.is_set():
                    raise
                if self._has_new_chunks or self._has_smaller_chunks:
                    attempts_without_progress = 0
                else:
                    attempts_without_progress += 1
                if attempts_without_progress >= self._most_attempts_without_progress():
                    raise
                pause = _FIRST_PAUSE * 2**attempts_without_progress
                log.warning(
                    "%s: %s %s in %.1f s.",
                    self.plan.table,
                    error.message,
                    self._next_step(),
                    pause,
                )
                if self.workers.stopping.wait(pause):
                    raise

    def _most_attempts_without_progress(self) -> int:
        if self._reusable:
            return _MOST_ATTEMPTS_WITH_REUSABLE
        return _MOST_ATTEMPTS_WITHOUT_PROGRESS

    def _next_step(self) -> str:
        """Return what the next snapshot will read, for the log."""
        reusable, chunks = len(self._reusable), len(self._chunks)
        if not reusable:
            return "Reading the table again from its start"
        return f"{reusable} of {chunks} chunks are kept if their rows have not changed. Continuing"

    def _read_snapshot(self) -> Extracted:
        """Read every chunk of one snapshot.

        Reusable chunks come last, because confirming them is useless if the snapshot is lost again.
        """
        notices: list[str] = []
        rejected: list[SpoolFile] = []
        writer = ChunkWriter(
            self.plan,
            self.connector,
            self.workers,
            self._new_path,
            self.hooks.wait_for_space,
            self.transform,
        )
        request = replace(
            self._request(writer, notices),
            on_rejected=lambda file, count: rejected.append(self._set_aside(file, count)),
        )
        # Reset before the connection, because a source that refuses it makes no progress.
        self._has_new_chunks = self._has_smaller_chunks = False
        try:
            with (
                own_faults(str(self.plan.table), self.connector),
                self.hooks.open_read(self.connector, request) as chunks,
            ):
                ordered = chunks_of(self.connector, chunks)
                self._start_snapshot(ordered)
                ordered.sort(key=lambda chunk: self._reusable_of(chunk) is not None)
                files = self._write_chunks(writer, ordered)
                cursor = _next_cursor(self.plan, chunks, files, notices.append)
        finally:
            if writer.source_hung_up:
                self._failed_chunks = tuple(
                    chunk for chunk in self._chunks if self._reusable_of(chunk) is None
                )
        if request.folder is not None:
            shutil.rmtree(request.folder, ignore_errors=True)
        with_rows = tuple(file for file in files if file.rows)
        return Extracted(
            with_rows,
            writer.columns(),
            cursor,
            tuple(notices),
            rejected[0] if rejected else None,
        )

    def _set_aside(self, file: Path, count: int) -> SpoolFile:
        """Take the file of rejected records out of the connector's folder."""
        path = self.folder / "rejected" / "00000.parquet"
        path.parent.mkdir(exist_ok=True)
        shutil.move(file, path)
        return SpoolFile(path, count, path.stat().st_size)

    def _new_path(self) -> Path:
        return self.folder / f"{next(self._file_numbers):05d}.parquet"

    def _request(self, writer: ChunkWriter, notices: list[str]) -> ReadRequest:
        fetched = self.folder / "fetched"
        shutil.rmtree(fetched, ignore_errors=True)
        fetched.mkdir()
        return replace(
            request_of(self.plan, self.workers.count),
            row_filter=self.row_filter,
            stable_chunks=self.transform is not None and self.transform.cache_folder is not None,
            previous_chunks=self._chunks,
            failed_chunks=() if self._has_new_chunks else self._failed_chunks,
            folder=fetched,
            on_progress=lambda rows: self.hooks.on_progress(rows, 0, 0),
            on_notice=notices.append,
            is_stopped=writer.is_stopping,
        )

    def _start_snapshot(self, chunks: Sequence[Chunk]) -> None:
        """Take the chunks of a new snapshot, and drop the files that none of them can reuse."""
        self._has_smaller_chunks = 0 < len(self._chunks) < len(chunks)
        self._chunks, self._failed_chunks = tuple(chunks), ()
        keys = {chunk.key for chunk in chunks if isinstance(chunk, VersionedChunk)}
        obsolete_keys = [key for key in self._reusable if key not in keys]
        obsolete_files = [self._reusable.pop(key).file for key in obsolete_keys]
        for file in (*self._single_use_files, *obsolete_files):
            self._drop(file)
        self._single_use_files = []

    def _reusable_of(self, chunk: Chunk) -> ReusableChunk | None:
        """Return what an earlier snapshot read of this chunk."""
        key = chunk.key if isinstance(chunk, VersionedChunk) else None
        return None if key is None else self._reusable.get(key)

    def _write_chunks(self, writer: ChunkWriter, chunks: list[Chunk]) -> list[SpoolFile]:
        """Write every chunk to a file; the first error that remains ends all, and is raised."""
        if self.plan.limit is not None:
            return self._write_first_rows(writer, chunks, self.plan.limit)
        reusable = {number: self._reusable_of(chunk) for number, chunk in enumerate(chunks)}
        files = {number: chunk.file for number, chunk in reusable.items() if chunk is not None}
        futures = [
            self.workers.submit(self.connector, partial(self._write_chunk, writer, chunk))
            for chunk in chunks
        ]
        try:
            for number, future in enumerate(futures):
                files[number] = future.result()
                rows = sum(file.rows for file in files.values())
                self.hooks.on_progress(rows, len(files), len(chunks))
        except BaseException:
            writer.stopping.set()
            for future in futures:
                future.cancel()
            wait(futures)
            raise
        return [files[number] for number in range(len(chunks))]

    def _write_first_rows(
        self, writer: ChunkWriter, chunks: list[Chunk], limit: int
    ) -> list[SpoolFile]:
        """Write chunks one by one until they have `limit` rows; leave the others unread."""
        files: list[SpoolFile] = []
        missing = limit
        for chunk in chunks:
            writer.limit = missing
            write = self.workers.submit(self.connector, partial(self._write_chunk, writer, chunk))
            try:
                files.append(write.result())
            except BaseException:
                writer.stopping.set()
                wait([write])
                raise
            missing -= files[-1].rows
            self.hooks.on_progress(limit - missing, len(files), len(chunks))
            if missing <= 0:
                break
        return files

    def _write_chunk(self, writer: ChunkWriter, chunk: Chunk) -> SpoolFile:
        reusable = self._reusable_of(chunk)
        file = writer.write(chunk, reusable)
        if reusable is None or file is not reusable.file:
            if reusable is not None:
                self._drop(reusable.file)
            if file.rows:
                self.hooks.on_file(file)
        self._keep(chunk, file)
        return file

    def _keep(self, chunk: Chunk, file: SpoolFile) -> None:
        """Keep a file that was written or confirmed, for any later snapshot that can confirm it."""
        if isinstance(chunk, VersionedChunk) and chunk.key is not None:
            self._has_new_chunks = self._has_new_chunks or chunk.key not in self._reusable
            self._reusable[chunk.key] = ReusableChunk(chunk.version, file)
        else:
            self._single_use_files.append(file)

    def _drop(self, file: SpoolFile) -> None:
        if file.rows:
            self.hooks.on_drop(file)
        file.path.unlink(missing_ok=True)


def _next_cursor(
    plan: TablePlan,
    chunks: Iterable[Chunk],
    files: Iterable[SpoolFile],
    on_notice: Callable[[str], None],
) -> Cursor | None:
    """Return where the next read may start; never below the start of this one."""
    if plan.follows_state:
        return _next_state(plan, chunks, on_notice)
    if plan.cursor_field is None:
        return None
    highest: Cursor | None = None
    for file in files:
        highest = later(highest, file.cursor)
    if isinstance(chunks, CursorLimited):
        highest = safe_cursor_of(chunks, highest)
    return later(plan.cursor_before, highest)


def _next_state(
    plan: TablePlan, chunks: Iterable[Chunk], on_notice: Callable[[str], None]
) -> Cursor | None:
    """Return the state from which the next read goes on; that of this one if there is no other.

    One that is too large is not kept, so that the next run reads the same rows again.
    """
    state = state_of(chunks, plan.cursor_before) if isinstance(chunks, CursorLimited) else None
    if state is None:
        return plan.cursor_before
    size = len(str(state.value).encode())
    if size > MAX_STATE:
        on_notice(
            f"the source's state has {size:,} bytes, and at most {MAX_STATE:,} are kept: the next "
            "run reads the same rows again. Split the source, or use mode: full_table"
        )
        return plan.cursor_before
    return state
