"""The storage of a lake's files: one Protocol for folders, S3-compatible services and GCS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cdpsync.errors import ConfigError
from cdpsync.storage.folder import FolderStorage
from cdpsync.storage.options import BucketUrl, StorageOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import duckdb

    from cdpsync.model import Warehouse

__all__ = ["FolderStorage", "Storage", "open_storage"]


class Storage(Protocol):
    """A store for files that never change once they are put. Opening it sends no request."""

    @property
    def root(self) -> str:
        """The storage's address for DuckDB, with a final slash."""

    def ping(self, *, filled: bool = False) -> None:
        """Check that the storage answers, before a run reads its sources. Raises LandingError.

        Passes if a run may succeed: a missing permission shows only when it is needed. `filled`:
        the storage must hold files already, so a folder that a run would create is an error.
        """

    def put(self, file: Path, name: str) -> str:
        """Store a local file under a new name, durably; return its address for DuckDB.

        Never overwrites a file, and leaves none behind when it fails. Several threads may call it.
        Raises LandingError.
        """

    def replace(self, file: Path, name: str) -> None:
        """Store a file under a name of ours, and replace an older one atomically."""

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises LandingError if there is no such file."""

    def remove(self, name: str) -> None:
        """Remove a file that was put, if it exists."""

    def abort_uploads(self, is_over: Callable[[str, datetime], bool], *, dry_run: bool) -> int:
        """Abort unfinished uploads for which `is_over(name, start)`; return how many."""

    def check(self) -> None:
        """Write, read, list and remove a probe. Raises LandingError, naming missing permissions."""

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Give a connection access to the storage, with the newest credentials."""

    def refresh(self, con: duckdb.DuckDBPyConnection) -> None:
        """Renew a prepared connection's credentials if they may expire. Sends no request."""

    def close(self) -> None:
        """Cancel uploads in progress, and remove their parts."""


def open_storage(warehouse: Warehouse) -> Storage:
    """Return the storage of a warehouse. Raises ConfigError if its options do not fit its type."""
    if "://" not in warehouse.path:
        return FolderStorage(Path(warehouse.path))
    url = BucketUrl.of(warehouse.path)
    if any(sign in warehouse.path for sign in "*?["):
        raise ConfigError(f"{warehouse.location}: warehouse.path: *, ? and [ cannot be in it.")
    options = StorageOptions.of(warehouse.storage, warehouse.location)
    if url.scheme == "gs" and options.access_key_id is None:
        from cdpsync.storage.gcs import GcsStorage

        return GcsStorage(url, options)
    from cdpsync.storage.s3 import S3Storage
    from cdpsync.storage.s3_client import service_of

    return S3Storage(url, options, service_of(url, options))
