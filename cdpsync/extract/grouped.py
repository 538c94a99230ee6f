"""The reads of tables whose source reads several streams by one call: see `Grouped`.

The first table that is read makes the call for all; the others wait for it. A table that is read
again, because its first read failed, is read alone.
"""

from __future__ import annotations

import shutil
import threading
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from cdpsync.connector import Grouped, ReadRequest
from cdpsync.connector.returned import opened_read
from cdpsync.errors import ReadError
from cdpsync.extract.request import request_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from cdpsync.connector import Chunk, Connector
    from cdpsync.extract.request import OpenRead
    from cdpsync.extract.workers import Workers
    from cdpsync.model import TablePlan

_FEWEST = 2  # tables of a source: one alone needs no group


class GroupedReads:
    """Opens the reads of a run's tables, those of a `Grouped` source together.

    `on_progress` takes a plan and how many rows of it were fetched. `close` must be called at the
    end.
    """

    def __init__(
        self,
        connectors: Mapping[str, Connector],
        plans: Sequence[TablePlan],
        workers: Workers,
        folder: Path,
        on_progress: Callable[[TablePlan, int], None],
    ) -> None:
        plans_by_source: dict[str, list[TablePlan]] = defaultdict(list)
        for plan in plans:
            if isinstance(connectors[plan.source], Grouped):
                plans_by_source[plan.source].append(plan)
        self._groups = {
            source: _Group(
                connectors[source], own_plans, workers, folder / f"group-{number}", on_progress
            )
            for number, (source, own_plans) in enumerate(plans_by_source.items())
            if len(own_plans) >= _FEWEST
        }

    def has_group(self, source: str) -> bool:
        """Whether tables of this source are read together."""
        return source in self._groups

    def opener(self, plan: TablePlan) -> OpenRead:
        """Return what opens the reads of a table."""
        group = self._groups.get(plan.source)
        return opened_read if group is None else group.open

    def close(self) -> None:
        """End the reads."""
        for group in self._groups.values():
            group.close()


@dataclass(slots=True)
class _Stream:
    """The read of one stream of a group, and what it reported until a table takes it."""

    plan: TablePlan
    folder: Path
    notices: list[str] = field(default_factory=list)
    rejected: list[tuple[Path, int]] = field(default_factory=list)


class _Group:
    """The tables of one source. Used from a thread per table."""

    def __init__(
        self,
        connector: Connector,
        plans: Sequence[TablePlan],
        workers: Workers,
        folder: Path,
        on_progress: Callable[[TablePlan, int], None],
    ) -> None:
        self._connector = connector
        self._workers = workers
        self._on_progress = on_progress
        self._streams = {
            plan.stream.name: _Stream(plan, folder / f"{number:05d}")
            for number, plan in enumerate(plans)
        }
        self._unfinished = len(plans)
        self._stack = ExitStack()
        self._guard = threading.Lock()
        self._results: Mapping[str, Iterable[Chunk] | Exception] | None = None

    @contextmanager
    def open(self, connector: Connector, request: ReadRequest) -> Iterator[Iterable[Chunk]]:
        """Yield the chunks of a stream, as `opened_read` does."""
        name = request.stream.name
        with self._guard:
            if self._results is None:
                self._results = self._read()
            stream = self._streams.pop(name, None)
        if stream is None:
            with opened_read(connector, request) as chunks:
                yield chunks
            return
        try:
            yield self._taken(stream, request)
        finally:
            shutil.rmtree(stream.folder, ignore_errors=True)
            self._finish_one()

    def _read(self) -> Mapping[str, Iterable[Chunk] | Exception]:
        """Read all streams. An error of the call is that of each of them."""
        try:
            reads = cast("Grouped", self._connector).read_many(
                [self._request(stream) for stream in self._streams.values()]
            )
            return self._stack.enter_context(reads)
        except Exception as error:  # noqa: BLE001 - each table raises it, where it is translated
            return dict.fromkeys(self._streams, error)

    def _request(self, stream: _Stream) -> ReadRequest:
        stream.folder.mkdir(parents=True, exist_ok=True)
        return replace(
            request_of(stream.plan, self._workers.count),
            folder=stream.folder,
            on_progress=lambda rows: self._on_progress(stream.plan, rows),
            on_notice=stream.notices.append,
            on_rejected=lambda file, count: stream.rejected.append((file, count)),
            is_stopped=self._workers.stopping.is_set,
        )

    def _finish_one(self) -> None:
        with self._guard:
            self._unfinished -= 1
            is_last = not self._unfinished
        if is_last:
            self.close()

    def _taken(self, stream: _Stream, request: ReadRequest) -> Iterable[Chunk]:
        """Return the chunks of a stream, after its table was told what their read reported."""
        name = request.stream.name
        result = (self._results or {}).get(name)
        if result is None:
            method = f"{type(self._connector).__name__}.read_many"
            raise ReadError(f"{method} returned nothing for the stream {name}.")
        if isinstance(result, Exception):
            raise result
        for notice in stream.notices:
            request.on_notice(notice)
        for file, count in stream.rejected:
            request.on_rejected(file, count)
        return result

    def close(self) -> None:
        """End the read. May be called twice."""
        self._stack.close()
