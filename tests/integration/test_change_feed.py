"""A feed gives the net changes of a table since a position: none is missed, none is made up."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from support.feed_lake import FeedLake

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


@pytest.mark.parametrize("seed", range(24))
def test_changes_make_the_copy_the_table_again(lake: FeedLake, seed: int) -> None:
    """Whatever happened to the table, its files and its snapshots between two positions."""
    history = History(lake, seed)
    followers = {name: lake.follower(**request) for name, request in REQUESTS.items()}
    dirty = dict.fromkeys(followers, False)
    for _ in range(14):
        positions = {follower.position.snapshot_id for follower in followers.values()}
        changed = history.step(positions)
        before = lake.rows()
        for name, follower in followers.items():
            dirty[name] = dirty[name] or changed
            if history.rng.random() < 0.35:
                follow(name, follower, before, history, moved=not dirty[name])
                dirty[name] = False
    for name, follower in followers.items():
        follow(name, follower, lake.rows(), history, moved=not dirty[name])


def follow(name: str, follower: Follower, rows: dict, history: History, *, moved: bool) -> None:
    """Apply the changes, and compare the copy with the rows. `moved`: no row can have changed."""
    history.log.append(f"-> {name} from {follower.position.snapshot_id}")
    columns = {column for row in rows.values() for column in row}
    for key, row in follower.rows.items():  # columns that were added since
        follower.rows[key] = dict.fromkeys(columns) | row
    behind, changes = follower.is_behind(), follower.follow()
    assert behind or not changes, "\n".join(history.log)
    assert not follower.is_behind(), "\n".join(history.log)
    if moved:
        assert changes == [], "\n".join(history.log)
    if ChangeKind.DELETE in follower.request.kinds:
        assert follower.rows == rows, "\n".join(history.log)
    else:  # it keeps the rows that were deleted
        assert {key: follower.rows.get(key) for key in rows} == rows, "\n".join(history.log)
        follower.rows = dict(rows)
