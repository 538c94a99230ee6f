"""A bucket that refuses: one line that names it, nothing half committed, no parts of uploads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support import commands
from support.s3_faults import COMPLETE, DELETE, LIST, PART, PUT, S3Faults
from support.servers import READER, free_port

from cdpsync import maintain, project
from cdpsync.model import RunStatus
from cdpsync.storage import s3 as s3_storage
from cdpsync.storage import s3_client

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from support.servers import Buckets
    from support.shop import Shop

ORDERS = """
    create table orders as select i as id, 1 as rev, md5(i::text) as v
    from generate_series(1, 2000) i;
    alter table orders add primary key (id);
    create table plans as select i as id from generate_series(1, 10) i
"""
LARGE = """
    create table orders as
        select i as id, 1 as rev, (
            select string_agg(decode(md5(i || '/' || j), 'hex'), '' order by j)
            from generate_series(1, 96) j
        ) as v
        from generate_series(1, 5000) i;
    alter table orders add primary key (id)
"""
TABLES = {"public.orders": {"mode": "incremental", "cursor_field": "rev"}, "public.plans": {}}

pytestmark = pytest.mark.parametrize("shop", ["s3"], indirect=True)


@pytest.fixture
def faults(s3: Buckets) -> Iterator[S3Faults]:
    with S3Faults(s3.port) as faulty_s3:
        yield faulty_s3


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of few MB is sent in parts: they are the smallest that S3 takes."""
    monkeypatch.setattr(s3_storage, "_PART", 5 << 20)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer attempts, so that a lasting error fails soon."""
    monkeypatch.setattr(s3_client, "ATTEMPTS", 2)


def cdpsync(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    return commands.run(*arguments, cwd=shop.folder)


def stored(shop: Shop, s3: Buckets) -> tuple[set[str], list[str]]:
    """Return the lake's objects and its unfinished uploads."""
    prefix = shop.warehouse["path"].removeprefix("s3://lake/") + "/"
    contents = s3.client().list_objects_v2(Bucket="lake", Prefix=prefix).get("Contents", [])
    unfinished = s3.client().list_multipart_uploads(Bucket="lake").get("Uploads", [])
    keys = [entry["Key"] for entry in unfinished if entry["Key"].startswith(prefix)]
    return {entry["Key"] for entry in contents}, keys


def use_endpoint(shop: Shop, endpoint: str, tables: dict[str, Any] = TABLES) -> None:
    storage = {**shop.warehouse["storage"], "endpoint": endpoint}
    shop.warehouse = {**shop.warehouse, "storage": storage}
    shop.configure(tables)


@pytest.fixture
def loaded(shop: Shop, faults: S3Faults) -> Shop:
    """A lake behind the faulty S3, with changes for the next run."""
    shop.pg.execute(ORDERS)
    use_endpoint(shop, faults.endpoint)
    assert shop.run().status is RunStatus.OK
    shop.pg.execute("update orders set rev = 2 where id % 3 = 0; insert into plans values (11)")
    return shop


REFUSED = {
    "clock": (LIST, 403, "RequestTimeTooSkewed", "clock is wrong"),
    "expired": (LIST, 400, "ExpiredToken", "credentials have expired"),
    "expires on the way": (PUT, 400, "ExpiredToken", "credentials have expired"),
    "region": (".*", 400, "AuthorizationHeaderMalformed", "another region"),
    "moved": (".*", 301, "PermanentRedirect", "another region"),
    "no put": (PUT, 403, "AccessDenied", "may not write objects"),
    "no such bucket": (".*", 404, "NoSuchBucket", "there is no such bucket"),
    "full": (PUT, 507, "InsufficientStorage", "the bucket is full"),
    "quota": (PUT, 403, "QuotaExceeded", "the bucket is full"),
    "busy": (PUT, 503, "SlowDown", "limits the rate"),
    "broken": (PUT, 500, "InternalError", "refused to write"),
}


@pytest.mark.usefixtures("impatient")
def test_refusal_is_one_line_and_changes_nothing(
    loaded: Shop, faults: S3Faults, s3: Buckets
) -> None:
    """The message has bucket, action and reason; rows and cursor stay; the next run loads all.

    Each kind of refusal meets the lake that the one before it has left as it was.
    """
    before, state = stored(loaded, s3), loaded.state()
    for kind, (request, status, code, says) in REFUSED.items():
        faults.refuse(request, status, code)
        result = loaded.run()
        faults.mend()
        assert result.status is RunStatus.FAILED, kind
        for table in result.tables:
            assert table.error, kind
            assert table.error.type == "LandingError", kind
            message = table.error.message
            assert says in message, kind
            assert message.startswith(loaded.warehouse["path"])
            assert "write" in message or "list" in message
            assert "\n" not in message
        assert stored(loaded, s3) == before, kind
        assert loaded.state() == state, kind
        assert loaded.ask("select count(*) from shop.orders where rev = 2") == [(0,)], kind
    assert loaded.run().status is RunStatus.OK
    loaded.same()


def test_refused_table_does_not_stop_the_others(loaded: Shop, faults: S3Faults) -> None:
    """Exit code 3, and the other tables are committed."""
    faults.refuse(r"PUT .*/orders/", 403, "AccessDenied")
    done = cdpsync(loaded, "run", "-o", "json")
    assert done.returncode == 3
    status = {table["table"]: table["status"] for table in json.loads(done.stdout)["tables"]}
    assert status == {"shop.orders": "failed", "shop.plans": "ok"}
    assert loaded.ask("select count(*) from shop.plans") == [(11,)]
    faults.mend()
    assert loaded.one("shop.orders").rows_updated == 666


def test_short_rate_limit_is_retried(loaded: Shop, faults: S3Faults) -> None:
    """A service that is busy for a moment gets the request again."""
    faults.refuse(PUT, 503, "SlowDown", times=3)
    assert loaded.run().status is RunStatus.OK
    assert faults.spoiled == 3
    loaded.same()


@pytest.mark.usefixtures("impatient", "small_parts")
@pytest.mark.parametrize("request_", [PART, COMPLETE], ids=["part", "end"])
@pytest.mark.parametrize("fault", ["cut", "full"])
def test_failed_upload_in_parts_removes_its_parts(
    shop: Shop, faults: S3Faults, s3: Buckets, request_: str, fault: str
) -> None:
    """An unfinished upload leaves neither a file nor parts that cost storage."""
    shop.pg.execute(LARGE)
    tables = {"public.orders": TABLES["public.orders"]}
    use_endpoint(shop, faults.endpoint, tables)
    after = 1 if request_ == PART else 0
    if fault == "cut":
        faults.cut(request_, after=after)
    else:
        faults.refuse(request_, 507, "InsufficientStorage", after=after)
    (failed,) = shop.run().tables
    assert failed.error
    assert failed.error.message.startswith(shop.warehouse["path"])
    assert ("cannot be reached" if fault == "cut" else "is full") in failed.error.message
    assert faults.spoiled
    assert stored(shop, s3) == (set(), [])
    faults.mend()
    assert shop.one().rows_inserted == 5000
    shop.same("id, md5(v)")


@pytest.mark.usefixtures("impatient", "small_parts")
def test_endpoint_that_vanishes_leaves_parts_to_maintain(
    shop: Shop, faults: S3Faults, s3: Buckets
) -> None:
    """If the abort fails too, the next maintenance does it at once."""
    shop.pg.execute(LARGE)
    tables = {"public.orders": TABLES["public.orders"]}
    use_endpoint(shop, faults.endpoint, tables)
    faults.cut(PART, after=1)
    faults.cut(DELETE)
    (failed,) = shop.run().tables
    assert failed.error
    assert "cannot be reached" in failed.error.message
    assert len(stored(shop, s3)[1]) == 1
    faults.mend()
    assert shop.one().rows_inserted == 5000
    steps = {step.step: step.count for step in maintain.maintain(project.load(shop.file))}
    assert steps["abort"] == 1
    assert not stored(shop, s3)[1]
    shop.same("id, md5(v)")


def test_files_that_may_not_be_deleted_stay_until_maintenance(
    loaded: Shop, faults: S3Faults, s3: Buckets, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused load cannot remove its file: a warning names bucket and permission."""
    before = stored(loaded, s3)[0]
    loaded.pg.execute("delete from plans where id > 2")
    faults.refuse(DELETE, 403, "AccessDenied")
    (failed,) = loaded.run("shop.plans").tables
    faults.mend()
    assert failed.error
    assert failed.error.type == "ContractError"
    assert "may not delete objects there. Grant s3:DeleteObject" in caplog.text
    assert len(stored(loaded, s3)[0] - before) == 1
    steps = {step.step: step.count for step in maintain.maintain(project.load(loaded.file))}
    assert steps["orphans"] == 1
    assert loaded.ask("select count(*) from shop.plans") == [(10,)]


@pytest.mark.parametrize("keys", ["owner", "reader"])
def test_missing_bucket_is_named_with_any_keys(loaded: Shop, s3: Buckets, keys: str) -> None:
    """Also with keys that could not write if it existed."""
    reader = {"access_key_id": READER[0], "secret_access_key": READER[1]}
    credentials = reader if keys == "reader" else {}
    storage = {**loaded.warehouse["storage"], **credentials, "endpoint": s3.endpoint}
    loaded.warehouse = {"path": "s3://no-such-bucket/lake", "storage": storage}
    loaded.configure(TABLES)
    for command in (["check"], ["run"]):
        done = cdpsync(loaded, *command, "-o", "json")
        assert done.returncode in {1, 3}
        assert "s3://no-such-bucket/lake: there is no such bucket" in done.stdout


def test_query_of_a_bucket_that_is_down_names_it(loaded: Shop) -> None:
    """The message is not DuckDB's about a file: it names the bucket and the next step."""
    use_endpoint(loaded, f"http://127.0.0.1:{free_port()}")
    done = cdpsync(loaded, "query", "select sum(id) from shop.orders")
    assert done.returncode == 1
    assert loaded.warehouse["path"] in done.stderr
    assert "cannot be reached" in done.stderr
    assert len(done.stderr.splitlines()) == 1
