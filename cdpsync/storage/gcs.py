"""Google Cloud Storage as a storage, through gcsfs, which also serves `gs://` to DuckDB."""

from __future__ import annotations

import json
import logging
import os
import threading
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdpsync import engine
from cdpsync.errors import CdpsyncError, LandingError
from cdpsync.storage.options import BucketUrl, StorageOptions, already_exists, missing_driver
from cdpsync.storage.probe import probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    import duckdb

Google = Any  # gcsfs and google-auth have no types

_TAG = "cdpsync-upload"  # metadata that identifies the object of this upload
_PART = 5 << 20  # bytes; gcsfs uploads a larger file in parts
_FIRST_TIMEOUT = 10.0  # seconds of the first request; gcsfs itself retries for 30
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_RIGHTS = {
    "write": "storage.objects.create",
    "read": "storage.objects.get",
    "list": "storage.objects.list",
    "delete": "storage.objects.delete",
}


class GcsStorage:
    """Objects below a prefix of a bucket. Each upload is checked by its MD5."""

    def __init__(self, url: BucketUrl, options: StorageOptions) -> None:
        self._url = url
        self._options = options
        self._guard = threading.Lock()
        self._filesystem: Google = None
        self._answered = False

    @property
    def root(self) -> str:
        """The bucket's address for DuckDB."""
        return f"gs://{self._url.bucket}/{self._url.prefix}"

    # ---- files

    def ping(self, *, filled: bool = False) -> None:  # noqa: ARG002
        """List one object, once. A refusal is ignored, because a run need not list."""
        if self._answered:
            return
        try:
            with self._translated("list", ""):
                self._fs.call(
                    "GET", "b/{}/o", self._url.bucket, maxResults=1, timeout=_FIRST_TIMEOUT
                )
        except LandingError as error:
            if not error.forbidden:
                raise
        self._answered = True

    def put(self, file: Path, name: str) -> str:
        """Upload a file under a new name; gcsfs compares its MD5 and retries temporary errors."""
        tag = uuid.uuid4().hex
        with self._translated("write", name):
            if file.stat().st_size > _PART and self._fs.exists(self._path(name)):
                # Checked first, because an upload in parts is refused only after the last part.
                raise already_exists(self._url, name)
            try:
                self._fs.put_file(
                    str(file),
                    self._path(name),
                    mode="create",
                    consistency="md5",
                    content_type="application/vnd.apache.parquet",
                    metadata={_TAG: tag},
                )
            except FileExistsError:
                if not self._is_ours(name, tag):
                    raise
        return self.root + name

    def replace(self, file: Path, name: str) -> None:
        """Upload a file in place of an older one; readers see either, complete."""
        with self._translated("write", name):
            self._fs.put_file(str(file), self._path(name), consistency="md5")

    def _is_ours(self, name: str, tag: str) -> bool:
        """Whether a refused upload succeeded at an earlier attempt, whose response was lost."""
        with suppress(Exception):
            return bool(self._fs.info(self._path(name))["metadata"][_TAG] == tag)
        return False

    def remove(self, name: str) -> None:
        """Delete an object, if it exists."""
        with self._translated("delete", name), suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    # ---- the probe's steps

    def check(self) -> None:
        """Write, read, list and delete a probe object."""
        self.ping()
        rights = {right: f"{action} on {self._url.bucket}" for right, action in _RIGHTS.items()}
        probe(self, str(self._url), rights)

    def write(self, name: str, content: bytes) -> bool:
        """Write a small object; return False, and change nothing, if the name exists."""
        with self._translated("write", name):
            try:
                self._fs.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:
                return False
        return True

    def read(self, name: str) -> bytes:
        """Return an object's content."""
        with self._translated("read", name):
            self._fs.invalidate_cache()
            return bytes(self._fs.cat_file(self._path(name)))

    def list(self, name: str) -> bool:
        """Whether a listing has the object."""
        with self._translated("list", name):
            self._fs.invalidate_cache()
            return bool(self._fs.find(self._path("")[:-1], prefix=name))

    # ---- DuckDB

    def abort_uploads(self, is_over: Callable[[str, datetime], bool], *, dry_run: bool) -> int:  # noqa: ARG002
        """Do nothing: unfinished uploads expire after a week."""
        return 0

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Register gcsfs for `gs://` in a connection; gcsfs renews its credentials by itself."""
        self.ping()
        with self._translated("read", ""):
            filesystem = self._fs
        engine.use_filesystem(con, filesystem)

    def refresh(self, con: duckdb.DuckDBPyConnection) -> None:
        """Do nothing: gcsfs renews its credentials by itself."""

    def close(self) -> None:
        """Do nothing: a cancelled upload leaves no object, and its session expires."""

    # ---- the client

    def _path(self, name: str) -> str:
        return f"{self._url.bucket}/{self._url.key(name)}"

    @property
    def _fs(self) -> Google:
        with self._guard:
            if self._filesystem is None:
                self._filesystem = self._connect()
            return self._filesystem

    def _connect(self) -> Google:
        # Support of hierarchical buckets needs more permissions, and a second client.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        try:
            from gcsfs import GCSFileSystem
        except ModuleNotFoundError as error:
            raise missing_driver("gcsfs", "gcs") from error
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it raises what it logs

        class FileSystem(GCSFileSystem):  # type: ignore[misc]  # gcsfs has no types
            """Opens files without reading ahead.

            Parquet is read at random offsets, and a prefetch that still runs at exit writes
            warnings to stderr.
            """

            def _open(self, path: str, mode: str = "rb", **options: Google) -> Google:
                return super()._open(path, mode, **{"cache_type": "bytes", **options})

        return FileSystem(
            token=self._token(),
            access="read_write",
            endpoint_url=self._options.endpoint,
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def _token(self) -> Google:
        if self._options.credentials is not None:
            return _credentials(self._options, self._options.credentials)
        emulated = self._options.endpoint or os.environ.get("STORAGE_EMULATOR_HOST")
        return "anon" if emulated else "google_default"

    # ---- errors

    @contextmanager
    def _translated(self, action: str, name: str) -> Iterator[None]:
        """Raise gcsfs's errors as LandingError that names the bucket and the next step."""
        try:
            yield
        except CdpsyncError:
            raise
        except FileExistsError as error:
            raise already_exists(self._url, name) from error
        except FileNotFoundError as error:
            if action == "read":
                raise LandingError(f"{self._url}: {name} does not exist.") from error
            raise LandingError(
                f"{self._url}: there is no such bucket. Create it, or fix warehouse.path. "
                "Nothing was committed."
            ) from error
        except Exception as error:
            raise self._refused(action, name, error) from error

    def _refused(self, action: str, name: str, error: Exception) -> LandingError:
        from aiohttp import ClientConnectionError
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

        if isinstance(error, OSError) and str(error).startswith("Forbidden"):
            return LandingError(
                f"{self._url}: these credentials may not {action} objects there. Grant "
                f"{_RIGHTS[action]} on {self._url.bucket}. Nothing was committed.",
                forbidden=True,
            )
        if isinstance(error, DefaultCredentialsError):
            return LandingError(
                f"{self._url}: no Google credentials were found. Give credentials under "
                "warehouse.storage, or set GOOGLE_APPLICATION_CREDENTIALS, or log in: gcloud auth "
                "application-default login."
            )
        if isinstance(error, GoogleAuthError) or getattr(error, "code", None) in {401, "401"}:
            return LandingError(
                f"{self._url}: Google did not accept the credentials "
                f"({engine.first_line(error)}). Check warehouse.storage.credentials."
            )
        if isinstance(error, ClientConnectionError | TimeoutError):
            reason = engine.first_line(error) or f"no answer within {_FIRST_TIMEOUT:.0f} s"
            service = self._options.endpoint or "Google Cloud Storage"
            return LandingError(
                f"{self._url}: {service} cannot be reached ({reason}), after "
                "several attempts. Nothing was committed; run this again."
            )
        return LandingError(
            f"{self._url}: the service refused to {action} {name} "
            f"({type(error).__name__}: {engine.first_line(error)}). Nothing was committed."
        )


def _credentials(options: StorageOptions, json_or_path: str) -> Google:
    """Return credentials from a JSON text, or from the file at this path."""
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2 import credentials, service_account

    user: Google = credentials.Credentials.from_authorized_user_info
    account: Google = service_account.Credentials.from_service_account_info
    try:
        is_json = json_or_path.lstrip().startswith("{")
        info = json.loads(json_or_path if is_json else Path(json_or_path).expanduser().read_text())
        make = {"service_account": account, "authorized_user": user}[info["type"]]
        return make(info, scopes=[_SCOPE])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, GoogleAuthError):
        raise options.error(
            "credentials must be the JSON of a Google service account, or the path of such a file. "
            "Write ${file:/path/to/key.json}; other kinds come from GOOGLE_APPLICATION_CREDENTIALS"
        ) from None  # its text may have the key
