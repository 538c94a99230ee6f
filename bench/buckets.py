"""A lake in a bucket, side by side with boto3's own upload, and with the same lake in a folder."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from measure import CDPSYNC, WORK, Figure, Line, aside, measure, ratio
from postgres import project

if TYPE_CHECKING:
    from servers import Buckets, Server

_FILES = 8  # landed files are of some 100 MB
_PLAIN = Path(__file__).with_name("upload_plain.py")
_OURS = Path(__file__).with_name("upload_ours.py")


def upload(s3: Buckets, runs: int, size: int) -> list[Line]:
    """Landed files of a gigabyte, in turns with one plain `upload_file` of as many bytes."""
    aside(_make, s3)
    lines = []
    for total in (size // 4, size):
        folder = _files(total)
        plain: list[Figure] = []
        ours: list[Figure] = []
        for number in range(runs + 1):
            plain.append(
                measure([sys.executable, _PLAIN, folder / "whole", f"p{number}"], _env(s3))
            )
            ours.append(measure([sys.executable, _OURS, folder / "landed", f"o{number}"], _env(s3)))
            aside(_empty, s3)
        del plain[0], ours[0]
        what = f"{total / 2**30:.2f} GiB to S3"
        lines += [
            Line(f"boto3 upload_file, {what}", tuple(plain)),
            Line(
                f"cdpsync, {_FILES} landed files, {what}", tuple(ours), "1.25 x", ratio(ours, plain)
            ),
        ]
    shutil.rmtree(WORK / "upload")
    return lines


def lineitem(server: Server, s3: Buckets, runs: int) -> list[Line]:
    """6 M rows, Postgres to a lake in S3, in turns with the same to a folder."""
    aside(_make, s3)
    tables = {"public.lineitem": {}}
    keys = ("endpoint", "region", "access_key_id", "secret_access_key")
    storage = {name: getattr(s3, name) for name in keys}
    folders: list[Figure] = []
    buckets: list[Figure] = []
    for number in range(runs + 1):
        folder = project("to folder", server, tables)
        folders.append(measure([CDPSYNC, "-q", "-c", folder / "cdpsync.yml", "run"]))
        bucket = {"path": f"s3://lake/lineitem-{number}", "storage": storage}
        folder = project("to bucket", server, tables, bucket)
        buckets.append(measure([CDPSYNC, "-q", "-c", folder / "cdpsync.yml", "run"]))
        aside(_empty, s3)
    del folders[0], buckets[0]
    return [
        Line("cdpsync run, lineitem to folder lake, again", tuple(folders)),
        Line("cdpsync run, lineitem to S3 lake", tuple(buckets), "1.25 x", ratio(buckets, folders)),
    ]


def _files(total: int) -> Path:
    """Write so many random bytes as one file, and as the files of a landed table."""
    folder = WORK / "upload"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "landed").mkdir(parents=True)
    piece = total // _FILES
    with (folder / "whole").open("wb") as whole:
        for number in range(_FILES):
            with (folder / "landed" / f"{number:05d}.parquet").open("wb") as landed:
                for start in range(0, piece, 1 << 20):
                    block = os.urandom(min(1 << 20, piece - start))
                    whole.write(block)
                    landed.write(block)
    return folder


def _env(s3: Buckets) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": s3.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
        "AWS_ENDPOINT_URL_S3": s3.endpoint,
        "AWS_DEFAULT_REGION": s3.region,
    }


def _make(s3: Buckets) -> None:
    s3.client().create_bucket(Bucket="lake")


def _empty(s3: Buckets) -> None:
    client = s3.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="lake"):
        for one in page.get("Contents", ()):
            client.delete_object(Bucket="lake", Key=one["Key"])
