"""Google Cloud Storage, through gcsfs: for uploads, and as DuckDB's way to `gs://`."""

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

_TAG = "cdpsync-upload"  # metadata that tells this upload's object from any other of its name
_PART = 5 << 20  # bytes; gcsfs sends what is larger in parts
_KNOCK = 10.0  # seconds for the first request; gcsfs itself would try for half a minute
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_RIGHTS = {
    "write": "storage.objects.create",
    "read": "storage.objects.get",
    "list": "storage.objects.list",
    "delete": "storage.objects.delete",
}


class GcsStorage:
    """Objects below a prefix of a bucket. Each upload is checked by its MD5."""

    def __init__(self, place: BucketUrl, access: StorageOptions) -> None:
        self._place = place
        self._access = access
        self._guard = threading.Lock()
        self._made: Google = None
        self._reached = False

    @property
    def root(self) -> str:
        """The place as DuckDB names it."""
        return f"gs://{self._place.bucket}/{self._place.prefix}"

    # ---- files

    def ping(self, *, filled: bool = False) -> None:  # noqa: ARG002
        """List one object, once; a refusal to list is none to write."""
        if self._reached:
            return
        try:
            with self._asking("list", ""):
                self._fs.call("GET", "b/{}/o", self._place.bucket, maxResults=1, timeout=_KNOCK)
        except LandingError as error:
            if not error.forbidden:
                raise
        self._reached = True

    def put(self, file: Path, name: str) -> str:
        """Upload a file under a new name; gcsfs compares its MD5 and retries what is worth it."""
        tag = uuid.uuid4().hex
        with self._asking("write", name):
            if file.stat().st_size > _PART and self._fs.exists(self._path(name)):
                raise already_exists(
                    self._place, name
                )  # sent in parts, it would be refused only at its end
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
        """Upload a file in place of an older one; readers see the one or the other."""
        with self._asking("write", name):
            self._fs.put_file(str(file), self._path(name), consistency="md5")

    def _is_ours(self, name: str, tag: str) -> bool:
        """Whether an upload that was refused is one whose first answer was lost on its way."""
        with suppress(Exception):
            return bool(self._fs.info(self._path(name))["metadata"][_TAG] == tag)
        return False

    def remove(self, name: str) -> None:
        """Delete an object; one that is not there is not missed."""
        with self._asking("delete", name), suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    # ---- the probe's steps

    def check(self) -> None:
        """Do with a probe what a run does with its files."""
        self.ping()
        rights = {right: f"{action} on {self._place.bucket}" for right, action in _RIGHTS.items()}
        probe(self, str(self._place), rights)

    def write(self, name: str, content: bytes) -> bool:
        """Write a small object, if there is none of its name."""
        with self._asking("write", name):
            try:
                self._fs.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:
                return False
        return True

    def read(self, name: str) -> bytes:
        """Return what an object holds."""
        with self._asking("read", name):
            self._fs.invalidate_cache()
            return bytes(self._fs.cat_file(self._path(name)))

    def list(self, name: str) -> bool:
        """Tell whether an object is listed."""
        with self._asking("list", name):
            self._fs.invalidate_cache()
            return bool(self._fs.find(self._path("")[:-1], prefix=name))

    # ---- DuckDB

    def abort_uploads(self, is_over: Callable[[str, datetime], bool], *, dry_run: bool) -> int:  # noqa: ARG002
        """Do nothing: they expire by themselves after a week."""
        return 0

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Let DuckDB reach `gs://` through gcsfs, which renews its credentials by itself."""
        self.ping()
        with self._asking("read", ""):
            filesystem = self._fs
        engine.use_filesystem(con, filesystem)

    def refresh(self, con: duckdb.DuckDBPyConnection) -> None:
        """Do nothing: gcsfs renews its credentials by itself."""

    def close(self) -> None:
        """Do nothing: an upload that ends early leaves no object, and its session expires."""

    # ---- the client

    def _path(self, name: str) -> str:
        return f"{self._place.bucket}/{self._place.key(name)}"

    @property
    def _fs(self) -> Google:
        with self._guard:
            if self._made is None:
                self._made = self._connect()
            return self._made

    def _connect(self) -> Google:
        # Hierarchical buckets need permissions that a plain one's user lacks, and a second client.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        try:
            from gcsfs import GCSFileSystem
        except ModuleNotFoundError as error:
            raise missing_driver("gcsfs", "gcs") from error
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # what it says is raised too

        class FileSystem(GCSFileSystem):  # type: ignore[misc]  # gcsfs has no types
            """Opens files without reading ahead.

            Parquet is read in places, and a reader still ahead at exit fills stderr with warnings.
            """

            def _open(self, path: str, mode: str = "rb", **options: Google) -> Google:
                return super()._open(path, mode, **{"cache_type": "bytes", **options})

        return FileSystem(
            token=self._token(),
            access="read_write",
            endpoint_url=self._access.endpoint,
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def _token(self) -> Google:
        if self._access.credentials is not None:
            return _credentials(self._access, self._access.credentials)
        emulated = self._access.endpoint or os.environ.get("STORAGE_EMULATOR_HOST")
        return "anon" if emulated else "google_default"

    # ---- what goes wrong

    @contextmanager
    def _asking(self, action: str, name: str) -> Iterator[None]:
        """Say what gcsfs's errors mean, and what to do about them."""
        try:
            yield
        except CdpsyncError:
            raise
        except FileExistsError as error:
            raise already_exists(self._place, name) from error
        except FileNotFoundError as error:
            if action == "read":
                raise LandingError(f"{self._place}: there is no {name} there.") from error
            raise LandingError(
                f"{self._place}: there is no such bucket. Create it, or mend warehouse.path. "
                "Nothing was committed."
            ) from error
        except Exception as error:
            raise self._refused(action, name, error) from error

    def _refused(self, action: str, name: str, error: Exception) -> LandingError:
        from aiohttp import ClientConnectionError
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

        if isinstance(error, OSError) and str(error).startswith("Forbidden"):
            return LandingError(
                f"{self._place}: these credentials may not {action} objects there. Grant "
                f"{_RIGHTS[action]} on {self._place.bucket}. Nothing was committed.",
                forbidden=True,
            )
        if isinstance(error, DefaultCredentialsError):
            return LandingError(
                f"{self._place}: no Google credentials were found. Give credentials under "
                "warehouse.storage, or set GOOGLE_APPLICATION_CREDENTIALS, or log in: gcloud auth "
                "application-default login."
            )
        if isinstance(error, GoogleAuthError) or getattr(error, "code", None) in {401, "401"}:
            return LandingError(
                f"{self._place}: Google did not accept the credentials "
                f"({engine.first_line(error)}). Check warehouse.storage.credentials."
            )
        if isinstance(error, ClientConnectionError | TimeoutError):
            reason = engine.first_line(error) or f"no answer within {_KNOCK:.0f} s"
            where = self._access.endpoint or "Google Cloud Storage"
            return LandingError(
                f"{self._place}: {where} cannot be reached ({reason}), tried "
                "several times. Nothing was committed; run this again."
            )
        return LandingError(
            f"{self._place}: the service refused to {action} {name} "
            f"({type(error).__name__}: {engine.first_line(error)}). Nothing was committed."
        )


def _credentials(access: StorageOptions, said: str) -> Google:
    """Return credentials from a JSON text, or from the file of this name."""
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2 import credentials, service_account

    user: Google = credentials.Credentials.from_authorized_user_info
    account: Google = service_account.Credentials.from_service_account_info
    try:
        text = said if said.lstrip().startswith("{") else Path(said).expanduser().read_text()
        info = json.loads(text)
        make = {"service_account": account, "authorized_user": user}[info["type"]]
        return make(info, scopes=[_SCOPE])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, GoogleAuthError):
        raise access.error(
            "credentials must be the JSON of a Google service account, or the path of such a file. "
            "Write ${file:/path/to/key.json}; other kinds come from GOOGLE_APPLICATION_CREDENTIALS"
        ) from None  # their text may hold the key
