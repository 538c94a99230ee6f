"""A planned table to Parquet files in the spool: one view of it, its chunks on workers.

Where the view is lost, what was read of it is kept as far as the source can show that it would
read the same again.
"""

from __future__ import annotations

import logging
import shutil
from concurrent.futures import wait
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from cdpsync.connector import Chunk, Connector, CursorLimited, ReadRequest, VersionedChunk, ignore
from cdpsync.errors import CdpsyncError
from cdpsync.extract.chunk_writer import ChunkWriter, ReadContext, ReusableChunk, SpoolFile
from cdpsync.model import DELETED_AT, Column, Cursor, Deletes, TablePlan
from cdpsync.model.cursors import later

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from cdpsync.connector import Bucket, KeyFilter
    from cdpsync.extract.chunk_writer import ChunkTransform
    from cdpsync.extract.workers import Workers

log = logging.getLogger("cdpsync.extract.table")

_MOST_ATTEMPTS_WITHOUT_PROGRESS = (
    2  # views in a row that brought nothing, before the table is given up
)
_MOST_ATTEMPTS_WITH_REUSABLE = 5
_FIRST_PAUSE = 0.5  # seconds; doubled after each view that brought nothing


@dataclass(frozen=True, slots=True)
class Extracted:
    """What one table's read gave: files without empty ones, and the columns as they landed.

    `cursor` is where the next read may start. `notices` are what the connector had to say.
    """

    files: tuple[SpoolFile, ...]
    columns: tuple[Column, ...]
    cursor: Cursor | None = None
    notices: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return sum(file.rows for file in self.files)


def _ignore_progress(_rows: int, _chunks_done: int, _chunks: int) -> None:
    """Do nothing: the default of `on_progress`."""


@dataclass(frozen=True, slots=True)
class ExtractHooks:
    """Callbacks of one table's read; each does nothing by default.

    `on_progress(rows, chunks_done, chunks)` is called as rows and chunks arrive. `on_file` takes
    each complete file, on the thread that wrote it. `on_drop` takes a file that is no longer part
    of the result. `wait_for_space` is called before a chunk is read, and may block until the
    function that it takes returns True, because the read is given up.
    """

    on_progress: Callable[[int, int, int], None] = _ignore_progress
    on_file: Callable[[SpoolFile], None] = ignore
    on_drop: Callable[[SpoolFile], None] = ignore
    wait_for_space: Callable[[Callable[[], bool]], None] = ignore


_NO_HOOKS = ExtractHooks()


@dataclass(slots=True)
class _Progress:
    """What the views of one table have brought so far, by the places of their chunks."""

    chunks: tuple[Chunk, ...] = ()
    stuck: tuple[Chunk, ...] = ()
    kept: dict[str, ReusableChunk] = field(default_factory=dict)
    loose: list[SpoolFile] = field(default_factory=list)
    """Files of the last view that no other can confirm."""
    brought: bool = False
    """Whether the last view brought a chunk that the ones before had not."""
    smaller: bool = False
    """Whether it was cut into more chunks than they were."""

    def of(self, chunk: Chunk) -> ReusableChunk | None:
        """Return what is kept of this chunk."""
        place = chunk.key if isinstance(chunk, VersionedChunk) else None
        return None if place is None else self.kept.get(place)

    def keep(self, chunk: Chunk, file: SpoolFile) -> None:
        """Keep what was read or confirmed, for any later view that can confirm it."""
        if isinstance(chunk, VersionedChunk) and chunk.key is not None:
            self.brought = self.brought or chunk.key not in self.kept
            self.kept[chunk.key] = ReusableChunk(chunk.version, file)
        else:
            self.loose.append(file)

    def stopped(self) -> None:
        """Note what the source could not be got through, since it hung up."""
        self.stuck = tuple(chunk for chunk in self.chunks if self.of(chunk) is None)

    def begin(self, chunks: Sequence[Chunk]) -> list[SpoolFile]:
        """Note how a view is cut; return what of the ones before is of no use any more."""
        self.brought, self.smaller = False, 0 < len(self.chunks) < len(chunks)
        self.chunks, self.stuck = tuple(chunks), ()
        places = {chunk.key for chunk in chunks if isinstance(chunk, VersionedChunk)}
        others = [place for place in self.kept if place not in places]
        loose, self.loose = self.loose, []
        return [*loose, *(self.kept.pop(place).file for place in others)]

    def told(self) -> str:
        """Say how the reading goes on."""
        kept, chunks = len(self.kept), len(self.chunks)
        if not kept:
            return "Reading it again from its start"
        return f"{kept} of {chunks} chunks are kept where nothing changes in them. Reading on"


def extract(
    plan: TablePlan,
    connector: Connector,
    workers: Workers,
    folder: Path,
    *,
    hooks: ExtractHooks = _NO_HOOKS,
    transform: ChunkTransform | None = None,
    row_filter: KeyFilter | Bucket | None = None,
) -> Extracted:
    """Read all rows that the plan asks for into Parquet files under `folder`.

    With `transform`, the files hold its results, and there is no cursor. `row_filter` is an
    optional hint for the source.

    Where the view of the source is lost, the table is read in another one, for as long as each
    brings chunks that the ones before had not. Any other error ends the table; the files stay for
    whoever owns the folder.
    """
    manner = ReadContext(plan, connector, workers, folder, hooks.wait_for_space, transform)
    reading = _Reading(manner, row_filter, hooks)
    in_vain = 0
    while True:
        try:
            return reading.view()
        except CdpsyncError as error:
            if not error.retryable or workers.stopping.is_set():
                raise
            progress = reading.progress
            in_vain = 0 if progress.brought or progress.smaller else in_vain + 1
            if in_vain >= (
                _MOST_ATTEMPTS_WITH_REUSABLE if progress.kept else _MOST_ATTEMPTS_WITHOUT_PROGRESS
            ):
                raise
            pause = _FIRST_PAUSE * 2**in_vain
            log.warning("%s: %s %s in %.1f s.", plan.table, error.message, progress.told(), pause)
            if workers.stopping.wait(pause):
                raise


@dataclass(slots=True)
class _Reading:
    """One table's reading, over as many views as it takes."""

    manner: ReadContext
    row_filter: KeyFilter | Bucket | None
    hooks: ExtractHooks
    progress: _Progress = field(default_factory=_Progress)

    def view(self) -> Extracted:
        """Read every chunk of one view; what is kept is looked at last, since it may be in vain."""
        plan, notices = self.manner.plan, list[str]()
        landing = ChunkWriter(self.manner)
        request = self._request(landing, notices)
        try:
            with self.manner.connector.read(request) as chunks:
                listed = list(chunks)
                for file in self.progress.begin(listed):
                    self._drop(file)
                listed.sort(key=lambda chunk: self.progress.of(chunk) is not None)
                files = self._land(landing, listed)
                cursor = _reached(plan, chunks, files)
        finally:
            if landing.source_hung_up:
                self.progress.stopped()
        if request.folder is not None:
            shutil.rmtree(request.folder, ignore_errors=True)
        with_rows = tuple(file for file in files if file.rows)
        return Extracted(with_rows, landing.columns(), cursor, tuple(notices))

    def _request(self, landing: ChunkWriter, notices: list[str]) -> ReadRequest:
        transform = self.manner.transform
        fetched = self.manner.folder / "fetched"
        shutil.rmtree(fetched, ignore_errors=True)
        fetched.mkdir()
        return replace(
            _request(self.manner.plan, self.manner.workers.count),
            row_filter=self.row_filter,
            stable_chunks=transform is not None and transform.cache_folder is not None,
            previous_chunks=self.progress.chunks,
            failed_chunks=() if self.progress.brought else self.progress.stuck,
            folder=fetched,
            on_progress=lambda rows: self.hooks.on_progress(rows, 0, 0),
            on_notice=notices.append,
            is_stopped=landing.is_stopping,
        )

    def _land(self, landing: ChunkWriter, chunks: list[Chunk]) -> list[SpoolFile]:
        """Land every chunk; the first that fails for good ends it, with its error."""
        workers, connector = self.manner.workers, self.manner.connector
        futures = [
            workers.submit(connector, partial(self._land_one, landing, chunk)) for chunk in chunks
        ]
        kept = (self.progress.of(chunk) for chunk in chunks)
        files = {number: one.file for number, one in enumerate(kept) if one is not None}
        try:
            for number, future in enumerate(futures):
                files[number] = future.result()
                rows = sum(spooled.rows for spooled in files.values())
                self.hooks.on_progress(rows, len(files), len(chunks))
        except BaseException:
            landing.stopping.set()
            for future in futures:
                future.cancel()
            wait(futures)
            raise
        return [files[number] for number in range(len(chunks))]

    def _land_one(self, landing: ChunkWriter, chunk: Chunk) -> SpoolFile:
        kept = self.progress.of(chunk)
        file = landing.write(chunk, kept)
        if kept is None or file is not kept.file:
            if kept is not None:
                self._drop(kept.file)
            if file.rows:
                self.hooks.on_file(file)
        self.progress.keep(chunk, file)
        return file

    def _drop(self, file: SpoolFile) -> None:
        if file.rows:
            self.hooks.on_drop(file)
        file.path.unlink(missing_ok=True)


def _reached(plan: TablePlan, chunks: Iterable[Chunk], files: Iterable[SpoolFile]) -> Cursor | None:
    """Return where the next read may start; never before where this one did."""
    if plan.cursor_field is None:
        return None
    highest: Cursor | None = None
    for file in files:
        highest = later(highest, file.cursor)
    if isinstance(chunks, CursorLimited):
        highest = chunks.safe_cursor(highest)
    return later(plan.cursor_before, highest)


def _request(plan: TablePlan, workers: int) -> ReadRequest:
    landed = (
        {column.name: column.type for column in plan.lake_table.columns} if plan.lake_table else {}
    )
    changes = plan.stream.changes
    told = changes is not None and changes.includes_deletes and plan.deletes is not Deletes.IGNORE
    return ReadRequest(
        stream=plan.stream,
        columns=tuple(
            column
            for column in plan.columns
            if plan.deletes is not Deletes.SOFT or column.name != DELETED_AT
        ),
        types=plan.types,
        lake_types={} if plan.full_refresh else landed,
        where=plan.where,
        window=plan.window,
        workers=workers,
        cursor_field=plan.cursor_field,
        looks_back=plan.lookback is not None,
        include_deletes=told and plan.window is not None,
        include=None if plan.include is None else frozenset(plan.include),
        exclude=frozenset(plan.exclude or ()),
    )
