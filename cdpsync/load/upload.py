"""Uploads of spool files to the storage: several at once, within the spool's budget."""

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

_PARALLEL_UPLOADS = 4  # files


class Uploader:
    """The upload queue of one run, over all its tables.

    `spool_max` is the number of bytes that may wait for their upload; `wait_for_space` keeps to
    it. Half of them may be of files that are deferred until their table is compared.
    `may_have_orphans` is set when the storage may have files that no commit names.
    """

    def __init__(self, storage: Storage, run_id: str, spool_max: int) -> None:
        self.storage = storage
        self.may_have_orphans = False
        self._run_id = run_id
        self._pool = ThreadPoolExecutor(_PARALLEL_UPLOADS, thread_name_prefix="cdpsync-put")
        self._spool_max = spool_max
        self._queued_bytes = 0
        self._deferred_bytes = 0
        self._queued_bytes_changed = threading.Condition()

    def start_table(self, folder: str, attempt: int = 0) -> TableUpload:
        """Return an upload of a table's files; the names of each attempt's files differ."""
        suffix = f"-{attempt}" if attempt else ""
        return TableUpload(self, f"{folder}/{self._run_id}{suffix}")

    def submit(self, task: Callable[[], str], size: int) -> Future[str]:
        """Queue the upload of a file of `size` bytes; they count until it succeeds or fails."""
        self._reserve(size)
        upload = self._pool.submit(task)
        upload.add_done_callback(lambda _: self._release(size))
        return upload

    def wait_for_space(self, is_stopping: Callable[[], bool]) -> None:
        """Return when another file may be queued, or when `is_stopping` returns True.

        This cannot block for ever, because every queued file is uploaded or fails, and the
        deferred files are never as many.
        """
        with self._queued_bytes_changed:
            while (
                self._queued_bytes + self._deferred_bytes >= self._spool_max and not is_stopping()
            ):
                self._queued_bytes_changed.wait(0.5)

    def defer(self, size: int) -> bool:
        """Reserve spool for a file that is not uploaded yet; return False if there is too little.

        Call `release_deferred` when the file is queued or removed.
        """
        with self._queued_bytes_changed:
            fits = (self._deferred_bytes + size) * 2 <= self._spool_max
            if fits:
                self._deferred_bytes += size
            return fits

    def release_deferred(self, size: int) -> None:
        """Return the spool that `defer` reserved for so many bytes."""
        with self._queued_bytes_changed:
            self._deferred_bytes -= size
            self._queued_bytes_changed.notify_all()

    def close(self, *, wait: bool = True) -> None:
        """Cancel the uploads that have not started; with `wait`, wait for those that have."""
        self._pool.shutdown(wait=wait, cancel_futures=True)

    def remove(self, addresses: Sequence[str]) -> None:
        """Remove uploaded files that no commit will name; a failure is a warning."""
        try:
            for address in addresses:
                self.storage.remove(address.removeprefix(self.storage.root))
        except CdpsyncError as error:
            self.may_have_orphans = True
            log.warning(
                "files of a failed table could not be removed from the storage: %s", error.message
            )

    def _reserve(self, size: int) -> None:
        with self._queued_bytes_changed:
            self._queued_bytes += size

    def _release(self, size: int) -> None:
        with self._queued_bytes_changed:
            self._queued_bytes -= size
            self._queued_bytes_changed.notify_all()


@dataclass(slots=True)
class TableUpload:
    """The uploads of one table's files: all succeed, or `rollback` removes them."""

    uploader: Uploader
    stem: str
    _uploads: dict[Path, Future[str]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _error: Exception | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, file: Path, size: int, *, keep: bool = False) -> None:
        """Queue the upload of a file; afterwards it is removed from the spool, unless `keep`.

        Raises the error of an earlier file whose upload failed.
        """
        if self._error is not None:
            raise self._error
        with self._lock:
            name = f"{self.stem}-{next(self._numbers):05d}.parquet"
            self._uploads[file] = self.uploader.submit(
                lambda: self._upload(file, name, keep=keep), size
            )

    def cancel(self, file: Path) -> None:
        """Cancel the upload of a file; if it was uploaded already, remove it from the storage."""
        with self._lock:
            upload = self._uploads.pop(file)
        self._undo([upload])

    def wait(self) -> tuple[str, ...]:
        """Wait for all uploads; return the files' addresses. Raises the error of a failed one."""
        return tuple(upload.result() for upload in self._uploads.values())

    def rollback(self) -> None:
        """Cancel all uploads, and remove the uploaded files from the storage."""
        self._undo(self._uploads.values())
        self._uploads.clear()

    def _upload(self, file: Path, name: str, *, keep: bool) -> str:
        try:
            return self._put(file, name, keep=keep)
        except Exception as error:
            if self._error is None:
                # The storage may have parts of the file, if not even aborting the upload succeeded.
                self.uploader.may_have_orphans = True
            self._error = error
            raise

    def _put(self, file: Path, name: str, *, keep: bool) -> str:
        if self._error is not None:
            raise self._error
        address = self.uploader.storage.put(file, name)
        if not keep:
            with suppress(OSError):  # because the spool is removed at the end of the run anyway
                file.unlink()
        return address

    def _undo(self, uploads: Iterable[Future[str]]) -> None:
        started = [upload for upload in uploads if not upload.cancel()]
        self.uploader.remove([upload.result() for upload in started if upload.exception() is None])
