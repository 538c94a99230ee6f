"""SIGKILL at any moment and a rerun give the lake of one clean run."""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING

import pytest
from support import commands

from cdpsync import project
from cdpsync.model import RunStatus

if TYPE_CHECKING:
    from support.shop import Shop

TABLES = {
    "public.orders": {"mode": "incremental", "cursor_field": "rev"},
    "public.events": {"mode": "append_only", "cursor_field": "rev"},
    "public.plans": {},
}
ROUND = """
    insert into orders select i, 'new', i from generate_series({first}, {last}) i;
    update orders set v = 'changed in {round}', rev = {last} where id % 5 = {round} % 5;
    insert into events select 'same', 1 + i / 3 from generate_series({first}, {last}) i;
    update plans set v = '{round}';
"""


@pytest.mark.parametrize("seed", range(4))
def test_killed_run_and_a_rerun_are_one_clean_run(shop: Shop, seed: int) -> None:
    """Whenever the process dies, the next run completes its work: no row is lost or doubled."""
    chance = random.Random(seed)  # noqa: S311 - a moment to die, not a secret
    shop.pg.execute("create table orders (id int primary key, v text, rev int)")
    shop.pg.execute("create table events (kind text, rev int)")
    shop.pg.execute("create table plans as select i as id, '' as v from generate_series(1, 99) i")
    shop.configure(TABLES)
    for number in range(3):
        shop.pg.execute(ROUND.format(round=number, first=number * 500 + 1, last=(number + 1) * 500))
        with commands.start("-q", "run", cwd=shop.folder) as process:
            time.sleep(chance.uniform(0, 0.9))
            process.send_signal(signal.SIGKILL)
    assert shop.run().status is RunStatus.OK
    for table in ("orders", "events", "plans"):
        shop.same(stream=f"public.{table}", table=f"shop.{table}")
    results = {table.table: table for table in shop.run().tables}
    assert results["shop.orders"].rows_inserted + results["shop.orders"].rows_updated == 0
    assert results["shop.events"].rows_inserted == 0
    state = project.load_state(project.load(shop.file))
    file_cursors = {key: (entry.cursor, entry.run_id) for key, entry in state.entries.items()}
    assert file_cursors == {
        (saved.source, saved.stream): (saved.cursor, saved.run_id) for saved in state.saved_states
    }
    assert not list((shop.folder / ".cdpsync/tmp").iterdir())
