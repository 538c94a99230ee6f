"""The boto3 client of S3-compatible services, configured for the service of an address."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cdpsync.storage.options import BucketUrl, StorageOptions, missing_driver

Boto = Any  # boto3 creates its classes at run time, and has no types
Answer = dict[str, Any]  # a response of S3, as boto3 returns it

STREAMS = 10  # boto3's own number for the parts of one file
ATTEMPTS = 9  # of each request, with growing waits
FIRST_ATTEMPTS = 4  # of the first request: some seconds, because no rows are read yet


@dataclass(frozen=True, slots=True)
class Service:
    """The differences between a service and Amazon S3.

    `scheme` and `secret` are DuckDB's names for it. `conditional`: it supports If-None-Match on
    writes. `checksums`: it accepts the newer checksums (CRC32); otherwise each write has its MD5.
    """

    scheme: str = "s3"
    secret: str = "s3"  # noqa: S105 - a type of secret, not a secret
    endpoint: str | None = None
    region: str | None = None
    conditional: bool = True
    checksums: bool = True


def service_of(url: BucketUrl, options: StorageOptions) -> Service:
    """Return the service of a bucket. Raises ConfigError for R2 without an account."""
    if url.scheme == "gs":
        endpoint = options.endpoint or "https://storage.googleapis.com"
        return Service("gs", "gcs", endpoint, options.region or "auto", False, False)
    if url.scheme == "r2":
        if options.endpoint is None and options.account_id is None:
            raise options.error(
                "account_id is missing. Cloudflare shows it beside the bucket; or give the "
                "bucket's endpoint"
            )
        endpoint = options.endpoint or f"https://{options.account_id}.r2.cloudflarestorage.com"
        return Service(endpoint=endpoint, region=options.region or "auto")
    return Service(endpoint=options.endpoint, region=options.region)


def session_and_client(options: StorageOptions, service: Service, bucket: str) -> tuple[Boto, Boto]:
    """Return boto3's session with the credentials, and a client that is configured for the service.

    Raises ConfigError if boto3 is not installed.
    """
    try:
        import boto3
    except ModuleNotFoundError as error:
        raise missing_driver("boto3", "s3") from error
    session = boto3.session.Session(
        aws_access_key_id=options.access_key_id,
        aws_secret_access_key=options.secret_access_key,
        aws_session_token=options.session_token,
        profile_name=options.profile,
    )
    region = service.region or session.region_name or "us-east-1"
    client = client_of(session, service, region)
    if service.region is None and is_amazon(client):
        actual = _region_of(client, bucket)
        if actual not in {None, region}:  # because boto3 follows a redirect to it, DuckDB does not
            client = client_of(session, service, actual)
    return session, client


def client_of(session: Boto, service: Service, region: str, attempts: int | None = None) -> Boto:
    """Return a client whose writes never overwrite, if the service supports such a condition.

    It makes `attempts` at each request, ATTEMPTS by default.
    """
    style = "path" if service.endpoint else "auto"
    client = _client_of_style(session, service, region, style, attempts or ATTEMPTS)
    if style == "auto" and not is_amazon(client):  # the environment may name an endpoint too
        client = _client_of_style(session, service, region, "path", attempts or ATTEMPTS)
    if service.conditional:
        for operation in ("PutObject", "CompleteMultipartUpload"):
            client.meta.events.register(f"provide-client-params.s3.{operation}", _only_if_new)
    if not service.checksums:
        for operation in ("PutObject", "UploadPart"):
            client.meta.events.register(f"before-call.s3.{operation}", _with_md5)
    return client


def _client_of_style(
    session: Boto, service: Service, region: str, style: str, attempts: int
) -> Boto:
    from botocore.config import Config

    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=2 * STREAMS,
        s3={"addressing_style": style},
        request_checksum_calculation=None if service.checksums else "when_required",
        response_checksum_validation="when_required",
    )
    return session.client("s3", region_name=region, endpoint_url=service.endpoint, config=config)


def _only_if_new(params: Answer, **_: Boto) -> Answer:
    """Forbid a write to overwrite an object, because boto3's uploads have no such option."""
    return {**params, "IfNoneMatch": "*"}


def _with_md5(params: Answer, **_: Boto) -> None:
    """Add the MD5 of the body, so that the service checks it."""
    body, digest = params["body"], hashlib.md5(usedforsecurity=False)
    if isinstance(body, bytes):
        digest.update(body)
    else:
        start = body.tell()
        while block := body.read(1 << 20):
            digest.update(block)
        body.seek(start)
    params["headers"]["Content-MD5"] = base64.b64encode(digest.digest()).decode()


def is_amazon(client: Boto) -> bool:
    """Whether a client's endpoint is Amazon's."""
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _region_of(client: Boto, bucket: str) -> str | None:
    """Return the region of a bucket. S3 tells it even without any permission on the bucket."""
    try:
        answer = client.head_bucket(Bucket=bucket)
    except Exception as error:  # noqa: BLE001 - the next request fails with the reason
        answer = getattr(error, "response", {})
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region: str | None = headers.get("x-amz-bucket-region")
    return region
