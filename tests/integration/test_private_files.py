"""What a project keeps beside its lake is for its owner alone, whatever the umask."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.faults import FaultProxy

from cdpsync import maintain, project, sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.shop import Shop

OTHERS = stat.S_IRWXG | stat.S_IRWXO


@pytest.fixture
def open_to_all() -> Iterator[None]:
    """A umask that keeps nothing from anybody."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_ones(folder: Path) -> list[str]:
    """Return what others may do something with: not what lies in a folder that is closed to them,
    below the project's own.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        above = [one for one in path.parents if one.is_relative_to(folder) and one != folder]
        is_closed = any(not one.stat().st_mode & OTHERS for one in above[:-1])
        if path.stat().st_mode & OTHERS and not is_closed:
            found.append(str(path.relative_to(folder)))
    return found


def killed_run(shop: Shop, proxy: FaultProxy) -> None:
    """Begin a run in a process of its own, and kill it once it waits for rows."""
    proxy.hold_after = proxy.sent + 4000  # somewhere after the first questions
    command = [sys.executable, "-m", "cdpsync", "-q", "-c", str(shop.file), "run"]
    with subprocess.Popen(command) as process:
        while not proxy.holding:
            os.sched_yield()
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.usefixtures("open_to_all")
def test_a_project_is_closed_to_others(shop: Shop) -> None:
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
    assert open_ones(own) == []

    with FaultProxy(shop.pg.port) as proxy:
        url = shop.pg.url.replace(f":{shop.pg.port}/", f":{proxy.port}/")
        shop.configure(tables, url=url)
        killed_run(shop, proxy)
    assert open_ones(own) == []
    for name in ("state.json", "catalog.ducklake"):
        assert (own / name).stat().st_mode & OTHERS == 0
    shop.configure(tables)
    shop.one()
    assert open_ones(own) == []


@pytest.mark.usefixtures("open_to_all")
def test_files_in_an_open_folder_are_closed_themselves(shop: Shop) -> None:
    """A catalog and a state file that were put somewhere else are no less private."""
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
    assert open_ones(shop.folder / "shared") == []
