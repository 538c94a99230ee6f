"""The order of writes: a file's content is on the disk before its name, so power may fail."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cdpsync import engine
from cdpsync.catalog import remove_stale_dirs, temp_dir, transaction
from cdpsync.errors import CatalogError, LandingError
from cdpsync.model import TableName
from cdpsync.state import update_state
from cdpsync.storage.folder import FolderStorage
from cdpsync.system import disk


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The calls to the disk in order, each with the file's name."""
    calls: list[tuple[str, str]] = []
    for name in ("fsync", "replace", "link", "mkdir"):
        real = getattr(os, name)

        def recorded(target, *arguments, _name=name, _real=real, **options):
            is_open = isinstance(target, int)
            path = Path(f"/proc/self/fd/{target}").readlink() if is_open else Path(target)
            if _name != "mkdir" or not path.exists():
                calls.append((_name, path.name))
            return _real(target, *arguments, **options)

        monkeypatch.setattr(os, name, recorded)
    return calls


def test_macos_has_the_drive_write_what_is_synced(
    tmp_path: Path, order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system cannot, fsync is what there is."""
    asked: list[int] = []

    def full_sync(descriptor: int, command: int) -> None:
        asked.append(command)
        if len(asked) > 1:
            raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(disk.fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(disk.fcntl, "fcntl", full_sync)
    disk.fsync(tmp_path)
    assert (asked, order) == ([51], [])
    disk.fsync(tmp_path)
    assert (asked, order) == ([51, 51], [("fsync", tmp_path.name)])


def test_state_file_is_on_the_disk_before_its_name(tmp_path: Path, order) -> None:
    """The new state is synced, renamed, and then the folder is synced: old or new, never half."""
    update_state(tmp_path / "state.json", lambda _: None)
    assert order == [
        ("fsync", ".state.json.tmp"),
        ("replace", ".state.json.tmp"),
        ("fsync", tmp_path.name),
    ]


def test_stored_file_is_on_the_disk_before_its_name(tmp_path: Path, order) -> None:
    """The file, its new folders and the folder with its name are synced in this order."""
    (tmp_path / "spooled").write_bytes(b"rows")
    FolderStorage(tmp_path / "lake").put(tmp_path / "spooled", "shop/orders/a.parquet")
    assert order == [
        ("mkdir", "lake"),
        ("fsync", tmp_path.name),
        ("mkdir", "shop"),
        ("fsync", "lake"),
        ("mkdir", "orders"),
        ("fsync", "shop"),
        ("fsync", "spooled"),
        ("link", "spooled"),
        ("fsync", "orders"),
    ]


def test_published_catalog_is_on_the_disk_before_its_name(tmp_path: Path, order) -> None:
    """The next copy removes an unfinished one; readers never see it."""
    (tmp_path / "copy").write_bytes(b"catalog")
    (tmp_path / ".catalog.ducklake-dead").write_bytes(b"cat")
    FolderStorage(tmp_path).replace(tmp_path / "copy", "catalog.ducklake")
    names = [(call, name.split("-")[0]) for call, name in order]
    draft = ".catalog.ducklake"
    assert names == [("fsync", draft), ("replace", draft), ("fsync", tmp_path.name)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["catalog.ducklake", "copy"]


def test_deleted_rows_are_on_the_disk_before_the_commit(tmp_path: Path, order) -> None:
    """DuckLake's own files are synced while the catalog does not yet name them."""
    con = engine.connect(extensions=("ducklake",))
    con.execute(f"attach 'ducklake:{tmp_path}/c.ducklake' as lake (data_path '{tmp_path}/w/')")
    con.execute("create table lake.t as select i as id from range(1000) t(i)")
    order.clear()
    with transaction(con, "test", TableName("main", "t")):
        con.execute("delete from lake.t where id % 7 = 0")
        assert not order
    (written,) = (tmp_path / "w/main/t").glob("*-delete.parquet")
    assert order == [("fsync", written.name), ("fsync", "t")]
    assert con.execute("select count(*) from lake.t").fetchone() == (857,)
    con.close()


def test_folder_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    """Also one without a lock file; never one that is in use."""
    scratch = tmp_path / "own/tmp"
    with temp_dir(scratch, "spool-") as used_folder:
        (scratch / "read-123-dead").mkdir()
        remove_stale_dirs(scratch)
        assert list(scratch.iterdir()) == [used_folder]


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "the disk is full. Make room there; nothing was committed."),
        (errno.EDQUOT, "the disk quota is used up. Make room there; nothing was committed."),
        (errno.EFBIG, "ulimit -f"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EACCES, "cannot be written: Permission denied."),
    ],
)
def test_refused_write_says_where_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    """The path comes first, then the reason and the next step, on one line."""
    (tmp_path / "spooled").write_bytes(b"rows")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(LandingError) as landing:
        FolderStorage(tmp_path).put(tmp_path / "spooled", "a.parquet")
    assert landing.value.message.startswith(f"{tmp_path}/a.parquet: ")
    assert says in landing.value.message
    with pytest.raises(CatalogError, match=r"state\.json: the state file cannot be written"):
        update_state(tmp_path / "state.json", lambda _: None)
    assert not (tmp_path / "state.json").exists()


def test_duckdbs_text_of_a_full_disk_gets_a_hint() -> None:
    """The hint is the same as for our own writes; another error gets none."""
    text = 'IO Error: Could not write file "/lake/a.parquet": No space left on device'
    assert disk.disk_hint(text) == "the disk is full. Make room there"
    assert disk.disk_hint("Binder Error: no such column") is None
