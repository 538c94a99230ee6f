"""The outbox: numbered in the order of sending, complete or not there at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest
from support.deliveries import changes, outbox

from cdpsync.destinations.delivery.outbox import Outbox, pending
from cdpsync.errors import CatalogError
from cdpsync.model.destinations import ChangeOrder

if TYPE_CHECKING:
    from pathlib import Path

SHUFFLED = changes(500, more=", if(i % 3 = 0, 'delete', 'request') as route") + " order by hash(i)"


def rows(box: Outbox) -> list[tuple[int, int, str]]:
    query = f"select seq, ord, route from {box.relation} order by seq"
    return duckdb.connect().execute(query).fetchall()


def test_each_change_is_numbered_in_its_order(tmp_path: Path) -> None:
    """With `changes: each`, however the rows came."""
    box = outbox(tmp_path, SHUFFLED, order=ChangeOrder.EACH)
    assert [(seq, place) for seq, place, _ in rows(box)] == [(i, i) for i in range(1, 501)]


def test_deletes_come_last(tmp_path: Path) -> None:
    """With `changes: last`, so that batches are whole."""
    box = outbox(tmp_path, SHUFFLED, order=ChangeOrder.LAST)
    routes = [route for _, _, route in rows(box)]
    assert routes == sorted(routes, reverse=True)
    assert sorted(place for _, place, _ in rows(box)) == list(range(1, 501))
    assert [seq for seq, _, _ in rows(box)] == list(range(1, 501))


def test_opened_outbox_is_the_one_that_was_written(tmp_path: Path) -> None:
    """Also what the sender noted of it."""
    box = outbox(tmp_path, 10, details={"until": 7})
    assert Outbox.open(box.folder) == box
    assert (box.rows, box.meta.errors, box.meta.details) == (10, 0, {"until": 7})
    assert pending(tmp_path) == [box]


def test_incomplete_outbox_is_removed(tmp_path: Path) -> None:
    """Nothing of it was sent, because `meta.json` comes before the first request."""
    box = outbox(tmp_path, 10)
    (box.folder / "meta.json").unlink()
    assert pending(tmp_path) == []
    assert not box.folder.exists()


def test_damaged_outbox_names_the_way_out(tmp_path: Path) -> None:
    """One line."""
    box = outbox(tmp_path, 10)
    (box.folder / "meta.json").write_text("{")
    with pytest.raises(CatalogError, match=r"20261128-1: the outbox cannot be read .*Remove"):
        pending(tmp_path)


def test_empty_outbox(tmp_path: Path) -> None:
    """It has no change, and no size."""
    box = outbox(tmp_path, 0)
    assert (box.rows, box.meta.bytes, box.meta.largest) == (0, 0, 0)


def test_files_are_private(tmp_path: Path) -> None:
    """Bodies may have what others should not read."""
    box = outbox(tmp_path, 3)
    assert box.folder.stat().st_mode & 0o077 == 0
    assert [file for file in box.folder.iterdir() if file.stat().st_mode & 0o077] == []


def test_column_that_an_outbox_does_not_have(tmp_path: Path) -> None:
    """A misspelled one would be lost in silence."""
    with pytest.raises(ValueError, match="bdy"):
        outbox(tmp_path, changes(1, more=", 1 as bdy"))
