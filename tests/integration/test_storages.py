"""The promises of every storage: one suite over folder, S3, R2 and GCS."""

from __future__ import annotations

import dataclasses
import os
import re
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.faults import FaultProxy
from support.servers import READER, free_port

from cdpsync import engine
from cdpsync.config.schema import StorageSection
from cdpsync.errors import CdpsyncError, ConfigError, LandingError
from cdpsync.model import Warehouse
from cdpsync.storage import Storage, open_storage
from cdpsync.storage import gcs as gcs_module
from cdpsync.storage import s3 as s3_module
from cdpsync.storage.s3 import S3Storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Buckets

STORES = ["folder", "s3", "r2", "gs with keys", "gs"]
PARTS = 12 << 20  # bytes: more than one part


def opened(path: str, **options: str) -> Storage:
    """Open the storage of a project file with these options."""
    section = StorageSection(**options) if options else None
    return open_storage(Warehouse(path, Path(), Path(), section, "cdpsync.yml:2"))


def keys(s3: Buckets, **options: str) -> dict[str, str]:
    """Return the options that reach the tests' S3."""
    names = ("endpoint", "region", "access_key_id", "secret_access_key")
    return {name: getattr(s3, name) for name in names} | options


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are sent to S3 in the smallest parts that it takes, as they are to GCS."""
    monkeypatch.setattr(s3_module, "_PART", 5 << 20)


@pytest.fixture(params=STORES)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """An empty storage of each kind."""
    prefix = f"lake/{uuid.uuid4().hex}/deep"
    if request.param == "folder":
        storage = opened(str(tmp_path / "lake"))
    elif request.param == "gs":
        storage = opened(f"gs://{prefix}", endpoint=request.getfixturevalue("gcs"))
    else:
        scheme = request.param.split()[0]
        storage = opened(f"{scheme}://{prefix}", **keys(request.getfixturevalue("s3")))
    yield storage
    storage.close()


@pytest.fixture
def bucket(s3: Buckets) -> Iterator[S3Storage]:
    """An empty prefix of the S3 bucket."""
    storage = opened(f"s3://lake/{uuid.uuid4().hex}", **keys(s3))
    assert isinstance(storage, S3Storage)
    yield storage
    storage.close()


def file_of(tmp_path: Path, content: bytes) -> Path:
    file = tmp_path / uuid.uuid4().hex
    file.write_bytes(content)
    return file


def read(storage: Storage, address: str) -> bytes:
    """Read an address as the lake does: through DuckDB."""
    con = engine.connect()
    try:
        storage.prepare(con)
        row = con.execute("select content from read_blob(?)", [address]).fetchone()
    finally:
        con.close()
    assert row
    return row[0]


@pytest.mark.parametrize("size", [10, PARTS], ids=["small", "in parts"])
def test_file_is_put_once_and_read_by_duckdb(storage: Storage, tmp_path: Path, size: int) -> None:
    """A file reads back the same; another file never gets its name."""
    content = os.urandom(size)
    address = storage.put(file_of(tmp_path, content), "shop/orders/run-1.parquet")
    assert address == f"{storage.root}shop/orders/run-1.parquet"
    assert storage.root.endswith("/deep/" if "://" in address else "/")
    assert read(storage, address) == content
    with pytest.raises(LandingError, match=r"run-1\.parquet"):
        storage.put(file_of(tmp_path, b"x" * size), "shop/orders/run-1.parquet")
    assert read(storage, address) == content


def test_removing_a_file_twice_is_no_error(storage: Storage, tmp_path: Path) -> None:
    """After that the name is free again."""
    storage.put(file_of(tmp_path, b"first"), "a/b.parquet")
    storage.remove("a/b.parquet")
    storage.remove("a/b.parquet")
    address = storage.put(file_of(tmp_path, b"second"), "a/b.parquet")
    assert read(storage, address) == b"second"


def test_check_passes_and_leaves_nothing(storage: Storage, s3: Buckets) -> None:
    """The probe is removed; a second check finds the same."""
    before = probes(s3)
    storage.check()
    storage.check()
    assert probes(s3) == before


def probes(s3: Buckets) -> set[str]:
    pages = s3.client().get_paginator("list_objects_v2").paginate(Bucket="lake")
    names = (entry["Key"] for page in pages for entry in page.get("Contents", ()))
    return {name for name in names if "probe" in name}


def test_many_files_are_put_at_once(storage: Storage, tmp_path: Path) -> None:
    """Threads share a storage."""
    files = {f"t/{i}.parquet": file_of(tmp_path, f"file {i}".encode()) for i in range(12)}
    failed: list[BaseException] = []

    def put(name: str) -> None:
        try:
            storage.put(files[name], name)
        except CdpsyncError as error:
            failed.append(error)

    threads = [threading.Thread(target=put, args=(name,)) for name in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert read(storage, f"{storage.root}t/7.parquet") == b"file 7"


# ---- S3


def uploads(s3: Buckets) -> list[Any]:
    """Return the unfinished uploads of this file's tests: below the prefixes of `bucket`."""
    unfinished = s3.client().list_multipart_uploads(Bucket="lake").get("Uploads", [])
    return [upload for upload in unfinished if re.match(r"[0-9a-f]{32}/", upload["Key"])]


@pytest.mark.parametrize("size", [10, PARTS], ids=["small", "in parts"])
def test_upload_whose_response_was_lost_is_recognized(
    bucket: S3Storage, tmp_path: Path, monkeypatch, size: int, s3: Buckets
) -> None:
    """A retry finds that the object exists, and recognizes it as its own."""
    upload = bucket._upload

    def twice(file: Path, key: str, tag: str) -> None:
        upload(file, key, tag)
        upload(file, key, tag)

    monkeypatch.setattr(bucket, "_upload", twice)
    content = os.urandom(size)
    assert read(bucket, bucket.put(file_of(tmp_path, content), "x.parquet")) == content
    assert not uploads(s3)


def test_parts_of_cut_connections_are_sent_again(s3: Buckets, tmp_path: Path) -> None:
    """Until the file is complete."""
    content = os.urandom(PARTS)
    with FaultProxy(s3.port) as proxy:
        options = keys(s3, endpoint=f"http://127.0.0.1:{proxy.port}")
        storage = opened(f"s3://lake/{uuid.uuid4().hex}", **options)
        proxy.delay = 0.002
        done: list[str] = []
        thread = threading.Thread(
            target=lambda: done.append(storage.put(file_of(tmp_path, content), "x.parquet"))
        )
        thread.start()
        for _ in range(3):
            time.sleep(0.15)
            proxy.kill_all()
        thread.join()
        proxy.delay = 0
        assert read(storage, done[0]) == content
        storage.close()
    assert not uploads(s3)


def test_cancelled_upload_removes_its_parts(s3: Buckets, tmp_path: Path) -> None:
    """Ctrl-C closes the storage: the upload is aborted with an error."""
    with FaultProxy(s3.port) as proxy:
        proxy.delay = 0.02
        options = keys(s3, endpoint=f"http://127.0.0.1:{proxy.port}")
        storage = opened(f"s3://lake/{uuid.uuid4().hex}", **options)
        messages: list[str] = []

        def put() -> None:
            with pytest.raises(LandingError) as caught:
                storage.put(file_of(tmp_path, os.urandom(PARTS)), "x.parquet")
            messages.append(caught.value.message)

        thread = threading.Thread(target=put)
        thread.start()
        deadline = time.monotonic() + 20
        while not uploads(s3):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        storage.close()
        thread.join()
    assert "cancelled" in messages[0]
    assert not uploads(s3)


def test_failed_upload_leaves_no_parts(s3: Buckets, tmp_path: Path) -> None:
    """A refused upload in parts is not left unfinished."""
    storage = opened(f"s3://lake/{uuid.uuid4().hex}", **keys(s3))
    first = storage.put(file_of(tmp_path, os.urandom(PARTS)), "x.parquet")
    with pytest.raises(LandingError, match="exists already"):
        storage.put(file_of(tmp_path, os.urandom(PARTS)), "x.parquet")
    assert len(read(storage, first)) == PARTS
    assert not uploads(s3)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"access_key_id": "nobody"}, "does not know this access_key_id"),
        ({"secret_access_key": "wrong-secret"}, "does not match the access_key_id"),
        (dict(zip(["access_key_id", "secret_access_key"], READER, strict=True)), "may not write"),
        ({"endpoint": "http://127.0.0.1:{port}"}, "cannot be reached"),
    ],
    ids=["key", "secret", "reader", "down"],
)
def test_wrong_options_give_one_line(
    s3: Buckets, tmp_path: Path, wrong: dict[str, str], says: str
) -> None:
    """`check` and `put` name the bucket and the action, and no secret."""
    options = {name: value.format(port=free_port()) for name, value in wrong.items()}
    storage = opened("s3://lake/of/mine", **keys(s3, **options))
    file = file_of(tmp_path, os.urandom(PARTS))
    for attempt in (storage.check, lambda: storage.put(file, "a.parquet")):
        with pytest.raises(LandingError, match=says) as caught:
            attempt()
        message = caught.value.message
        assert message.startswith("s3://lake/of/mine: ")
        assert "\n" not in message
        assert s3.secret_access_key not in message
        assert "wrong-secret" not in message
    assert not uploads(s3)


def test_check_names_every_missing_permission(s3: Buckets) -> None:
    """A user who may only read is told which permission to ask for, and where."""
    reader = dict(zip(["access_key_id", "secret_access_key"], READER, strict=True))
    with pytest.raises(LandingError) as caught:
        opened("s3://lake/of/mine", **keys(s3, **reader)).check()
    assert "may not write objects. Grant: s3:PutObject on lake/of/mine/*" in caught.value.message


def test_missing_bucket_is_named(gcs: str, s3: Buckets, tmp_path: Path) -> None:
    """The message says that the bucket does not exist."""
    reader = dict(zip(["access_key_id", "secret_access_key"], READER, strict=True))
    with pytest.raises(LandingError, match="s3://another: there is no such bucket"):
        opened("s3://another", **keys(s3, **reader)).check()
    storage = opened("gs://no-such-bucket/x", endpoint=gcs)
    file = file_of(tmp_path, b"x")
    for attempt in (storage.check, lambda: storage.put(file, "a.parquet")):
        with pytest.raises(LandingError, match=r"gs://no-such-bucket/x: .*no such bucket"):
            attempt()


def test_gcs_that_is_down_is_noticed_before_gcsfs_gives_up(monkeypatch) -> None:
    """The first request fails soon, whatever it is."""
    monkeypatch.setattr(gcs_module, "_FIRST_TIMEOUT", 1.0)
    storage = opened("gs://lake/x", endpoint=f"http://127.0.0.1:{free_port()}")
    con = engine.connect()
    for attempt in (storage.ping, storage.check, lambda: storage.prepare(con)):
        with pytest.raises(LandingError, match=r"cannot be reached \(no answer within 1 s\)"):
            attempt()
    con.close()


@pytest.mark.parametrize(
    ("path", "options", "says"),
    [
        ("r2://lake", {}, "account_id is missing"),
        ("s3://lake", {"access_key_id": "a"}, "secret_access_key is missing"),
        ("s3://lake", {"secret_access_key": "a"}, "access_key_id is missing"),
        ("s3://lake/2024-*", {}, "cannot be in it"),
    ],
)
def test_options_that_do_not_fit_are_refused(path: str, options: dict, says: str) -> None:
    """The message names the line of the project file before any request is sent."""
    with pytest.raises(ConfigError, match=rf"cdpsync\.yml:2: .*{says}"):
        opened(path, **options)


@pytest.mark.parametrize(
    "credentials",
    [
        '{"type": "service_account"}',
        "/no/such/file",
        "{half",
        pytest.param('{"type": ' * 100_000, id="deep"),
    ],
)
def test_invalid_google_credentials_are_refused(credentials: str) -> None:
    """Neither the key nor a piece of it is shown."""
    with pytest.raises(ConfigError, match="credentials must be the JSON") as caught:
        opened("gs://lake", credentials=credentials).check()
    assert credentials not in caught.value.message


def test_r2_account_is_an_endpoint() -> None:
    """R2 needs only the account's id and the keys; DuckDB gets s3 with an endpoint."""
    storage = opened("r2://lake/x", account_id="abc", access_key_id="k", secret_access_key="secret")
    con = engine.connect()
    storage.prepare(con)
    (secret,) = con.execute("select secret_string from duckdb_secrets()").fetchone()
    con.close()
    assert storage.root == "s3://lake/x/"
    for part in ("endpoint=abc.r2.cloudflarestorage.com", "region=auto", "scope=s3://lake/x/"):
        assert part in secret
    assert "secret=redacted" in secret


def test_secret_reaches_only_its_own_prefix(s3: Buckets, bucket: S3Storage, tmp_path: Path) -> None:
    """A query cannot read other buckets with the lake's keys."""
    outside = opened("s3://lake/outside", **keys(s3))
    address = outside.put(file_of(tmp_path, b"x"), f"{uuid.uuid4().hex}.parquet")
    con = engine.connect()
    bucket.prepare(con)
    with pytest.raises(Exception, match=r"40\d|HTTP|connect"):
        con.execute("select * from read_blob(?)", [address]).fetchall()
    con.close()


def test_keys_come_from_the_environment_too(s3: Buckets, monkeypatch, tmp_path: Path) -> None:
    """Without keys in the project file boto3's own chain finds them, endpoint included."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_access_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", s3.region)
    opened(f"s3://lake/{uuid.uuid4().hex}").check()


def test_new_keys_replace_old_ones_in_a_connection(s3: Buckets) -> None:
    """Each `prepare` passes the keys again, because they may have expired."""
    con = engine.connect()
    for key in ("first-key", "second-key"):
        options = dataclasses.replace(s3, access_key_id=key)
        opened("s3://lake/x", **keys(options)).prepare(con)
        (row,) = con.execute("select secret_string from duckdb_secrets()").fetchall()
        assert key in row[0]
    con.close()


def test_missing_credentials_are_named(monkeypatch, tmp_path: Path) -> None:
    """The message names each source of credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    storage = opened("s3://lake", region="eu-west-1")
    with pytest.raises(LandingError, match=r"no credentials were found.*AWS_ACCESS_KEY_ID"):
        storage.check()
