"""SIGKILL while files are on their way to a bucket, then a rerun: the lake of one clean run."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb
import pytest
from conftest import KEYS, Shop
from faults import FaultProxy

from cdpsync import maintain, project
from cdpsync.model import RunStatus
from cdpsync.storage import s3 as s3_storage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import Buckets, Database, Server

SOURCE = """
    create table orders as
        select i as id, 1 as rev, md5(i::text) as v from generate_series(1, 5000) i;
    alter table orders add primary key (id);
    create table events as select 'same' as kind, i / 3 as rev from generate_series(1, 5000) i;
    create table files as
        select i as id, (
            select string_agg(decode(md5(i || '/' || j), 'hex'), '' order by j)
            from generate_series(1, 96) j
        ) as content
        from generate_series(1, 5000) i
"""
CHANGES = """
    update orders set rev = 2, v = 'changed' where id % 3 = 0;
    insert into orders select i, 2, 'new' from generate_series(5001, 6000) i;
    insert into events select 'late', 1666 + i / 3 from generate_series(1, 900) i;
    delete from files where id % 100 = 0
"""
TABLES = {
    "public.orders": {"mode": "incremental", "cursor_field": "rev"},
    "public.events": {"mode": "append_only", "cursor_field": "rev"},
    "public.files": {},  # 7.7 MB that do not compress: sent in parts
}
FILES = """
    select if(f.path_is_relative, s.path || t.path || f.path, f.path)
    from (
        select table_id, path, path_is_relative from meta.ducklake_data_file
        union all
        select table_id, path, path_is_relative from meta.ducklake_delete_file
    ) as f
    join meta.ducklake_table as t using (table_id)
    join meta.ducklake_schema as s using (schema_id)
    union
    select path from meta.ducklake_files_scheduled_for_deletion
"""
SMALL = ("shop.orders", "shop.events")

# A run that uploads is killed in each of as many parts of what it sends, a dozen requests in all.
UPLOAD_PARTS = 5
END_PARTS = 3

# The real command with the smallest parts that S3 takes: so files of few MB are sent in parts.
PART = 5 << 20  # bytes
COMMAND = f"""
from cdpsync.storage import s3
s3._PART = {PART}
from cdpsync.cli.main import main
main()
"""
_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the runs of this process send such parts."""
    monkeypatch.setattr(s3_storage, "_PART", PART)


@pytest.fixture(scope="module")
def template(postgres_server: Server) -> Iterator[Database]:
    """A database with the source's rows, to be copied."""
    with postgres_server.database("template_of_bucket_crashes") as database:
        database.execute(SOURCE)
        yield database


@pytest.fixture
def source(postgres_server: Server, template: Database) -> Iterator[Database]:
    """A copy of one's own."""
    name = f"bucket_crashes_{next(_numbers)}"
    postgres_server.psql(f'create database {name} template "{template.name}" strategy file_copy')
    try:
        yield replace(template, name=name)
    finally:
        postgres_server.psql(f"drop database {name} with (force)")


def project_of(folder: Path, database: Database, s3: Buckets, prefix: str, *more: str) -> Shop:
    """Return a project over this database whose lake is below a prefix of the bucket."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = {name: getattr(s3, name) for name in KEYS}
    shop = Shop(folder, database, {"path": f"s3://lake/{prefix}", "storage": keys})
    shop.configure({**TABLES, **{name: {} for name in more}})
    return shop


@contextmanager
def through(shop: Shop, proxy: FaultProxy) -> Iterator[None]:
    """Let the project reach its bucket through a proxy."""
    direct = shop.file.read_text()
    shop.file.write_text(direct.replace(shop.warehouse["storage"]["endpoint"], proxy.endpoint))
    yield
    shop.file.write_text(direct)


def started(shop: Shop, *select: str) -> subprocess.Popen[str]:
    """Start the real command."""
    command = [sys.executable, "-c", COMMAND, "-q", "run", *select]
    return subprocess.Popen(command, cwd=shop.folder, stderr=subprocess.PIPE, text=True)


def ended_or_held(process: subprocess.Popen[str], proxy: FaultProxy) -> bool:
    """Wait until the process has sent what it may, or has ended; tell whether it is held."""
    while process.poll() is None:
        if proxy.holding:
            return True
        time.sleep(0.01)
    return False


def killed_after(shop: Shop, limit: int, s3: Buckets) -> bool:
    """Run, and kill the process when it has sent so many bytes to the bucket."""
    with FaultProxy(s3.port) as proxy, through(shop, proxy):
        proxy.hold_after = limit
        with started(shop) as process:
            held = ended_or_held(process, proxy)
            process.send_signal(signal.SIGKILL)
        return held


def name_in(shop: Shop, path: str) -> str:
    return path.removeprefix(shop.warehouse["path"] + "/")


def in_bucket(shop: Shop, s3: Buckets) -> set[str]:
    prefix = shop.warehouse["path"].removeprefix("s3://lake/") + "/"
    pages = s3.client().get_paginator("list_objects_v2").paginate(Bucket="lake", Prefix=prefix)
    found = (one for page in pages for one in page.get("Contents", ()))
    return {name_in(shop, f"s3://lake/{one['Key']}") for one in found}


def uploads(shop: Shop, s3: Buckets) -> list[str]:
    prefix = shop.warehouse["path"].removeprefix("s3://lake/") + "/"
    found = s3.client().list_multipart_uploads(Bucket="lake").get("Uploads", [])
    return [one["Key"] for one in found if one["Key"].startswith(prefix)]


def in_catalog(shop: Shop) -> set[str]:
    """Return the files that some snapshot of the lake names."""
    con = duckdb.connect()
    con.execute(f"attach '{shop.folder}/.cdpsync/catalog.ducklake' as meta (read_only)")
    rows = con.execute(FILES).fetchall()
    con.close()
    return {name_in(shop, row[0]) for row in rows}


def assert_whole(shop: Shop) -> None:
    """Every row of the source is in the lake, once, and all who remember say the same."""
    shop.same(stream="public.orders", table="shop.orders")
    shop.same(stream="public.events", table="shop.events")
    shop.same("id, md5(content)", stream="public.files", table="shop.files")
    entries = project.remember(project.load(shop.file))
    said = {key: (entry.cursor, entry.run_id) for key, entry in entries.state.items()}
    assert said == {(one.source, one.stream): (one.cursor, one.run_id) for one in entries.cursors}
    assert not list((shop.folder / ".cdpsync/tmp").iterdir())


@pytest.fixture(scope="module")
def sizes(
    postgres_server: Server, template: Database, s3: Buckets, tmp_path_factory
) -> tuple[int, int]:
    """How many bytes a clean first load sends to the bucket, and a clean run after the changes."""
    name = f"bucket_crashes_{next(_numbers)}"
    postgres_server.psql(f'create database {name} template "{template.name}" strategy file_copy')
    database = replace(template, name=name)
    shop = project_of(tmp_path_factory.mktemp("clean"), database, s3, name)
    sent = []
    for changes in ("", CHANGES):
        database.execute(changes)
        with FaultProxy(s3.port) as proxy, through(shop, proxy):
            with started(shop) as process:
                assert process.wait() == 0
            sent.append(proxy.sent)
    assert_whole(shop)
    assert min(sent) > 7_000_000
    return sent[0], sent[1]


def moment(chance: random.Random, size: int, part: int) -> int:
    """Return after how many bytes to kill: in one part of the upload, or of its end.

    At the end are the small requests around the commit.
    """
    if part >= UPLOAD_PARTS:
        width = 10_000 // END_PARTS
        return size - 2000 - (part - UPLOAD_PARTS) * width - chance.randint(0, width)
    width = (size - 12_000) // UPLOAD_PARTS
    return part * width + chance.randint(0, width)


@pytest.mark.parametrize("part", range(UPLOAD_PARTS + END_PARTS))
@pytest.mark.parametrize("is_first_load", [True, False])
def test_process_killed_while_it_uploads_and_a_rerun_are_one_clean_run(
    source: Database,
    s3: Buckets,
    tmp_path: Path,
    sizes: tuple[int, int],
    is_first_load: bool,
    part: int,
) -> None:
    """However much had arrived in the bucket, the next run mends it, and `maintain` cleans up."""
    chance = random.Random(f"{is_first_load} {part}")  # noqa: S311 - a moment to die, not a secret
    shop = project_of(tmp_path, source, s3, f"killed-{part}-{is_first_load}")
    if not is_first_load:
        assert shop.run(*SMALL).status is RunStatus.OK
        source.execute(CHANGES)
    assert killed_after(shop, moment(chance, sizes[0 if is_first_load else 1], part), s3)
    assert shop.run().status is RunStatus.OK
    assert_whole(shop)
    again = {one.table: one for one in shop.run(*SMALL).tables}
    assert all(one.rows_inserted + one.rows_updated == 0 for one in again.values())
    left = in_bucket(shop, s3) - in_catalog(shop)
    half = uploads(shop, s3)
    counts = {one.step: one.count for one in maintain.maintain(project.load(shop.file))}
    assert counts.get("orphans", 0) == len(left)
    assert counts.get("abort", 0) == len(half)
    assert in_bucket(shop, s3) == in_catalog(shop)
    assert not uploads(shop, s3)
    assert_whole(shop)


def both_whole(first: Shop, second: Shop, s3: Buckets, *select: tuple[str, ...]) -> None:
    """Run two processes, each held in the middle of its uploads until the other is there too."""
    with FaultProxy(s3.port) as one, FaultProxy(s3.port) as other:
        processes = []
        for shop, proxy, chosen in zip((first, second), (one, other), select, strict=True):
            with through(shop, proxy):
                proxy.hold_after = 2 << 20
                processes.append(started(shop, *chosen))
                assert ended_or_held(processes[-1], proxy)  # it has read the project by now
        one.hold_after = other.hold_after = None
        for process in processes:
            with process:
                assert process.wait() == 0


def test_two_projects_uploading_at_once_into_one_bucket_do_not_meet(
    source: Database, s3: Buckets, tmp_path: Path
) -> None:
    """Each has its prefix: its rows, its files, and nothing of the other's."""
    shops = [project_of(tmp_path / name, source, s3, f"two/{name}") for name in ("a", "ab")]
    both_whole(*shops, s3, (), ())
    for shop in shops:
        assert_whole(shop)
        assert in_bucket(shop, s3) == in_catalog(shop)
        assert not uploads(shop, s3)


def test_two_processes_uploading_at_once_into_one_lake_do_not_meet(
    source: Database, s3: Buckets, tmp_path: Path
) -> None:
    """Two tables of one project, each loaded by a process of its own at the same time."""
    source.execute("create table more as table files")
    shop = project_of(tmp_path, source, s3, "one", "public.more")
    both_whole(shop, shop, s3, ("shop.files",), ("shop.more",))
    assert shop.run(*SMALL).status is RunStatus.OK
    assert_whole(shop)
    shop.same("id, md5(content)", stream="public.more", table="shop.more")
    assert in_bucket(shop, s3) == in_catalog(shop)
    assert not uploads(shop, s3)
