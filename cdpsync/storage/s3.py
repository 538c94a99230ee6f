"""S3, and what speaks its language: R2, GCS with HMAC keys, SeaweedFS, MinIO and others.

A bucket of R2 is `r2://` to a person and `s3://` with R2's endpoint to DuckDB: one kind of secret
serves every endpoint (R2's own kind knows no jurisdictions), and any DuckDB reads such a catalog.
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
from cdpsync.storage.s3_errors import RIGHTS, TAKEN, S3Errors, code

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    import duckdb

_TAG = "cdpsync-upload"  # metadata that tells this upload's object from any other of its name
_PART = 16 << 20  # bytes; a file of more parts than one is sent in parts, several at once
_FAREWELL = 10.0  # seconds for taking back parts; a service that hangs is left alone then


class S3Storage:
    """Objects below a prefix of a bucket."""

    def __init__(self, place: BucketUrl, access: StorageOptions, service: Service) -> None:
        self._place = place
        self._access = access
        self._service = service
        self._refusals = S3Errors(place, service.endpoint)
        self._guard = threading.RLock()
        self._made: tuple[Boto, Boto] | None = None
        self._manager: Boto = None
        self._uploads: set[Boto] = set()
        self._closed = False

    @property
    def root(self) -> str:
        """The place as DuckDB names it."""
        return f"{self._service.scheme}://{self._place.bucket}/{self._place.prefix}"

    # ---- files

    def ping(self, *, filled: bool = False) -> None:  # noqa: ARG002
        """List one object; a refusal to list is none to write."""
        try:
            with self._refusals.translated("list", ""):
                session, client = self._session_and_client()
                region = client.meta.region_name
                self._listed(client_of(session, self._service, region, FIRST_ATTEMPTS), "")
        except LandingError as error:
            if not error.forbidden:
                raise

    def put(self, file: Path, name: str) -> str:
        """Upload a file under a new name and make sure that it arrived whole."""
        key, tag = self._place.key(name), uuid.uuid4().hex
        with self._refusals.translated("write", name):
            if not self._service.conditional and self._head(key) is not None:
                raise already_exists(self._place, name)
            try:
                self._upload(file, key, tag)
            except Exception as error:
                if not self._arrived_nevertheless(error, key, tag):
                    raise
            held = self._head(key) or {}
        size = file.stat().st_size
        if held.get("ContentLength") != size:
            raise LandingError(
                f"{self._place}/{name}: {size} bytes were sent, the bucket has "
                f"{held.get('ContentLength', 'none')}. Nothing was committed; run this again."
            )
        return self.root + name

    def _upload(self, file: Path, key: str, tag: str) -> None:
        arguments = {"Metadata": {_TAG: tag}, "ContentType": "application/vnd.apache.parquet"}
        with self._guard:
            if self._closed:
                raise self._refusals.broken_off(key)
            upload = self._transfers().upload(str(file), self._place.bucket, key, arguments)
            self._uploads.add(upload)
        try:
            upload.result()
        finally:
            self._uploads.discard(upload)

    def replace(self, file: Path, name: str) -> None:
        """Upload a file in place of an older one; readers see the one or the other."""
        key = self._place.key(name)
        with self._refusals.translated("write", name):
            session, client = self._session_and_client()
            service = replace(self._service, conditional=False)
            free = client_of(session, service, client.meta.region_name)
            with file.open("rb") as body:
                free.put_object(Bucket=self._place.bucket, Key=key, Body=body)

    def _arrived_nevertheless(self, error: Exception, key: str, tag: str) -> bool:
        """Whether an upload that was refused is one whose first answer was lost on its way."""
        if code(error) not in TAKEN | {"NoSuchUpload", "404"}:
            return False
        with suppress(Exception):
            held = self._head(key) or {}
            return bool(held.get("Metadata", {}).get(_TAG) == tag)
        return False

    def _head(self, key: str) -> Answer | None:
        """Return what S3 says of an object, None where there is no such object."""
        answer: Answer
        try:
            answer = self._client.head_object(Bucket=self._place.bucket, Key=key)
        except Exception as error:
            if code(error) in {"404", "NoSuchKey"}:
                return None
            raise
        return answer

    def remove(self, name: str) -> None:
        """Delete an object; S3 does not miss one that is not there."""
        with self._refusals.translated("delete", name):
            self._client.delete_object(Bucket=self._place.bucket, Key=self._place.key(name))

    def abort_uploads(self, is_over: Callable[[str, datetime], bool], *, dry_run: bool) -> int:
        """Abort uploads in parts that nobody goes on with."""
        where = {"Bucket": self._place.bucket}
        found = 0
        with self._refusals.translated("list", "uploads"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                **where, Prefix=self._place.prefix
            )
            for page in pages:
                for one in page.get("Uploads", ()):
                    name = one["Key"].rsplit("/", 1)[-1]
                    if not is_over(name, one["Initiated"]):
                        continue
                    found += 1
                    if not dry_run:
                        self._client.abort_multipart_upload(
                            **where, Key=one["Key"], UploadId=one["UploadId"]
                        )
        return found

    # ---- the probe's steps

    def check(self) -> None:
        """Do with a probe what a run does with its files."""
        self.ping()
        where = f"{self._place.bucket}/{self._place.prefix}*"
        rights = {
            right: f"{action} on {self._place.bucket if right == 'list' else where}"
            for right, action in RIGHTS.items()
        }
        probe(self, str(self._place), rights)

    def write(self, name: str, content: bytes) -> bool:
        """Write a small object, if there is none of its name."""
        key = self._place.key(name)
        with self._refusals.translated("write", name):
            if not self._service.conditional and self._head(key) is not None:
                return False
            try:
                self._client.put_object(Bucket=self._place.bucket, Key=key, Body=content)
            except Exception as error:
                if code(error) in TAKEN:
                    return False
                raise
        return True

    def read(self, name: str) -> bytes:
        """Return what an object holds."""
        with self._refusals.translated("read", name):
            answer = self._client.get_object(Bucket=self._place.bucket, Key=self._place.key(name))
            with answer["Body"] as body:
                return bytes(body.read())

    def list(self, name: str) -> bool:
        """Tell whether an object is listed."""
        with self._refusals.translated("list", name):
            return self._listed(self._client, name)

    def _listed(self, client: Boto, name: str) -> bool:
        answer = client.list_objects_v2(
            Bucket=self._place.bucket, Prefix=self._place.key(name), MaxKeys=1
        )
        return bool(answer.get("KeyCount", len(answer.get("Contents", ()))))

    # ---- DuckDB

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Give a connection the keys that boto3 has at this moment."""
        with self._refusals.translated("read", ""):
            session, client = self._session_and_client()
            found = session.get_credentials()
            keys = found.get_frozen_credentials() if found else None
        if keys is None:
            raise self._refusals.no_credentials()
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
                path_style=not is_amazon(client) or "." in self._place.bucket,
                use_ssl=address.scheme != "http",
            ),
        )

    def refresh(self, con: duckdb.DuckDBPyConnection) -> None:
        """Give a connection the keys of this moment, which boto3 has renewed."""
        self.prepare(con)

    # ---- the client

    @property
    def _client(self) -> Boto:
        return self._session_and_client()[1]

    def _session_and_client(self) -> tuple[Boto, Boto]:
        with self._guard:
            if self._made is None:
                self._made = session_and_client(self._access, self._service, self._place.bucket)
            return self._made

    def _transfers(self) -> Boto:
        if self._manager is None:
            from boto3.s3.transfer import TransferConfig, create_transfer_manager

            config = TransferConfig(
                multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=STREAMS
            )
            self._manager = create_transfer_manager(self._client, config)
        return self._manager

    def close(self) -> None:
        """Break off what is being uploaded, and take back its parts."""
        with self._guard:
            self._closed = True
            uploads, manager = list(self._uploads), self._manager
        for upload in uploads:  # the manager's own way to cancel them all fails (s3transfer 0.19)
            upload.cancel()
        if manager is not None:
            leaving = threading.Thread(target=manager.shutdown, daemon=True)
            leaving.start()
            leaving.join(_FAREWELL)
