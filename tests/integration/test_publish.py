"""A published lake: asked by whoever may read the bucket, without the project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cdpsync.model import RunStatus

if TYPE_CHECKING:
    from support.shop import Shop

pytestmark = pytest.mark.parametrize("shop", ["folder", "s3", "gcs"], indirect=True)


def asked(shop: Shop, folder: Path, sql: str) -> subprocess.CompletedProcess[str]:
    """Ask the published lake from elsewhere, with keys from the environment."""
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
    command = [str(Path(sys.executable).with_name("cdpsync")), "query", "--lake", path, sql]
    return subprocess.run(
        [*command, "-o", "csv"], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


def test_published_lake_is_asked_from_elsewhere(shop: Shop, tmp_path_factory) -> None:
    """After each run the copy beside the data tells of it; nothing is written by asking."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shop.warehouse = {**shop.warehouse, "publish": True}
    shop.pg.execute("create table orders (id int primary key, v int)")
    shop.pg.execute("insert into orders select i, i from generate_series(1, 100) i")
    shop.configure({"public.orders": {"mode": "incremental", "cursor_field": "v"}})
    for count, total in ((100, 5050), (101, 5050 + 1007)):
        assert shop.run().status is RunStatus.OK
        done = asked(shop, elsewhere, "select count(*) as n, sum(v) as v from shop.orders")
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["n,v", f"{count},{total}"]
        shop.pg.execute("insert into orders values (101, 1007) on conflict do nothing")
    assert list(elsewhere.iterdir()) == []


def test_lake_that_is_not_published_is_said_to_be_so(shop: Shop, tmp_path: Path) -> None:
    """One line names the place and what is missing there."""
    shop.pg.execute("create table orders (id int primary key)")
    shop.configure(None)
    shop.run()
    done = asked(shop, tmp_path, "select 1")
    assert done.returncode == 1
    assert "catalog.ducklake" in done.stderr
    assert done.stderr.count("\n") == 1


def test_address_that_is_no_lake_is_refused(shop: Shop, tmp_path: Path) -> None:
    """A web address is a mistake on the command line."""
    shop.warehouse = {"path": "https://example.com/lake"}
    done = asked(shop, tmp_path, "select 1")
    assert done.returncode == 2
    assert "is no lake" in done.stderr
