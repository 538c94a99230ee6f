"""A table's life of changes, deaths and reruns, and what must be true after each of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from cdpsync import maintain, project, sync
from cdpsync.catalog import Lake
from cdpsync.maintain import orphans
from cdpsync.model import RunStatus
from cdpsync.system import locks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from random import Random

    import duckdb
    import psycopg
    from support.crash_points import Ended, Mortals, Step

MODES: dict[str, dict[str, Any]] = {
    "incremental": {"mode": "incremental", "cursor_field": "rev"},
    "append_only": {"mode": "append_only", "cursor_field": "rev"},
    "full_table": {"mode": "full_table"},
    "deletes_hard": {"mode": "incremental", "cursor_field": "rev", "deletes": "hard"},
    "deletes_soft": {"mode": "incremental", "cursor_field": "rev", "deletes": "soft"},
}
# A table without a key is replaced by each run that finds a change.
WITHOUT_KEY = "full_table_without_key"
ALL_MODES = MODES | {WITHOUT_KEY: {"mode": "full_table"}}
SOURCE = """
    drop table if exists orders, gone;
    create table orders (id int primary key, v text, rev int);
    create table gone (id int primary key);
    insert into orders select i, md5(i::text), i / 3 from generate_series(1, 60) i
"""
ADD = """
    insert into orders select i, 'new', (select max(rev) from orders) + i % 2
    from generate_series({first}, {last}) i
"""
CHANGE = """
    update orders set v = 'changed {round}', rev = (select max(rev) from orders)
    where id % 7 = {round} % 7
"""
LEAVE = """
    with left_it as (
        delete from orders where id in (
            select id from orders where id <= {synced} order by id % 11, id limit 2
        ) returning id
    ) insert into gone select id from left_it
"""
_OWN = {
    *("catalog.ducklake", "state.json", "locks", "runs", "tmp"),
    *(".state.json.lock", ".tmp.lock"),
}
_NAMED = """
    select if(f.path_is_relative, ? || s.path || t.path || f.path, f.path)
    from (
        select table_id, path, path_is_relative from __ducklake_metadata_lake.ducklake_data_file
        union all
        select table_id, path, path_is_relative from __ducklake_metadata_lake.ducklake_delete_file
    ) as f
    join __ducklake_metadata_lake.ducklake_table as t using (table_id)
    join __ducklake_metadata_lake.ducklake_schema as s using (schema_id)
    union
    select if(path_is_relative, ? || path, path)
    from __ducklake_metadata_lake.ducklake_files_scheduled_for_deletion
"""


@dataclass
class Life:
    """One table `public.orders` in one mode, whose runs may die at any moment."""

    file: Path
    source: psycopg.Connection[Any]
    mode: str
    round: int = 0
    synced: int = 60
    compacts: bool = False
    deaths: list[Ended] = field(default_factory=list)

    def begin(self) -> None:
        """Fill the source."""
        self.source.execute(SOURCE)
        if self.mode == WITHOUT_KEY:
            self.source.execute("alter table orders drop constraint orders_pkey")

    def change(self) -> None:
        """Let the source change as a source of this mode does."""
        self.round += 1
        first, last = self.synced + 1, self.synced + 5
        values = {"first": first, "last": last, "round": self.round, "synced": self.synced}
        self.source.execute(ADD.format(**values))
        if self.mode != "append_only":
            self.source.execute(CHANGE.format(**values))
        if "deletes" in self.mode:
            self.source.execute(LEAVE.format(**values))
        self.synced = last

    def die(self, mortals: Mortals, *, at: Step | None = None, limit: int | None = None) -> Ended:
        """Run, die, run again in peace; assert that nobody can tell."""
        ended = mortals.run(self.file, at=at, limit=limit, compacts=self.compacts)
        if ended.killed:
            self.deaths.append(ended)
        self.rerun(ended)
        return ended

    def rerun(self, context: object = "") -> None:
        """Run in peace; assert that the lake is as after one clean run."""
        result = sync.run(self.file)
        assert result.status is RunStatus.OK, (context, result.tables)
        self.check(context)

    def check(self, context: object = "") -> None:
        """Assert that the lake has the source's rows, and that state file and catalog agree."""
        config = project.load(self.file)
        with project.catalog_of(config).reader() as con:
            present, soft_deleted = self._lake(con)
            lake_state = Lake(con).state()
        assert present == self._rows("select id, v, rev from orders"), context
        if self.mode == "deletes_soft":
            assert soft_deleted == self._rows("select id from gone"), context
        state = project.load_state(config, lake_state)
        file_cursors = {key: (entry.cursor, entry.run_id) for key, entry in state.entries.items()}
        saved_cursors = {
            (saved.source, saved.stream): (saved.cursor, saved.run_id)
            for saved in state.saved_states
        }
        assert file_cursors == saved_cursors, context
        assert len(saved_cursors) == 1, context
        assert locks.live_runs(project.locks_folder(config)) == set(), context
        own = self.file.parent / ".cdpsync"
        assert list((own / "tmp").iterdir()) == [], context
        assert {path.name for path in own.iterdir()} <= _OWN, context

    def clean_up(self, stored: Callable[[], set[str]]) -> None:
        """Maintain; assert that no file is left then which no snapshot names, and none is missing.

        `stored` returns the addresses of the data files that are in the store.
        """
        with patch.object(orphans, "GRACE", timedelta()):  # a torn file may be another's for a day
            self.settle()
        files, named = stored(), self._named()
        assert files == named, f"unnamed: {files - named}, missing: {named - files}"

    def settle(self) -> None:
        """Maintain; assert that this changes nothing that anybody could ask for."""
        maintain.maintain(project.load(self.file))
        self.check("after maintain")
        assert not list((self.file.parent / ".cdpsync/runs").iterdir())

    def _named(self) -> set[str]:
        """Return the files that some snapshot of the lake names."""
        catalog = project.catalog_of(project.load(self.file))
        with catalog.reader() as con:
            return {path for (path,) in con.execute(_NAMED, [catalog.data_path] * 2).fetchall()}

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return sorted(self.source.execute(sql).fetchall())

    def _lake(
        self, con: duckdb.DuckDBPyConnection
    ) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        soft = self.mode == "deletes_soft"
        where = " where _deleted_at is null" if soft else ""
        rows = con.execute(f"select id, v, rev from lake.shop.orders{where}").fetchall()
        ids = "select id from lake.shop.orders where _deleted_at is not null"
        soft_deleted = con.execute(ids).fetchall() if soft else []
        return sorted(rows), sorted(soft_deleted)


def moments(steps: Sequence[Step], chance: Random) -> list[Step]:
    """Return a step of each name that there is, one that any of them may be."""
    by_name: dict[str, list[Step]] = {}
    for step in steps:
        by_name.setdefault(step[0], []).append(step)
    return [chance.choice(same) for same in by_name.values()]


def varied_states(ended: Ended, chance: Random) -> list[Step]:
    """Return steps of a watched run that have each state of the lake, and each kind of remnants.

    They are each tried once, not each with each of the other.
    """
    by_remnants = _chosen([state.remnants for state in ended.states], ended.steps, chance)
    by_lake = _chosen([state.lake for state in ended.states], ended.steps, chance)
    lake_of = {step: state.lake for step, state in zip(ended.steps, ended.states, strict=True)}
    tried = {lake_of[step] for step in by_remnants}
    chosen = {*by_remnants, *(step for step in by_lake if lake_of[step] not in tried)}
    return [step for step in ended.steps if step in chosen]


def states_of_lake(ended: Ended, chance: Random, tried: frozenset[int]) -> list[Step]:
    """Return a step of each state of the lake in a watched run, and of each new kind of remnants.

    Remnants that have been `tried` are the same to the next run, whatever has become of the lake.
    """
    known = [
        (state.lake, state.remnants if state.remnants not in tried else 0) for state in ended.states
    ]
    return _chosen(known, ended.steps, chance)


def _chosen(states: Sequence[object], steps: Sequence[Step], chance: Random) -> list[Step]:
    by_state: dict[object, list[Step]] = {}
    for state, step in zip(states, steps, strict=True):
        by_state.setdefault(state, []).append(step)
    return [chance.choice(same) for same in by_state.values()]
