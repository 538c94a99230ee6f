"""The client of S3 and its kin: which service an address means, and how boto3 is to speak to it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cdpsync.storage.options import BucketUrl, StorageOptions, missing_driver

Boto = Any  # boto3 makes its classes as it runs, and has no types
Answer = dict[str, Any]  # an answer of S3, as boto3 hands it out

STREAMS = 10  # as many as boto3 uploads one file with
ATTEMPTS = 9  # of each request, the waits between them growing
FIRST_ATTEMPTS = 4  # of the first one, before anything is read that would be lost: some seconds


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


def service_of(place: BucketUrl, access: StorageOptions) -> Service:
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


def session_and_client(access: StorageOptions, service: Service, bucket: str) -> tuple[Boto, Boto]:
    """Return boto3's session, which knows the keys, and a client that speaks as the service wants.

    Raises ConfigError where boto3 is not installed.
    """
    try:
        import boto3
    except ModuleNotFoundError as error:
        raise missing_driver("boto3", "s3") from error
    session = boto3.session.Session(
        aws_access_key_id=access.access_key_id,
        aws_secret_access_key=access.secret_access_key,
        aws_session_token=access.session_token,
        profile_name=access.profile,
    )
    region = service.region or session.region_name or "us-east-1"
    client = client_of(session, service, region)
    if service.region is None and is_amazon(client):
        actual = _region_of(client, bucket)
        if actual not in {None, region}:  # boto3 would follow the bucket, DuckDB would not
            client = client_of(session, service, actual)
    return session, client


def client_of(session: Boto, service: Service, region: str, attempts: int | None = None) -> Boto:
    """Return a client whose writes replace nothing, where the service knows such a condition.

    It makes so many attempts at each request; as many as an upload is worth, if none is said.
    """
    style = "path" if service.endpoint else "auto"
    made = _client_of_style(session, service, region, style, attempts or ATTEMPTS)
    if style == "auto" and not is_amazon(made):  # the environment may name an endpoint too
        made = _client_of_style(session, service, region, "path", attempts or ATTEMPTS)
    if service.conditional:
        for operation in ("PutObject", "CompleteMultipartUpload"):
            made.meta.events.register(f"provide-client-params.s3.{operation}", _only_if_new)
    if not service.checksums:
        for operation in ("PutObject", "UploadPart"):
            made.meta.events.register(f"before-call.s3.{operation}", _with_md5)
    return made


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


def is_amazon(client: Boto) -> bool:
    """Whether a client speaks with Amazon itself."""
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
