"""S3, and what speaks its language: R2, GCS with HMAC keys, SeaweedFS, MinIO and others.

A bucket of R2 is `r2://` to a person and `s3://` with R2's endpoint to DuckDB: one kind of secret
serves every endpoint (R2's own kind knows no jurisdictions), and any DuckDB reads such a catalog.
"""

from __future__ import annotations

import base64
import hashlib
import threading
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from cdpsync import engine
from cdpsync.errors import LandingError
from cdpsync.redact import remember
from cdpsync.storage.access import Access, Place, missing_driver, taken
from cdpsync.storage.probe import probe

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    import duckdb

Boto = Any  # boto3 makes its classes as it runs, and has no types
Answer = dict[str, Any]  # an answer of S3, as boto3 hands it out

_TAG = "cdpsync-upload"  # metadata that tells this upload's object from any other of its name
_PART = 16 << 20  # bytes; a file of more parts than one is sent in parts, several at once
_STREAMS = 8
_ATTEMPTS = 9  # of each request, the waits between them growing
_FAREWELL = 10.0  # seconds for taking back parts; a service that hangs is left alone then
_RIGHTS = {
    "write": "s3:PutObject",
    "read": "s3:GetObject",
    "list": "s3:ListBucket",
    "delete": "s3:DeleteObject",
}


@dataclass(frozen=True, slots=True)
class Service:
    """In what a service differs from Amazon's own.

    `scheme` and `secret` are DuckDB's words for it. `conditional`: it knows If-None-Match on
    writes. `checksums`: it takes the newer checksums (CRC32); else each request has its MD5.
    """

    scheme: str = "s3"
    secret: str = "s3"  # noqa: S105 - a kind of secret, no secret
    endpoint: str | None = None
    region: str | None = None
    conditional: bool = True
    checksums: bool = True


def service_of(place: Place, access: Access) -> Service:
    """Return the service that an address means. Raises ConfigError for R2 without an account."""
    if place.scheme == "gs":
        endpoint = access.endpoint or "https://storage.googleapis.com"
        return Service("gs", "gcs", endpoint, access.region or "auto", False, False)
    if place.scheme == "r2":
        if access.endpoint is None and access.account_id is None:
            raise access.error(
                "account_id is missing. Cloudflare shows it beside the bucket; or give the "
                "bucket's endpoint"
            )
        endpoint = access.endpoint or f"https://{access.account_id}.r2.cloudflarestorage.com"
        return Service(endpoint=endpoint, region=access.region or "auto")
    return Service(endpoint=access.endpoint, region=access.region)


class S3Storage:
    """Objects below a prefix of a bucket."""

    def __init__(self, place: Place, access: Access, service: Service) -> None:
        self._place = place
        self._access = access
        self._service = service
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

    def reach(self) -> None:
        """List one object; a refusal to list is none to write."""
        try:
            self.list("")
        except LandingError as error:
            if not error.forbidden:
                raise

    def put(self, file: Path, name: str) -> str:
        """Upload a file under a new name and make sure that it arrived whole."""
        key, tag = self._place.key(name), uuid.uuid4().hex
        with self._asking("write", name):
            if not self._service.conditional and self._head(key) is not None:
                raise taken(self._place, name)
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
                raise self._broken_off(key)
            upload = self._transfers().upload(str(file), self._place.bucket, key, arguments)
            self._uploads.add(upload)
        try:
            upload.result()
        finally:
            self._uploads.discard(upload)

    def replace(self, file: Path, name: str) -> None:
        """Upload a file in place of an older one; readers see the one or the other."""
        key = self._place.key(name)
        with self._asking("write", name):
            session, client = self._session_and_client()
            service = replace(self._service, conditional=False)
            free = _client(session, service, client.meta.region_name)
            with file.open("rb") as body:
                free.put_object(Bucket=self._place.bucket, Key=key, Body=body)

    def _arrived_nevertheless(self, error: Exception, key: str, tag: str) -> bool:
        """Whether an upload that was refused is one whose first answer was lost on its way."""
        if _code(error) not in {"PreconditionFailed", "412", "NoSuchUpload", "404"}:
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
            if _code(error) in {"404", "NoSuchKey"}:
                return None
            raise
        return answer

    def remove(self, name: str) -> None:
        """Delete an object; S3 does not miss one that is not there."""
        with self._asking("delete", name):
            self._client.delete_object(Bucket=self._place.bucket, Key=self._place.key(name))

    def abort_uploads(self, older: datetime, names: re.Pattern[str], *, dry_run: bool) -> int:
        """Abort uploads in parts that nobody goes on with."""
        where = {"Bucket": self._place.bucket}
        found = 0
        with self._asking("list", "uploads"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                **where, Prefix=self._place.prefix
            )
            for page in pages:
                for one in page.get("Uploads", ()):
                    name = one["Key"].rsplit("/", 1)[-1]
                    if one["Initiated"] > older or not names.fullmatch(name):
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
        where = f"{self._place.bucket}/{self._place.prefix}*"
        rights = {
            right: f"{action} on {self._place.bucket if right == 'list' else where}"
            for right, action in _RIGHTS.items()
        }
        probe(self, str(self._place), rights)

    def write(self, name: str, content: bytes) -> bool:
        """Write a small object, if there is none of its name."""
        key = self._place.key(name)
        with self._asking("write", name):
            if not self._service.conditional and self._head(key) is not None:
                return False
            try:
                self._client.put_object(Bucket=self._place.bucket, Key=key, Body=content)
            except Exception as error:
                if _code(error) in {"PreconditionFailed", "412"}:
                    return False
                raise
        return True

    def read(self, name: str) -> bytes:
        """Return what an object holds."""
        with self._asking("read", name):
            answer = self._client.get_object(Bucket=self._place.bucket, Key=self._place.key(name))
            with answer["Body"] as body:
                return bytes(body.read())

    def list(self, name: str) -> bool:
        """Tell whether an object is listed."""
        with self._asking("list", name):
            answer = self._client.list_objects_v2(
                Bucket=self._place.bucket, Prefix=self._place.key(name), MaxKeys=1
            )
        return bool(answer.get("KeyCount", len(answer.get("Contents", ()))))

    # ---- DuckDB

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Give a connection the keys that boto3 has at this moment."""
        with self._asking("read", ""):
            session, client = self._session_and_client()
            found = session.get_credentials()
            keys = found.get_frozen_credentials() if found else None
        if keys is None:
            raise self._no_credentials()
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
                path_style=not _is_amazon(client) or "." in self._place.bucket,
                use_ssl=address.scheme != "http",
            ),
        )

    # ---- the client

    @property
    def _client(self) -> Boto:
        return self._session_and_client()[1]

    def _session_and_client(self) -> tuple[Boto, Boto]:
        with self._guard:
            if self._made is None:
                self._made = self._connect()
            return self._made

    def _connect(self) -> tuple[Boto, Boto]:
        try:
            import boto3
        except ModuleNotFoundError as error:
            raise missing_driver("boto3", "s3") from error
        access, service = self._access, self._service
        session = boto3.session.Session(
            aws_access_key_id=access.access_key_id,
            aws_secret_access_key=access.secret_access_key,
            aws_session_token=access.session_token,
            profile_name=access.profile,
        )
        region = service.region or session.region_name or "us-east-1"
        client = _client(session, service, region)
        if service.region is None and _is_amazon(client):
            actual = _region_of(client, self._place.bucket)
            if actual not in {None, region}:  # boto3 would follow the bucket, DuckDB would not
                client = _client(session, service, actual)
        return session, client

    def _transfers(self) -> Boto:
        if self._manager is None:
            from boto3.s3.transfer import TransferConfig, create_transfer_manager

            config = TransferConfig(
                multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=_STREAMS
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

    # ---- what goes wrong

    @contextmanager
    def _asking(self, action: str, name: str) -> Iterator[None]:
        """Say what boto3's errors mean, and what to do about them."""
        try:
            from botocore.exceptions import BotoCoreError, ClientError
            from s3transfer.exceptions import CancelledError
        except ModuleNotFoundError as error:
            raise missing_driver("boto3", "s3") from error
        try:
            yield
        except ClientError as error:
            self._refused(action, name, error)
        except CancelledError as error:
            raise self._broken_off(name) from error
        except BotoCoreError as error:
            raise self._unreachable(error) from error
        except OSError as error:
            raise LandingError(
                f"{self._place}: {name} could not be sent: {error}. Nothing was committed."
            ) from error

    def _broken_off(self, name: str) -> LandingError:
        return LandingError(f"{self._place}: the upload of {name} was broken off.")

    def _refused(self, action: str, name: str, error: Exception) -> NoReturn:
        code = _code(error)
        if code in {"PreconditionFailed", "412", "ConditionalRequestConflict"}:
            raise taken(self._place, name) from error
        if code in {"AccessDenied", "403", "AllAccessDisabled"}:
            raise LandingError(
                f"{self._place}: these credentials may not {action} objects there. Grant "
                f"{_RIGHTS[action]} on {self._place.bucket}/{self._place.prefix}*. "
                "Nothing was committed.",
                forbidden=True,
            ) from error
        if code == "NoSuchKey":
            raise LandingError(f"{self._place}: there is no {name} there.") from error
        said = _MEANINGS.get(code)
        if said is None:
            raise LandingError(
                f"{self._place}: the service refused to {action} {name} "
                f"({engine.first_line(error)}). Nothing was committed."
            ) from error
        raise LandingError(f"{self._place}: {said}. Nothing was committed.") from error

    def _unreachable(self, error: Exception) -> LandingError:
        from botocore import exceptions

        if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
            return self._no_credentials()
        if isinstance(error, exceptions.ProfileNotFound):
            return LandingError(f"{self._place}: {error}. See ~/.aws/config.")
        where = self._service.endpoint or "Amazon S3"
        return LandingError(
            f"{self._place}: {where} cannot be reached ({engine.first_line(error)}), tried "
            "several times. Nothing was committed; run this again."
        )

    def _no_credentials(self) -> LandingError:
        return LandingError(
            f"{self._place}: no credentials were found. Give access_key_id and secret_access_key "
            "under warehouse.storage, or have them in the environment (AWS_ACCESS_KEY_ID), in a "
            "profile, or as a role of this machine."
        )


_MEANINGS = {
    "NoSuchBucket": "there is no such bucket. Create it, or mend warehouse.path",
    "InvalidAccessKeyId": "the service does not know this access_key_id. Check the key, and that "
    "it belongs to this endpoint",
    "SignatureDoesNotMatch": "the secret_access_key does not fit the access_key_id. Check both",
    "ExpiredToken": "the credentials have expired. Get new ones, then run this again",
    "InvalidToken": "the session_token is not valid. Get new credentials, then run this again",
    "RequestTimeTooSkewed": "this machine's clock is wrong. Set it",
    "PermanentRedirect": "the bucket is in another region. Set warehouse.storage.region to it",
    "AuthorizationHeaderMalformed": "the bucket is in another region. Set "
    "warehouse.storage.region to it",
    "SlowDown": "the service asks to be used more slowly, still after many attempts. Run "
    "this again later, or with fewer --threads",
}


def _client(session: Boto, service: Service, region: str) -> Boto:
    style = "path" if service.endpoint else "auto"
    made = _client_of_style(session, service, region, style)
    if style == "auto" and not _is_amazon(made):  # the environment may name an endpoint too
        made = _client_of_style(session, service, region, "path")
    if service.conditional:
        for operation in ("PutObject", "CompleteMultipartUpload"):
            made.meta.events.register(f"provide-client-params.s3.{operation}", _only_if_new)
    if not service.checksums:
        for operation in ("PutObject", "UploadPart"):
            made.meta.events.register(f"before-call.s3.{operation}", _with_md5)
    return made


def _client_of_style(session: Boto, service: Service, region: str, style: str) -> Boto:
    from botocore.config import Config

    config = Config(
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=2 * _STREAMS,
        s3={"addressing_style": style},
        request_checksum_calculation=None if service.checksums else "when_required",
        response_checksum_validation="when_required",
    )
    return session.client("s3", region_name=region, endpoint_url=service.endpoint, config=config)


def _only_if_new(params: Answer, **_: Boto) -> Answer:
    """Let no write replace an object; the client's own uploads have no such option."""
    return {**params, "IfNoneMatch": "*"}


def _with_md5(params: Answer, **_: Boto) -> None:
    """Let the service check a body by its MD5."""
    body, digest = params["body"], hashlib.md5(usedforsecurity=False)
    if isinstance(body, bytes):
        digest.update(body)
    else:
        start = body.tell()
        while piece := body.read(1 << 20):
            digest.update(piece)
        body.seek(start)
    params["headers"]["Content-MD5"] = base64.b64encode(digest.digest()).decode()


def _is_amazon(client: Boto) -> bool:
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _region_of(client: Boto, bucket: str) -> str | None:
    """Ask where a bucket is; S3 says so even to those who may do nothing with it."""
    try:
        answer = client.head_bucket(Bucket=bucket)
    except Exception as error:  # noqa: BLE001 - the request that matters says what is wrong
        answer = getattr(error, "response", {})
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region: str | None = headers.get("x-amz-bucket-region")
    return region


def _code(error: Exception) -> str:
    """Return S3's word for what went wrong; nothing for an error that is not S3's."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
