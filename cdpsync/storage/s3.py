"""S3 and compatible services as a storage: R2, GCS with HMAC keys, SeaweedFS, MinIO and others.

The user writes an R2 bucket as `r2://`. DuckDB gets it as `s3://` with R2's endpoint, because
DuckDB's R2 secret does not support jurisdictions, and because any DuckDB reads such a catalog.
"""

from __future__ import annotations

import threading
import uuid
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cdpsync import engine
from cdpsync.errors import LandingError
from cdpsync.redact import remember
from cdpsync.storage.options import BucketUrl, StorageOptions, already_exists
from cdpsync.storage.probe import probe
from cdpsync.storage.s3_client import (
    FIRST_ATTEMPTS,
    STREAMS,
    Answer,
    Boto,
    Service,
    client_of,
    is_amazon,
    session_and_client,
)
from cdpsync.storage.s3_errors import ALREADY_EXISTS, RIGHTS, S3Errors, code

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    import duckdb

_TAG = "cdpsync-upload"  # metadata that identifies the object of this upload
_PART = 16 << 20  # bytes; a larger file is uploaded in parts, several in parallel
_CLOSE_TIMEOUT = 10.0  # seconds to remove the parts of cancelled uploads


class S3Storage:
    """Objects below a prefix of a bucket."""

    def __init__(self, url: BucketUrl, options: StorageOptions, service: Service) -> None:
        self._url = url
        self._options = options
        self._service = service
        self._errors = S3Errors(url, service.endpoint)
        self._guard = threading.RLock()
        self._connected: tuple[Boto, Boto] | None = None
        self._manager: Boto = None
        self._uploads: set[Boto] = set()
        self._closed = False

    @property
    def root(self) -> str:
        """The bucket's address for DuckDB."""
        return f"{self._service.scheme}://{self._url.bucket}/{self._url.prefix}"

    # ---- files

    def ping(self, *, filled: bool = False) -> None:  # noqa: ARG002
        """List one object. A refusal is ignored, because a run need not list."""
        try:
            with self._errors.translated("list", ""):
                session, client = self._session_and_client()
                region = client.meta.region_name
                self._listed(client_of(session, self._service, region, FIRST_ATTEMPTS), "")
        except LandingError as error:
            if not error.forbidden:
                raise

    def put(self, file: Path, name: str) -> str:
        """Upload a file under a new name and check its size in the bucket."""
        key, tag = self._url.key(name), uuid.uuid4().hex
        with self._errors.translated("write", name):
            if not self._service.conditional and self._head(key) is not None:
                raise already_exists(self._url, name)
            try:
                self._upload(file, key, tag)
            except Exception as error:
                if not self._succeeded_before(error, key, tag):
                    raise
            stored = self._head(key) or {}
        size = file.stat().st_size
        if stored.get("ContentLength") != size:
            raise LandingError(
                f"{self._url}/{name}: {size} bytes were sent, the bucket has "
                f"{stored.get('ContentLength', 'none')}. Nothing was committed; run this again."
            )
        return self.root + name

    def _upload(self, file: Path, key: str, tag: str) -> None:
        arguments = {"Metadata": {_TAG: tag}, "ContentType": "application/vnd.apache.parquet"}
        with self._guard:
            if self._closed:
                raise self._errors.cancelled(key)
            upload = self._transfer_manager().upload(str(file), self._url.bucket, key, arguments)
            self._uploads.add(upload)
        try:
            upload.result()
        finally:
            self._uploads.discard(upload)

    def replace(self, file: Path, name: str) -> None:
        """Upload a file in place of an older one; readers see either, complete."""
        key = self._url.key(name)
        with self._errors.translated("write", name):
            session, client = self._session_and_client()
            service = replace(self._service, conditional=False)
            overwriting = client_of(session, service, client.meta.region_name)
            with file.open("rb") as body:
                overwriting.put_object(Bucket=self._url.bucket, Key=key, Body=body)

    def _succeeded_before(self, error: Exception, key: str, tag: str) -> bool:
        """Whether a refused upload succeeded at an earlier attempt, whose response was lost."""
        if code(error) not in ALREADY_EXISTS | {"NoSuchUpload", "404"}:
            return False
        with suppress(Exception):
            stored = self._head(key) or {}
            return bool(stored.get("Metadata", {}).get(_TAG) == tag)
        return False

    def _head(self, key: str) -> Answer | None:
        """Return S3's metadata of an object, None if there is no such object."""
        answer: Answer
        try:
            answer = self._client.head_object(Bucket=self._url.bucket, Key=key)
        except Exception as error:
            if code(error) in {"404", "NoSuchKey"}:
                return None
            raise
        return answer

    def remove(self, name: str) -> None:
        """Delete an object, if it exists."""
        with self._errors.translated("delete", name):
            self._client.delete_object(Bucket=self._url.bucket, Key=self._url.key(name))

    def abort_uploads(self, is_over: Callable[[str, datetime], bool], *, dry_run: bool) -> int:
        """Abort the uploads in parts for which `is_over(name, start)`; return how many."""
        aborted = 0
        with self._errors.translated("list", "uploads"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._url.bucket, Prefix=self._url.prefix
            )
            for page in pages:
                for upload in page.get("Uploads", ()):
                    name = upload["Key"].rsplit("/", 1)[-1]
                    if not is_over(name, upload["Initiated"]):
                        continue
                    aborted += 1
                    if not dry_run:
                        self._client.abort_multipart_upload(
                            Bucket=self._url.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
        return aborted

    # ---- the probe's steps

    def check(self) -> None:
        """Write, read, list and delete a probe object."""
        self.ping()
        objects = f"{self._url.bucket}/{self._url.prefix}*"
        rights = {
            right: f"{action} on {self._url.bucket if right == 'list' else objects}"
            for right, action in RIGHTS.items()
        }
        probe(self, str(self._url), rights)

    def write(self, name: str, content: bytes) -> bool:
        """Write a small object; return False, and change nothing, if the name exists."""
        key = self._url.key(name)
        with self._errors.translated("write", name):
            if not self._service.conditional and self._head(key) is not None:
                return False
            try:
                self._client.put_object(Bucket=self._url.bucket, Key=key, Body=content)
            except Exception as error:
                if code(error) in ALREADY_EXISTS:
                    return False
                raise
        return True

    def read(self, name: str) -> bytes:
        """Return an object's content."""
        with self._errors.translated("read", name):
            answer = self._client.get_object(Bucket=self._url.bucket, Key=self._url.key(name))
            with answer["Body"] as body:
                return bytes(body.read())

    def list(self, name: str) -> bool:
        """Whether a listing has the object."""
        with self._errors.translated("list", name):
            return self._listed(self._client, name)

    def _listed(self, client: Boto, name: str) -> bool:
        answer = client.list_objects_v2(
            Bucket=self._url.bucket, Prefix=self._url.key(name), MaxKeys=1
        )
        return bool(answer.get("KeyCount", len(answer.get("Contents", ()))))

    # ---- DuckDB

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Give a connection boto3's current credentials."""
        with self._errors.translated("read", ""):
            session, client = self._session_and_client()
            credentials = session.get_credentials()
            keys = credentials.get_frozen_credentials() if credentials else None
        if keys is None:
            raise self._errors.no_credentials()
        remember(keys.secret_key)
        remember(keys.token)
        address = urlsplit(client.meta.endpoint_url)
        engine.storage_secret(
            con,
            engine.StorageKeys(
                type=self._service.secret,
                scope=self.root,
                key_id=keys.access_key,
                secret=keys.secret_key,
                session_token=keys.token,
                region=client.meta.region_name,
                endpoint=address.netloc,
                path_style=not is_amazon(client) or "." in self._url.bucket,
                use_ssl=address.scheme != "http",
            ),
        )

    def refresh(self, con: duckdb.DuckDBPyConnection) -> None:
        """Give a connection the current credentials, which boto3 has renewed if they expired."""
        self.prepare(con)

    # ---- the client

    @property
    def _client(self) -> Boto:
        return self._session_and_client()[1]

    def _session_and_client(self) -> tuple[Boto, Boto]:
        with self._guard:
            if self._connected is None:
                self._connected = session_and_client(self._options, self._service, self._url.bucket)
            return self._connected

    def _transfer_manager(self) -> Boto:
        if self._manager is None:
            from boto3.s3.transfer import TransferConfig, create_transfer_manager

            config = TransferConfig(
                multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=STREAMS
            )
            self._manager = create_transfer_manager(self._client, config)
        return self._manager

    def close(self) -> None:
        """Cancel uploads in progress, and remove their parts."""
        with self._guard:
            self._closed = True
            uploads, manager = list(self._uploads), self._manager
        for upload in uploads:  # because the manager's own cancellation fails (s3transfer 0.19)
            upload.cancel()
        if manager is not None:
            shutdown = threading.Thread(target=manager.shutdown, daemon=True)
            shutdown.start()
            shutdown.join(_CLOSE_TIMEOUT)
