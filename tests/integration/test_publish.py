"""A published lake: readers of the bucket can query it without the project."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support import commands

from cdpsync.model import RunStatus

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from support.shop import Shop

pytestmark = pytest.mark.parametrize("shop", ["folder", "s3", "gcs"], indirect=True)


def query_published(shop: Shop, folder: Path, sql: str) -> subprocess.CompletedProcess[str]:
    """Query the published lake from another folder, with keys from the environment."""
    storage = shop.warehouse.get("storage", {})
    env = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": storage.get("access_key_id", ""),
        "AWS_SECRET_ACCESS_KEY": storage.get("secret_access_key", ""),
        "AWS_ENDPOINT_URL_S3": storage.get("endpoint", ""),
        "AWS_DEFAULT_REGION": "us-east-1",
        "STORAGE_EMULATOR_HOST": storage.get("endpoint", ""),
    }
    path = shop.warehouse["path"].replace("./", f"{shop.folder}/")
    return commands.run("query", "--lake", path, sql, "-o", "csv", cwd=folder, env=env)


def test_published_lake_can_be_queried_without_the_project(shop: Shop, tmp_path_factory) -> None:
    """The published catalog is replaced after each run. A query writes no file."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shop.warehouse = {**shop.warehouse, "publish": True}
    shop.pg.execute("create table orders (id int primary key, v int)")
    shop.pg.execute("insert into orders select i, i from generate_series(1, 100) i")
    shop.configure({"public.orders": {"mode": "incremental", "cursor_field": "v"}})
    for count, total in ((100, 5050), (101, 5050 + 1007)):
        assert shop.run().status is RunStatus.OK
        query = "select count(*) as n, sum(v) as v from shop.orders"
        process = query_published(shop, elsewhere, query)
        assert process.returncode == 0, process.stderr
        assert process.stdout.split() == ["n,v", f"{count},{total}"]
        shop.pg.execute("insert into orders values (101, 1007) on conflict do nothing")
    assert list(elsewhere.iterdir()) == []


def test_query_of_an_unpublished_lake_is_an_error(shop: Shop, tmp_path: Path) -> None:
    """One line names the path and the missing file."""
    shop.pg.execute("create table orders (id int primary key)")
    shop.configure(None)
    shop.run()
    process = query_published(shop, tmp_path, "select 1")
    assert process.returncode == 1
    assert "catalog.ducklake" in process.stderr
    assert process.stderr.count("\n") == 1


def test_address_that_is_not_a_lake_is_refused(shop: Shop, tmp_path: Path) -> None:
    """A web address is a usage error."""
    shop.warehouse = {"path": "https://example.com/lake"}
    process = query_published(shop, tmp_path, "select 1")
    assert process.returncode == 2
    assert "is not a lake" in process.stderr
