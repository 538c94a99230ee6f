"""Fixtures of the integration tests: an empty project over a database of its own."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from support.servers import Database
from support.shop import KEYS, ReplicatedShop, Shop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Buckets, Server


def _warehouse(request: pytest.FixtureRequest, store: str) -> dict[str, Any]:
    """Return the `warehouse:` of a lake of one's own in this kind of store."""
    prefix = f"lake/{uuid.uuid4().hex[:8]}"
    if store == "s3":
        buckets: Buckets = request.getfixturevalue("s3")
        keys = {name: getattr(buckets, name) for name in KEYS}
        return {"path": f"s3://{prefix}", "storage": keys}
    if store == "gcs":
        address = request.getfixturevalue("gcs")
        return {"path": f"gs://{prefix}", "storage": {"endpoint": address}}
    return {"path": "./warehouse"}


@pytest.fixture
def replicated_shop(
    tmp_path: Path, replicated_servers: tuple[Server, Server]
) -> Iterator[ReplicatedShop]:
    """An empty project over an empty database and its replica."""
    primary, standby = replicated_servers
    with primary.database(f"test_{uuid.uuid4().hex[:12]}") as pg:
        replica = Database(standby.port, standby.password, pg.name, standby.bin)
        standby.wait_for(primary)
        yield ReplicatedShop(tmp_path, pg, replica=replica)


@pytest.fixture
def shop(request: pytest.FixtureRequest, tmp_path: Path, pg: Database) -> Shop:
    """An empty project over an empty database: in a folder, or where its parameter says."""
    return Shop(tmp_path, pg, _warehouse(request, getattr(request, "param", "folder")))
