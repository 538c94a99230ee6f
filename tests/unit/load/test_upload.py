"""The upload queue: all files of a table or none, and no more bytes in the spool than allowed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from cdpsync.config.sizes import parse_size
from cdpsync.errors import LandingError
from cdpsync.load.upload import TableUpload, Uploader

if TYPE_CHECKING:
    from pathlib import Path


class MemoryStorage:
    """A storage in memory. Uploads wait for `may_continue`; names with `failing_suffix` fail."""

    root = "memory:/"

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.may_continue = threading.Event()
        self.may_continue.set()
        self.failing_suffix = ""

    def put(self, file: Path, name: str) -> str:
        assert self.may_continue.wait(10)
        if self.failing_suffix and name.endswith(self.failing_suffix):
            raise LandingError("no space")
        assert name not in self.files
        self.files[name] = file.read_bytes()
        return self.root + name

    def remove(self, name: str) -> None:
        self.files.pop(name, None)


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


def start_upload(storage: MemoryStorage, spool_max: int = 100) -> TableUpload:
    return Uploader(storage, "run-1", spool_max).start_table("shop/orders")


def files(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{number}.parquet" for number in range(count)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def test_files_are_uploaded_in_order_and_removed_from_the_spool(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    """Each file is named after its run; a file with `keep` stays in the spool."""
    upload = start_upload(storage)
    sent = files(tmp_path, 8)
    for file in sent:
        upload.add(file, 10, keep=file is sent[3])
    assert upload.wait() == tuple(f"memory:/shop/orders/run-1-{i:05d}.parquet" for i in range(8))
    assert [file.exists() for file in sent] == [i == 3 for i in range(8)]
    assert storage.files["shop/orders/run-1-00005.parquet"] == b"5.parquet"


def test_rollback_removes_the_other_files_of_a_failed_upload(
    storage: MemoryStorage, tmp_path: Path
) -> None:
    """When one file fails, no file stays in the storage, and no other is uploaded."""
    upload = start_upload(storage)
    storage.failing_suffix = "00002.parquet"
    for file in files(tmp_path, 6):
        try:
            upload.add(file, 10)
        except LandingError:
            break
    with pytest.raises(LandingError, match="no space"):
        upload.wait()
    upload.rollback()
    assert storage.files == {}
    with pytest.raises(LandingError, match="no space"):
        upload.add(tmp_path / "7.parquet", 10)


def test_full_spool_is_waited_for(storage: MemoryStorage, tmp_path: Path) -> None:
    """The next file waits until enough bytes were uploaded, or until the run stops."""
    upload = start_upload(storage, spool_max=25)
    uploader = upload.uploader
    storage.may_continue.clear()
    for file in files(tmp_path, 3):
        uploader.wait_for_space(lambda: False)
        upload.add(file, 10)
    passed = threading.Event()
    waiter = threading.Thread(target=lambda: (uploader.wait_for_space(lambda: False), passed.set()))
    waiter.start()
    assert not passed.wait(0.2)
    uploader.wait_for_space(lambda: True)
    storage.may_continue.set()
    assert passed.wait(10)
    waiter.join()
    assert len(upload.wait()) == 3


def test_spool_is_freed_by_failures_too(storage: MemoryStorage, tmp_path: Path) -> None:
    """A storage that refuses every file does not block the run for ever."""
    upload = start_upload(storage, spool_max=5)
    storage.failing_suffix = ".parquet"
    upload.add(files(tmp_path, 1)[0], 10)
    upload.uploader.wait_for_space(lambda: False)
    with pytest.raises(LandingError):
        upload.wait()


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GiB", 4 << 30), ("1.5 GB", 1_500_000_000), ("500mb", 500_000_000), (1024, 1024),
     ("64k", 64_000), ("10B", 10)],
)  # fmt: skip
def test_sizes_are_read(text: object, size: int) -> None:
    """Powers of 1000 and of 1024, as their units say."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "0", "-1GB", "4 GiB too many", True, None, "1e3"])
def test_invalid_size_is_refused(text: object) -> None:
    """The message shows the right form."""
    with pytest.raises(ValueError, match="Write 4GiB"):
        parse_size(text)
