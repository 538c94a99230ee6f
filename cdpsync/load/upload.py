"""Spool files to the storage: as they arrive, several at once, under names of their run."""

from __future__ import annotations

import itertools
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cdpsync.errors import CdpsyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from cdpsync.storage import Storage

log = logging.getLogger("cdpsync.load.upload")

_AT_ONCE = 4  # files


class SpoolBudget:
    """How many bytes wait in the spool for their upload, over all tables, and how many may."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._changed = threading.Condition()

    def add(self, size: int) -> None:
        """Count a file that waits for its upload."""
        with self._changed:
            self._held += size

    def free(self, size: int) -> None:
        """Count a file out that has left the spool."""
        with self._changed:
            self._held -= size
            self._changed.notify_all()

    def wait(self, is_stopping: Callable[[], bool]) -> None:
        """Return when there is room for another file, or when the work is to stop.

        What is counted leaves by itself, uploaded or failed: this cannot wait for ever.
        """
        with self._changed:
            while self._held >= self._limit and not is_stopping():
                self._changed.wait(0.5)


class Uploader:
    """Who carries the files of one run to the storage.

    `may_have_orphans` tells that files may be there which no commit names.
    """

    def __init__(self, storage: Storage, run_id: str, spool: SpoolBudget) -> None:
        self.storage = storage
        self.spool = spool
        self._run_id = run_id
        self.may_have_orphans = False
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="cdpsync-put")

    def start_table(self, folder: str, attempt: int = 0) -> TableUpload:
        """Begin with the files of a table; each attempt at it has names of its own."""
        again = f"-{attempt}" if attempt else ""
        return TableUpload(self, f"{folder}/{self._run_id}{again}")

    def submit(self, task: Callable[[], str]) -> Future[str]:
        """Carry a file as soon as another is there."""
        return self._pool.submit(task)

    def close(self, *, wait: bool = True) -> None:
        """Carry no further file."""
        self._pool.shutdown(wait=wait, cancel_futures=True)

    def remove(self, addresses: Sequence[str]) -> None:
        """Remove files that no commit will name; those that cannot be removed do no harm."""
        try:
            for address in addresses:
                self.storage.remove(address.removeprefix(self.storage.root))
        except CdpsyncError as error:
            self.may_have_orphans = True
            log.warning("files of a table that failed stay behind: %s", error.message)


@dataclass(slots=True)
class TableUpload:
    """The files of one table on their way; who gives up on one takes them all back."""

    uploader: Uploader
    stem: str
    _sent: dict[Path, Future[str]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _failed: Exception | None = None
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def add(self, file: Path, size: int, *, keep: bool = False) -> None:
        """Send a file off; it leaves the spool when it has arrived, unless it is to be kept.

        Raises the error of an earlier file that did not arrive.
        """
        if self._failed is not None:
            raise self._failed
        spool = self.uploader.spool
        spool.add(size)
        with self._guard:
            name = f"{self.stem}-{next(self._numbers):05d}.parquet"
            sent = self.uploader.submit(lambda: self._put(file, name, keep=keep))
            sent.add_done_callback(lambda _: spool.free(size))
            self._sent[file] = sent

    def cancel(self, file: Path) -> None:
        """Let a file that was sent off not arrive, or go again."""
        with self._guard:
            sent = self._sent.pop(file)
        self._take_back([sent])

    def _put(self, file: Path, name: str, *, keep: bool) -> str:
        try:
            return self._carry(file, name, keep=keep)
        except Exception as error:
            if self._failed is None:
                self.uploader.may_have_orphans = (
                    True  # parts of it, where not even the abort got through
                )
            self._failed = error
            raise

    def _carry(self, file: Path, name: str, *, keep: bool) -> str:
        if self._failed is not None:
            raise self._failed
        address = self.uploader.storage.put(file, name)
        if not keep:
            with suppress(OSError):  # the spool's folder goes at the end of the run anyway
                file.unlink()
        return address

    def wait(self) -> tuple[str, ...]:
        """Return where the files are, once all have arrived. Raises what kept one from it."""
        return tuple(one.result() for one in self._sent.values())

    def rollback(self) -> None:
        """Let no file go on, and remove those that arrived."""
        self._take_back(self._sent.values())

    def _take_back(self, sent: Iterable[Future[str]]) -> None:
        under_way = [one for one in sent if not one.cancel()]
        self.uploader.remove([one.result() for one in under_way if one.exception() is None])
