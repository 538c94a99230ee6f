"""A lake in a bucket, compared with boto3's own upload, and with the same lake in a folder."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from measure import WORK, Figure, agree, aside, measure, ratio
from postgres import ask, cdpsync, load_tpch, project
from report import Limit, Line
from support.servers import seaweedfs

if TYPE_CHECKING:
    from postgres import Setting
    from support.servers import Buckets

_FILES = 8  # of some 100 MB, as the files of a large table
_ANSWER = "select count(*) || ' ' || sum(l_orderkey)::bigint from {table}"
_PLAIN = Path(__file__).with_name("upload_plain.py")
_OURS = Path(__file__).with_name("upload_ours.py")


def upload(setting: Setting) -> list[Line]:
    """A table's files of a gigabyte, in turns with one plain `upload_file` of the same size."""
    size = int(setting.scale * (1 << 30))
    with seaweedfs() as s3:
        aside(_make, s3)
        return [line for total in (size // 4, size) for line in _uploaded(s3, total, setting.runs)]


def _uploaded(s3: Buckets, total: int, runs: int) -> list[Line]:
    folder = _files(total)
    plain: list[Figure] = []
    ours: list[Figure] = []
    for number in range(runs + 1):
        plain.append(measure([sys.executable, _PLAIN, folder / "whole", f"p{number}"], _env(s3)))
        ours.append(measure([sys.executable, _OURS, folder / "parts", f"o{number}"], _env(s3)))
        aside(_empty, s3)
    del plain[0], ours[0]
    workload, times = f"{total / 2**30:.2f} GiB to S3", ratio(ours, plain)
    limit = Limit("{} x boto3's", times, 1.25)
    return [
        Line(f"boto3 upload_file, {workload}", tuple(plain), ratio=1 / times),
        Line(f"cdpsync, {_FILES} landed files, {workload}", tuple(ours), (limit,)),
    ]


def lineitem(setting: Setting) -> list[Line]:
    """6 M rows at scale 1, Postgres to a lake in S3, in turns with the same to a folder."""
    load_tpch(setting.server, setting.scale, "lineitem")
    with seaweedfs() as s3:
        aside(_make, s3)
        folders, buckets = _load_lineitem(setting, s3)
    millions, longer = f"{6 * setting.scale:g} M lineitem rows", ratio(buckets, folders)
    limit = Limit("{} x the folder's", longer, 1.25)
    return [
        Line(f"cdpsync run, {millions} to a folder", tuple(folders), ratio=1 / longer),
        Line(f"cdpsync run, {millions} to S3", tuple(buckets), (limit,)),
    ]


def _load_lineitem(setting: Setting, s3: Buckets) -> tuple[list[Figure], list[Figure]]:
    tables = {"public.lineitem": {}}
    keys = ("endpoint", "region", "access_key_id", "secret_access_key")
    storage = {name: getattr(s3, name) for name in keys}
    truth = setting.server.psql(_ANSWER.format(table="lineitem"))
    folders: list[Figure] = []
    buckets: list[Figure] = []
    for number in range(setting.runs + 1):
        bucket = {"path": f"s3://lake/lineitem-{number}", "storage": storage}
        for figures, warehouse in ((folders, None), (buckets, bucket)):
            folder = project("landed", setting.server, tables, warehouse)
            figures.append(measure(cdpsync(folder, "run").words))
            agree("cdpsync run", ask(folder, _ANSWER.format(table="shop.lineitem")), truth)
        aside(_empty, s3)
    return folders[1:], buckets[1:]


def _files(total: int) -> Path:
    """Write so many random bytes as one file, and as the files of a table."""
    folder = WORK / "upload"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "parts").mkdir(parents=True)
    piece = total // _FILES
    with (folder / "whole").open("wb") as single:
        for number in range(_FILES):
            with (folder / "parts" / f"{number:05d}.parquet").open("wb") as part:
                for start in range(0, piece, 1 << 20):
                    block = os.urandom(min(1 << 20, piece - start))
                    single.write(block)
                    part.write(block)
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
        for item in page.get("Contents", ()):
            client.delete_object(Bucket="lake", Key=item["Key"])
