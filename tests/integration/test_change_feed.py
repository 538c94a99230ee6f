"""A feed gives the net changes of a table since a position: none is missed, none is made up."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from support.feed_lake import FeedLake, rows_of

from cdpsync.model.destinations import ChangeKind, ChangeOrder

if TYPE_CHECKING:
    from pathlib import Path

    from support.feed_lake import Change, Follower

UPSERTS = frozenset({ChangeKind.INSERT, ChangeKind.UPDATE})
REQUESTS = {
    "kinds": {},
    "old": {"needs_old": True},
    "each": {"order": ChangeOrder.EACH, "needs_old": True},
    "upserts": {"kinds": UPSERTS},
    "keep": {"keep": True, "needs_old": True},
    "untold": {"kinds": UPSERTS, "tells_kind": False},
}


@pytest.fixture
def lake(tmp_path: Path) -> FeedLake:
    lake = FeedLake(tmp_path)
    lake.create()
    lake.merge("select i as id, 'first' as v from range(10) as r(i)")
    return lake


def summary(changes: list[Change]) -> list[tuple[str, int, str | None]]:
    return sorted((change.kind, change.row["id"], change.row["v"]) for change in changes)


# ---- random histories


def keys(rng: random.Random, most: int = 4) -> str:
    return ", ".join(str(rng.randrange(14)) for _ in range(rng.randrange(1, most)))


class History:
    """Random statements on a lake, and whether they may have changed a row."""

    def __init__(self, lake: FeedLake, seed: int) -> None:
        self.lake = lake
        self.rng = random.Random(seed)  # noqa: S311 - a history, no secret
        self.log: list[str] = []

    def step(self, positions: set[int]) -> bool:
        name = self.rng.choice(
            ["merge"] * 5 + ["delete"] * 3 + ["compact"] * 3 + ["rewrite", "merge_files"]
            + ["replace", "reload", "update", "no_op", "insert", "add_column"] + ["expire"] * 2
        )  # fmt: skip
        self.log.append(name)
        if name == "expire":
            middle = [id_ for id_ in self.lake.snapshots()[:-1] if id_ not in positions]
            chosen = [id_ for id_ in middle if self.rng.random() < 0.6]
            self.log[-1] += f" {chosen}"
            self.lake.expire(*chosen)
            return False
        return bool(getattr(self, f"_{name}")())

    def _merge(self) -> bool:
        value = self.rng.choice(["a", "b", "c"])
        chosen = keys(self.rng)
        self.log[-1] += f" {chosen} {value}"
        self.lake.merge(f"select distinct unnest([{chosen}]) as id, '{value}' as v")
        return True

    def _delete(self) -> bool:
        chosen = keys(self.rng)
        self.log[-1] += f" {chosen}"
        self.lake.delete(f"id in ({chosen})")
        return True

    def _compact(self) -> None:
        self.lake.compact()

    def _rewrite(self) -> None:
        self.lake.rewrite()

    def _merge_files(self) -> None:
        self.lake.merge_files()

    def _reload(self) -> None:
        self.lake.replace()

    def _replace(self) -> bool:
        chosen = keys(self.rng)
        self.log[-1] += f" {chosen}"
        self.lake.replace(
            f"select * replace (if(id in ({chosen}), 'r', v) as v) from lake.shop.orders "
            f"where id not in ({keys(self.rng)})"
        )
        return True

    def _update(self) -> bool:
        self.lake.write_as_other(
            f"update lake.shop.orders set v = 'u' where id in ({keys(self.rng)})"
        )
        return True

    def _no_op(self) -> None:
        self.lake.write_as_other("update lake.shop.orders set v = v")

    def _insert(self) -> bool:
        id_ = self.rng.randrange(14)
        self.lake.write_as_other(
            f"delete from lake.shop.orders where id = {id_}",
            f"insert into lake.shop.orders (id, v) values ({id_}, 'o')",
        )
        return True

    def _add_column(self) -> None:
        self.lake.write(f"alter table lake.shop.orders add column c{len(self.log)} int")


@pytest.mark.parametrize("seed", range(12))
def test_changes_make_the_copy_the_table_again(lake: FeedLake, seed: int) -> None:
    """Whatever happened to the table, its files and its snapshots between two positions."""
    history = History(lake, seed)
    followers = {name: lake.follower(**request) for name, request in REQUESTS.items()}
    for _ in range(12):
        positions = {f.position.snapshot_id for f in followers.values() if not f.request.keep}
        changed = history.step(positions)
        for follower in followers.values():
            follower.may_differ |= changed
        names = [name for name in followers if history.rng.random() < 0.35]
        follow_all(lake, history, {name: followers[name] for name in names})
    follow_all(lake, history, followers)


def follow_all(lake: FeedLake, history: History, followers: dict[str, Follower]) -> None:
    with lake.catalog.reader() as con:
        rows = rows_of(con, lake.key_sql)
        for name, follower in followers.items():
            history.log.append(f"-> {name} from {follower.position.snapshot_id}")
            follower.con = con
            try:
                follow(follower, rows, lake.folder)
            except AssertionError as error:
                raise AssertionError("\n".join(history.log)) from error
            follower.con = None


def follow(follower: Follower, rows: dict[str, dict[str, Any]], folder: Path) -> None:
    """Apply the changes, and compare the copy with the rows."""
    columns = {column for row in rows.values() for column in row}
    for key, row in follower.rows.items():
        follower.rows[key] = dict.fromkeys(columns) | row  # columns that were added since
    before, may_differ = dict(follower.rows), follower.may_differ
    behind, changes = follower.is_behind(), follower.follow(folder)
    assert behind or not changes
    assert not follower.is_behind()
    assert may_differ or not changes
    follower.may_differ = False
    if ChangeKind.DELETE not in follower.request.kinds:  # it keeps the rows that were deleted
        assert {key: follower.rows.get(key) for key in rows} == rows
        follower.rows = dict(rows)
        return
    assert follower.rows == rows
    if follower.request.needs_old:
        assert all((c.old == c.row) == (c.kind == "delete") for c in changes)
        if follower.request.order is ChangeOrder.LAST:
            assert before != rows or not changes
