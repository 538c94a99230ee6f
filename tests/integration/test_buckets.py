"""A lake in a bucket: its errors, and the properties that no folder has."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import pytest
from support import commands
from support.faults import FaultProxy
from support.servers import READER, free_port

from cdpsync.load.upload import Uploader
from cdpsync.model import RunStatus

if TYPE_CHECKING:
    import subprocess

    from support.servers import Buckets
    from support.shop import Shop

ORDERS = """
    create table orders as
    select i as id, 1 as rev, repeat(md5(i::text), 4) as t from generate_series(1, 20000) i;
    alter table orders add primary key (id)
"""
INCREMENTAL = {"public.orders": {"mode": "incremental", "cursor_field": "rev"}}

pytestmark = pytest.mark.parametrize("shop", ["s3"], indirect=True)


def cdpsync(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real command in the project's folder."""
    return commands.run(*arguments, cwd=shop.folder)


def objects(shop: Shop, s3: Buckets) -> list[str]:
    """Return the names of the lake's objects, below its prefix."""
    prefix = shop.warehouse["path"].removeprefix("s3://lake/") + "/"
    contents = s3.client().list_objects_v2(Bucket="lake", Prefix=prefix).get("Contents", [])
    return [entry["Key"].removeprefix(prefix) for entry in contents]


def uploads(shop: Shop, s3: Buckets) -> list[str]:
    unfinished = s3.client().list_multipart_uploads(Bucket="lake").get("Uploads", [])
    prefix = shop.warehouse["path"].removeprefix("s3://lake/")
    return [entry["Key"] for entry in unfinished if entry["Key"].startswith(prefix)]


@pytest.fixture
def loaded(shop: Shop) -> Shop:
    """A project after one run, with changes for the next."""
    shop.pg.execute(ORDERS)
    shop.configure(INCREMENTAL)
    shop.one()
    shop.pg.execute("update orders set rev = 2, t = 'new' where id % 3 = 0")
    return shop


BAD = {
    "key": ({"access_key_id": "nobody"}, "does not know this access_key_id"),
    "secret": ({"secret_access_key": "wrong-secret"}, "does not match"),
    "down": ({"endpoint": "http://127.0.0.1:{port}"}, "cannot be reached"),
    "reader": ({"access_key_id": READER[0], "secret_access_key": READER[1]}, "may not write"),
}


def test_bucket_that_refuses_changes_nothing(loaded: Shop, s3: Buckets) -> None:
    """The message names bucket and reason; rows and cursor stay; the next run loads everything.

    Each kind of refusal meets the lake that the one before it has left as it was.
    """
    before, state = objects(loaded, s3), loaded.state()
    good = loaded.warehouse
    for kind, (settings, reason) in BAD.items():
        wrong = {name: text.format(port=free_port()) for name, text in settings.items()}
        loaded.warehouse = {**good, "storage": {**good["storage"], **wrong}}
        loaded.configure(INCREMENTAL)
        done = cdpsync(loaded, "run", "-o", "json")
        assert done.returncode == 1, (kind, done.stderr)
        (table,) = json.loads(done.stdout)["tables"]
        assert reason in table["error"]["message"]
        assert good["path"] in table["error"]["message"]
        assert "\n" not in table["error"]["message"]
        for secret in ("wrong-secret", READER[1], good["storage"]["secret_access_key"]):
            assert secret not in done.stdout + done.stderr
        assert loaded.status() == {"shop.orders": "failed"}, kind
        assert loaded.state() == state, kind
        assert objects(loaded, s3) == before, kind
        assert not uploads(loaded, s3), kind
        checked = cdpsync(loaded, "check", "-o", "json")
        assert checked.returncode == 3, kind  # the source is well
        checks = json.loads(checked.stdout)
        warehouse = next(check for check in checks if check["name"] == "warehouse")
        assert reason in warehouse["error"]["message"]
    loaded.warehouse = good
    loaded.configure(INCREMENTAL)
    assert loaded.one().rows_updated == 6666
    loaded.same()


def test_cut_connection_to_the_bucket_commits_all_or_nothing(loaded: Shop, s3: Buckets) -> None:
    """A service that breaks in the middle leaves old rows or new ones, and no parts."""
    with FaultProxy(s3.port) as proxy:
        good = loaded.warehouse
        through = {**good["storage"], "endpoint": f"http://127.0.0.1:{proxy.port}"}
        loaded.warehouse = {**good, "storage": through}
        loaded.configure(INCREMENTAL)
        proxy.cut_after = 2000
        result = loaded.run()
    assert result.status is RunStatus.FAILED
    assert "\n" not in result.tables[0].error.message
    loaded.warehouse = good
    loaded.configure(INCREMENTAL)
    assert loaded.ask("select count(*) from shop.orders where rev = 2") == [(0,)]
    assert not uploads(loaded, s3)
    loaded.one()
    loaded.same()


def test_no_secret_is_kept(loaded: Shop) -> None:
    """Neither the catalog nor the state file nor the log holds the bucket's keys."""
    secret = loaded.warehouse["storage"]["secret_access_key"].encode()
    loaded.one()
    files = [file for file in (loaded.folder / ".cdpsync").rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert secret not in file.read_bytes()
    done = cdpsync(loaded, "-v", "query", "from duckdb_secrets()", "-o", "json")
    assert done.returncode == 0
    assert secret.decode() not in done.stdout + done.stderr


def test_check_finds_a_bucket_that_refuses_to_delete(loaded: Shop, s3: Buckets) -> None:
    """Without the permission to delete, `check` names it; a run still succeeds."""
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:DeleteObject",
                "Resource": "arn:aws:s3:::lake/*",
            }
        ],
    }
    s3.client().put_bucket_policy(Bucket="lake", Policy=json.dumps(policy))
    try:
        done = cdpsync(loaded, "check", "-o", "json")
        loaded.one()
    finally:
        s3.client().delete_bucket_policy(Bucket="lake")
    warehouse = json.loads(done.stdout)[0]
    assert "may not delete objects. Grant: s3:DeleteObject" in warehouse["error"]["message"]
    loaded.same()


def test_refused_load_removes_its_files(shop: Shop, s3: Buckets) -> None:
    """The files of a load that shrinks the table too much do not stay in the bucket."""
    shop.pg.execute("create table orders as select i as id from generate_series(1, 100) i")
    shop.configure(None)
    shop.one()
    before = objects(shop, s3)
    shop.pg.execute("delete from orders where id > 10")
    assert shop.run().status is RunStatus.FAILED
    assert objects(shop, s3) == before


def test_any_table_name_is_a_safe_object_name(shop: Shop, s3: Buckets) -> None:
    """Characters with a meaning in an address are encoded, and the rows are read back."""
    names = ("Ünusual name", "what?", "a*b[c]", "per%20cent", "a/../b", "#1")
    for number, name in enumerate(names, 10):
        shop.pg.execute(
            f'create table "{name}" as select i as id from generate_series(1, {number}) i'
        )
    shop.configure(None)
    assert shop.each().keys() == set(names)
    for number, name in enumerate(names, 10):
        assert shop.ask(f'select count(*), max(id) from shop."{name}"') == [(number, number)]
    assert all(key.startswith("shop/") and ".." not in key for key in objects(shop, s3))


def test_every_command_works_over_a_bucket(loaded: Shop) -> None:
    """Each command that works on a folder works on a bucket."""
    for command in (
        ["check"],
        ["plan"],
        ["run"],
        ["run", "--full-refresh"],
        ["query", "select count(*) from shop.orders"],
        ["query", "--at", "1", "select 1"],
        ["status"],
        ["status", "--history"],
        ["state", "show"],
        ["reset", "shop.orders", "-y"],
        ["run"],
        ["delete", "shop.orders", "-y"],
        ["run"],
    ):
        done = cdpsync(loaded, *command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    loaded.same()


def test_lake_can_be_opened_without_cdpsync(loaded: Shop, s3: Buckets) -> None:
    """Any DuckDB with a secret for the bucket reads the catalog."""
    from cdpsync import engine

    con = engine.connect(extensions=("ducklake", "httpfs"))
    con.execute(
        f"create secret (type s3, key_id '{s3.access_key_id}', secret '{s3.secret_access_key}', "
        f"region '{s3.region}', endpoint '127.0.0.1:{s3.port}', url_style 'path', use_ssl false)"
    )
    con.execute(f"attach 'ducklake:{loaded.folder}/.cdpsync/catalog.ducklake' as lake (read_only)")
    assert con.execute("select count(*) from lake.shop.orders").fetchall() == [(20000,)]
    con.close()


def test_two_lakes_share_a_bucket(loaded: Shop, s3: Buckets) -> None:
    """Each has its prefix; neither sees the other's files."""
    first = objects(loaded, s3)
    path = loaded.warehouse["path"]
    loaded.warehouse = {**loaded.warehouse, "path": f"{path}-{uuid.uuid4().hex}"}
    assert objects(loaded, s3) == []
    loaded.warehouse = {**loaded.warehouse, "path": path}
    assert objects(loaded, s3) == first


def test_small_spool_holds_a_large_table(shop: Shop, monkeypatch) -> None:
    """Files are uploaded while others are read: the spool never holds the whole table."""
    shop.pg.execute("create table orders as select i as id, repeat(md5(i::text), 20) as t "
                    "from generate_series(1, 200000) i; analyze orders")  # fmt: skip
    shop.warehouse = {**shop.warehouse, "spool": {"max": "10kB"}}
    shop.configure(None)
    waiting: list[int] = []
    reserve = Uploader._reserve

    def counted(self: Uploader, size: int) -> None:
        reserve(self, size)
        waiting.append(self._queued_bytes)

    monkeypatch.setattr(Uploader, "_reserve", counted)
    assert shop.one(threads=1).rows_inserted == 200_000
    assert len(waiting) > 1
    assert max(waiting) < 2 * min(waiting)  # one file at a time
    shop.same("count(*), sum(id), min(t)")
