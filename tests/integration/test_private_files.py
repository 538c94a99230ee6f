"""A project's files beside its lake are readable by their owner only, whatever the umask."""

from __future__ import annotations

import os
import signal
import stat
from typing import TYPE_CHECKING

import pytest
from support import commands
from support.faults import FaultProxy

from cdpsync import maintain, project, sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.shop import Shop

OTHERS = stat.S_IRWXG | stat.S_IRWXO


@pytest.fixture
def open_to_all() -> Iterator[None]:
    """A umask that removes no permission."""
    before = os.umask(0)
    yield
    os.umask(before)


def accessible_to_others(folder: Path) -> list[str]:
    """Return the paths that others have permissions on, except those in a private subfolder."""
    paths = []
    for path in sorted(folder.rglob("*")):
        parents = [p for p in path.parents if p.is_relative_to(folder) and p != folder]
        is_closed = any(not parent.stat().st_mode & OTHERS for parent in parents[:-1])
        if path.stat().st_mode & OTHERS and not is_closed:
            paths.append(str(path.relative_to(folder)))
    return paths


def killed_run(shop: Shop, proxy: FaultProxy) -> None:
    """Start a run in its own process, and kill it when it waits for rows."""
    proxy.hold_after = proxy.sent + 4000  # somewhere after the first queries
    with commands.start("-q", "run", cwd=shop.folder) as process:
        while not proxy.holding:
            os.sched_yield()
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.usefixtures("open_to_all")
def test_project_is_private(shop: Shop) -> None:
    """State, catalog, locks, journal and spool; after runs, a query, upkeep, a copy and a crash."""
    shop.pg.execute("create table orders (id int primary key, v text, at int)")
    shop.pg.execute("insert into orders select i, 'v', i from generate_series(1, 99) i")
    shop.warehouse = {"path": "./warehouse", "publish": True}
    tables = {"public.orders": {"mode": "incremental", "cursor_field": "at"}}
    shop.configure(tables)
    shop.one()
    shop.ask("select * from shop.orders")
    maintain.maintain(project.load(shop.file))
    own = shop.folder / ".cdpsync"
    assert (own / "state.json").exists()
    assert not own.stat().st_mode & OTHERS
    assert accessible_to_others(own) == []

    with FaultProxy(shop.pg.port) as proxy:
        url = shop.pg.url.replace(f":{shop.pg.port}/", f":{proxy.port}/")
        shop.configure(tables, url=url)
        killed_run(shop, proxy)
    assert accessible_to_others(own) == []
    for name in ("state.json", "catalog.ducklake"):
        assert (own / name).stat().st_mode & OTHERS == 0
    shop.configure(tables)
    shop.one()
    assert accessible_to_others(own) == []


@pytest.mark.usefixtures("open_to_all")
def test_files_in_a_shared_folder_are_private(shop: Shop) -> None:
    """A catalog and a state file in another folder are private too."""
    shop.pg.execute("create table plans as select 1 as id")
    (shop.folder / "shared").mkdir(mode=0o777)
    shop.warehouse = {
        "path": "./warehouse",
        "catalog": "shared/lake.ducklake",
        "state": "shared/state.json",
    }
    shop.configure(None)
    sync.run(shop.file)
    shop.ask("select * from shop.plans")
    assert accessible_to_others(shop.folder / "shared") == []
