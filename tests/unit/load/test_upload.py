"""Files on their way to the storage: all or none, and no more in the spool than allowed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from cdpsync.config.sizes import parse_size
from cdpsync.errors import LandingError
from cdpsync.load.upload import SpoolBudget, TableUpload, Uploader

if TYPE_CHECKING:
    from pathlib import Path


class Shelf:
    """A storage in memory, whose uploads wait until they are let go, and fail where told."""

    root = "shelf:/"

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.go = threading.Event()
        self.go.set()
        self.fails = ""

    def put(self, file: Path, name: str) -> str:
        assert self.go.wait(10)
        if self.fails and name.endswith(self.fails):
            raise LandingError("no room on the shelf")
        assert name not in self.held
        self.held[name] = file.read_bytes()
        return self.root + name

    def remove(self, name: str) -> None:
        self.held.pop(name, None)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def begun(shelf: Shelf, limit: int = 100) -> TableUpload:
    return Uploader(shelf, "run-1", SpoolBudget(limit)).start_table("shop/orders")


def files(folder: Path, count: int) -> list[Path]:
    made = [folder / f"{number}.parquet" for number in range(count)]
    for file in made:
        file.write_bytes(file.name.encode())
    return made


def test_files_arrive_in_order_and_leave_the_spool(shelf: Shelf, tmp_path: Path) -> None:
    """Each goes under a name of its run; the one that is still needed stays."""
    delivery = begun(shelf)
    sent = files(tmp_path, 8)
    for file in sent:
        delivery.add(file, 10, keep=file is sent[3])
    assert delivery.wait() == tuple(f"shelf:/shop/orders/run-1-{i:05d}.parquet" for i in range(8))
    assert [file.exists() for file in sent] == [i == 3 for i in range(8)]
    assert shelf.held["shop/orders/run-1-00005.parquet"] == b"5.parquet"


def test_one_that_fails_takes_the_others_back(shelf: Shelf, tmp_path: Path) -> None:
    """Nothing stays of a delivery of which a part did not arrive, and no more is sent."""
    delivery = begun(shelf)
    shelf.fails = "00002.parquet"
    for file in files(tmp_path, 6):
        try:
            delivery.add(file, 10)
        except LandingError:
            break
    with pytest.raises(LandingError, match="no room on the shelf"):
        delivery.wait()
    delivery.rollback()
    assert shelf.held == {}
    with pytest.raises(LandingError, match="no room"):
        delivery.add(tmp_path / "7.parquet", 10)


def test_full_spool_is_waited_for(shelf: Shelf, tmp_path: Path) -> None:
    """Who would add to it waits until enough has left, or until the work is to stop."""
    delivery = begun(shelf, limit=25)
    spool = delivery.uploader.spool
    shelf.go.clear()
    for file in files(tmp_path, 3):
        spool.wait(lambda: False)
        delivery.add(file, 10)
    passed = threading.Event()
    waiter = threading.Thread(target=lambda: (spool.wait(lambda: False), passed.set()))
    waiter.start()
    assert not passed.wait(0.2)
    spool.wait(lambda: True)
    shelf.go.set()
    assert passed.wait(10)
    waiter.join()
    assert len(delivery.wait()) == 3


def test_spool_is_freed_by_failures_too(shelf: Shelf, tmp_path: Path) -> None:
    """A storage that takes nothing does not stop the run for ever."""
    delivery = begun(shelf, limit=5)
    shelf.fails = ".parquet"
    delivery.add(files(tmp_path, 1)[0], 10)
    delivery.uploader.spool.wait(lambda: False)
    with pytest.raises(LandingError):
        delivery.wait()


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GiB", 4 << 30), ("1.5 GB", 1_500_000_000), ("500mb", 500_000_000), (1024, 1024),
     ("64k", 64_000), ("10B", 10)],
)  # fmt: skip
def test_sizes_are_read(text: object, size: int) -> None:
    """Powers of 1000 and of 1024, as their units say."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "0", "-1GB", "4 GiB too many", True, None, "1e3"])
def test_what_is_no_size_is_refused(text: object) -> None:
    """The message shows how one is written."""
    with pytest.raises(ValueError, match="Write 4GiB"):
        parse_size(text)
