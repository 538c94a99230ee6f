"""Spool files of one table whose upload is deferred until the table has been compared."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdpsync.extract.chunk_writer import SpoolFile
    from cdpsync.load.upload import TableUpload


@dataclass(slots=True)
class DeferredFiles:
    """The files of a table that is compared with the lake. Used from the threads that read it.

    Where the spool is too small for the table, its files are uploaded while it is read, as those
    of a first load: `is_complete` is False then.
    """

    upload: TableUpload
    is_complete: bool = True
    _files: list[SpoolFile] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, file: SpoolFile) -> None:
        """Defer a file, or queue it and all others where the spool is too small for them."""
        with self._lock:
            if self.is_complete and self.upload.uploader.defer(file.bytes):
                self._files.append(file)
                return
            self.is_complete = False
            self._queue()
            self.upload.add(file.path, file.bytes)

    def drop(self, file: SpoolFile) -> None:
        """Forget a file that is no longer part of the table."""
        with self._lock:
            if file in self._files:
                self._files.remove(file)
                self.upload.uploader.release_deferred(file.bytes)
            else:
                self.upload.cancel(file.path)

    def queue(self) -> None:
        """Queue the upload of every deferred file."""
        with self._lock:
            self._queue()

    def discard(self) -> None:
        """Remove the files from the spool, and from the storage those that were uploaded."""
        with self._lock:
            self._release(remove=True)
        self.upload.rollback()

    def close(self) -> None:
        """Return the spool of the files that are still deferred."""
        with self._lock:
            self._release(remove=False)

    def _queue(self) -> None:
        while self._files:
            file = self._files.pop(0)
            self.upload.uploader.release_deferred(file.bytes)
            self.upload.add(file.path, file.bytes)

    def _release(self, *, remove: bool) -> None:
        while self._files:
            file = self._files.pop()
            if remove:
                file.path.unlink(missing_ok=True)
            self.upload.uploader.release_deferred(file.bytes)
