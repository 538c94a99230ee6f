"""SIGKILL while files are on their way to a bucket, then a rerun: the lake of one clean run."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb
import pytest
from support import commands
from support.faults import FaultProxy
from support.shop import KEYS, Shop

from cdpsync import maintain, project
from cdpsync.model import RunStatus
from cdpsync.storage import s3 as s3_storage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Buckets, Database, Server

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
PARTS = range(UPLOAD_PARTS + END_PARTS)
KILLED_IN = [(True, part) for part in PARTS if part % 2 == 0]
KILLED_IN += [(False, part) for part in PARTS if part % 2 == 1]
"""Whether it is the first load, and the part: half of them, because both send alike."""
if "CDPSYNC_EACH_STEP" in os.environ:  # `make crashes`
    KILLED_IN = list(itertools.product((True, False), PARTS))

# The smallest parts that S3 takes: so files of few MB are sent in parts.
PART = 5 << 20  # bytes
SMALL_PARTS = f"from cdpsync.storage import s3; s3._PART = {PART}"
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
    """A copy of the template for one test."""
    name = f"bucket_crashes_{next(_numbers)}"
    postgres_server.psql(f'create database {name} template "{template.name}" strategy file_copy')
    try:
        yield replace(template, name=name)
    finally:
        postgres_server.psql(f"drop database {name} with (force)")


def project_of(folder: Path, database: Database, s3: Buckets, prefix: str, *tables: str) -> Shop:
    """Return a project over this database whose lake is below a prefix of the bucket."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = {name: getattr(s3, name) for name in KEYS}
    shop = Shop(folder, database, {"path": f"s3://lake/{prefix}", "storage": keys})
    shop.configure({**TABLES, **{name: {} for name in tables}})
    return shop


@contextmanager
def through(shop: Shop, proxy: FaultProxy) -> Iterator[None]:
    """Let the project reach its bucket through a proxy."""
    direct = shop.file.read_text()
    shop.file.write_text(direct.replace(shop.warehouse["storage"]["endpoint"], proxy.endpoint))
    yield
    shop.file.write_text(direct)


def started(shop: Shop, *select: str) -> commands.Process:
    """Start the real command."""
    return commands.start("-q", "run", *select, cwd=shop.folder, first=SMALL_PARTS)


def is_stopped(process: commands.Process, proxy: FaultProxy) -> bool:
    """Wait until the proxy stops the process, or it has ended; return whether it is stopped."""
    while process.poll() is None:
        if proxy.holding:
            return True
        time.sleep(0.01)
    return False


def killed_after(shop: Shop, limit: int, s3: Buckets) -> bool:
    """Run, and kill the process after so many bytes to the bucket; return whether it still ran."""
    with FaultProxy(s3.port) as proxy, through(shop, proxy):
        proxy.hold_after = limit
        with started(shop) as process:
            stopped = is_stopped(process, proxy)
            process.send_signal(signal.SIGKILL)
        return stopped


def name_in(shop: Shop, path: str) -> str:
    return path.removeprefix(shop.warehouse["path"] + "/")


def in_bucket(shop: Shop, s3: Buckets) -> set[str]:
    prefix = shop.warehouse["path"].removeprefix("s3://lake/") + "/"
    pages = s3.client().get_paginator("list_objects_v2").paginate(Bucket="lake", Prefix=prefix)
    contents = (entry for page in pages for entry in page.get("Contents", ()))
    return {name_in(shop, f"s3://lake/{entry['Key']}") for entry in contents}


def uploads(shop: Shop, s3: Buckets) -> list[str]:
    prefix = shop.warehouse["path"].removeprefix("s3://lake/") + "/"
    unfinished = s3.client().list_multipart_uploads(Bucket="lake").get("Uploads", [])
    return [entry["Key"] for entry in unfinished if entry["Key"].startswith(prefix)]


def in_catalog(shop: Shop) -> set[str]:
    """Return the files that some snapshot of the lake names."""
    con = duckdb.connect()
    con.execute(f"attach '{shop.folder}/.cdpsync/catalog.ducklake' as meta (read_only)")
    rows = con.execute(FILES).fetchall()
    con.close()
    return {name_in(shop, row[0]) for row in rows}


def assert_whole(shop: Shop) -> None:
    """The lake has each row of the source once; state file and catalog have the same cursors."""
    shop.same(stream="public.orders", table="shop.orders")
    shop.same(stream="public.events", table="shop.events")
    shop.same("id, md5(content)", stream="public.files", table="shop.files")
    state = project.load_state(project.load(shop.file))
    cursors = {key: (entry.cursor, entry.run_id) for key, entry in state.entries.items()}
    assert cursors == {
        (saved.source, saved.stream): (saved.cursor, saved.run_id) for saved in state.saved_states
    }
    assert not list((shop.folder / ".cdpsync/tmp").iterdir())


@pytest.fixture(scope="module")
def sizes(
    postgres_server: Server, template: Database, s3: Buckets, tmp_path_factory
) -> tuple[int, int]:
    """The bytes that a clean first load and a clean run after the changes send to the bucket."""
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
    """Return the bytes after which to kill: in one part of the upload, or of its end.

    At the end are the small requests around the commit.
    """
    if part >= UPLOAD_PARTS:
        width = 10_000 // END_PARTS
        return size - 2000 - (part - UPLOAD_PARTS) * width - chance.randint(0, width)
    width = (size - 12_000) // UPLOAD_PARTS
    return part * width + chance.randint(0, width)


@pytest.mark.parametrize(("is_first_load", "part"), KILLED_IN)
def test_process_killed_while_it_uploads_and_a_rerun_are_one_clean_run(
    source: Database,
    s3: Buckets,
    tmp_path: Path,
    sizes: tuple[int, int],
    is_first_load: bool,
    part: int,
) -> None:
    """However much the bucket has by then, the next run is correct, and `maintain` cleans up."""
    chance = random.Random(f"{is_first_load} {part}")  # noqa: S311 - a moment to die, not a secret
    shop = project_of(tmp_path, source, s3, f"killed-{part}-{is_first_load}")
    if not is_first_load:
        assert shop.run(*SMALL).status is RunStatus.OK
        source.execute(CHANGES)
    assert killed_after(shop, moment(chance, sizes[0 if is_first_load else 1], part), s3)
    assert shop.run().status is RunStatus.OK
    assert_whole(shop)
    results = {result.table: result for result in shop.run(*SMALL).tables}
    assert all(result.rows_inserted + result.rows_updated == 0 for result in results.values())
    orphans = in_bucket(shop, s3) - in_catalog(shop)
    unfinished = uploads(shop, s3)
    counts = {step.step: step.count for step in maintain.maintain(project.load(shop.file))}
    assert counts.get("orphans", 0) == len(orphans)
    assert counts.get("abort", 0) == len(unfinished)
    assert in_bucket(shop, s3) == in_catalog(shop)
    assert not uploads(shop, s3)
    assert_whole(shop)


def run_both_at_once(first: Shop, second: Shop, s3: Buckets, *select: tuple[str, ...]) -> None:
    """Run two processes; each stops in the middle of its uploads until the other is there too."""
    with FaultProxy(s3.port) as first_proxy, FaultProxy(s3.port) as second_proxy:
        processes = []
        proxies = (first_proxy, second_proxy)
        for shop, proxy, tables in zip((first, second), proxies, select, strict=True):
            with through(shop, proxy):
                proxy.hold_after = 2 << 20
                processes.append(started(shop, *tables))
                assert is_stopped(processes[-1], proxy)  # it has read the project by now
        first_proxy.hold_after = second_proxy.hold_after = None
        for process in processes:
            with process:
                assert process.wait() == 0


def test_two_projects_uploading_at_once_into_one_bucket_do_not_meet(
    source: Database, s3: Buckets, tmp_path: Path
) -> None:
    """Each has its prefix, its rows and its files, and none of the other's."""
    shops = [project_of(tmp_path / name, source, s3, f"two/{name}") for name in ("a", "ab")]
    run_both_at_once(*shops, s3, (), ())
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
    run_both_at_once(shop, shop, s3, ("shop.files",), ("shop.more",))
    assert shop.run(*SMALL).status is RunStatus.OK
    assert_whole(shop)
    shop.same("id, md5(content)", stream="public.more", table="shop.more")
    assert in_bucket(shop, s3) == in_catalog(shop)
    assert not uploads(shop, s3)
