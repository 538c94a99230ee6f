"""The published catalog: a copy beside the data, so that readers of the bucket can query it."""

from __future__ import annotations

import logging
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync import project
from cdpsync.catalog import temp_dir
from cdpsync.config.paths import is_bucket, is_file_url, is_url, warehouse_path
from cdpsync.errors import CdpsyncError, ConfigError, LockHeldError
from cdpsync.model import Config, Warehouse
from cdpsync.storage import open_storage
from cdpsync.system import locks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdpsync.catalog import CatalogFile
    from cdpsync.storage import Storage

log = logging.getLogger("cdpsync.maintain.publish")

NAME = "catalog.ducklake"
_LOCK_TIMEOUT = 60.0  # seconds, because other runs of the same project publish too


def publish(catalog: CatalogFile, storage: Storage, locks_folder: Path, run_id: str) -> None:
    """Replace the published catalog by a copy of the catalog as it is now.

    A lock admits one run at a time, so that an older copy never replaces a newer one. Raises
    LandingError, LockHeldError.
    """
    deadline = time.monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            with locks.hold(locks_folder, ["published catalog"], run_id, run_id):
                with temp_dir(catalog.scratch, "publish-") as folder:
                    copy = folder / NAME
                    catalog.export(copy)
                    storage.replace(copy, NAME)
                return
        except LockHeldError:
            if time.monotonic() > deadline:
                raise


def publish_after_run(config: Config, catalog: CatalogFile, storage: Storage, run_id: str) -> None:
    """Publish the catalog if the project asks for it. A failure is a warning."""
    if not config.warehouse.publish or not catalog.exists():
        return
    try:
        publish(catalog, storage, project.locks_folder(config), run_id)
    except CdpsyncError as error:
        log.warning("the catalog was not published: %s", error.message)


@contextmanager
def published(path: str) -> Iterator[Config]:
    """Fetch the catalog published in a folder or bucket; yield a project that can only query it.

    Raises ConfigError for an address that is neither, LandingError where no catalog is published.
    """
    if is_url(path) and not (is_bucket(path) or is_file_url(path)):
        raise ConfigError(
            f'--lake: "{path}" is not a lake. Give a folder, s3://bucket/prefix or gs://bucket/prefix.'
        )
    with tempfile.TemporaryDirectory(prefix="cdpsync-lake-") as name:
        folder = Path(name)
        catalog, state = folder / NAME, folder / "state.json"
        location = warehouse_path(path, Path.cwd()).rstrip("/")
        warehouse = Warehouse(location, catalog, state, location="--lake")
        storage = open_storage(warehouse)
        storage.ping()  # because a missing bucket is reported sooner than by a read
        catalog.write_bytes(storage.read(NAME))
        yield Config(warehouse, {}, ())
