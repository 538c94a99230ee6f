"""The catalog file: one writer at a time, readers on a private copy, never in each other's way.

DuckDB locks the file for its process with POSIX record locks, and those have a trap: when any
descriptor of the file is closed, the process loses all its locks on it. So within this process
one guard per path stands around every opening, also around the reading of a copy.
"""

from __future__ import annotations

import fcntl
import logging
import queue
import re
import shutil
import threading
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import IO, TYPE_CHECKING

from cdpsync import engine
from cdpsync.catalog import ducklake
from cdpsync.errors import CatalogError, ConfigError, LockHeldError
from cdpsync.sql import quote_text
from cdpsync.system import disk, private_files
from cdpsync.system.temp_dirs import exclusive, temp_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import duckdb

log = logging.getLogger("cdpsync.catalog")

_HEADERS = 3 * 4096  # bytes: the file's own, and two of the database in turns

_guards: dict[Path, threading.RLock] = defaultdict(threading.RLock)

# Connections with the extension loaded, kept for the next opening: loading it takes 80 ms. A pool
# per place of data, since a connection keeps the keys of the place it was prepared for.
_idle: dict[str, queue.LifoQueue[duckdb.DuckDBPyConnection]] = defaultdict(queue.LifoQueue)


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """The DuckLake catalog at `path`, over the data under `data_path` (with a final slash).

    `prepare` lets a connection reach the data; it is called each time one is lent.
    """

    path: Path
    data_path: str
    patience: float = 60.0  # seconds to wait for a lock
    prepare: Callable[[duckdb.DuckDBPyConnection], None] | None = None

    def exists(self) -> bool:
        """Whether there is a catalog yet."""
        return self.path.exists()

    @property
    def _log(self) -> Path:
        """What DuckDB wrote and has not yet moved into the file; a crash leaves it."""
        return self.path.with_name(self.path.name + ".wal")

    @property
    def scratch(self) -> Path:
        """A folder for what lives as long as one process, readable by its user only."""
        return self.path.parent / "tmp"

    def warm(self) -> None:
        """Have a connection ready, before anything is asked; what goes wrong shows then."""
        with suppress(Exception):
            if _idle[self.data_path].empty():
                _idle[self.data_path].put(self._connect())

    def _connect(self) -> duckdb.DuckDBPyConnection:
        needed = ("httpfs",) if "://" in self.data_path else ()  # or DuckLake does not attach
        return engine.connect(extensions=("ducklake", *needed))

    @contextmanager
    def reader(
        self, at: str | None = None, *, keep: bool = True, data: bool = True
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a private copy, read-only, as `lake`, as it is now or was at a snapshot.

        With `keep` the connection is used again later, so nothing may be set in it. Without
        `data` only the catalog can be read, not the tables: no storage is asked for anything.
        """
        with temp_dir(self.scratch, "read-") as folder:
            copy = folder / "catalog.ducklake"
            self._copy_to(copy)
            with self._connection(folder / "spill", keep=keep, data=data) as con:
                self._relocate(con, copy)
                self._attach(con, copy, ["read_only", *_moment(at)])
                yield con

    @contextmanager
    def writer(self, *, data: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the catalog itself as `lake`, alone; wait a bounded time for whoever has it.

        Without `data` only the books and the tables' definitions can be written.

        Raises LockHeldError naming the process that still has it then, CatalogError when the
        file is no catalog.
        """
        import duckdb

        with (
            _guards[self.path],
            temp_dir(self.scratch, "write-") as folder,
            self._connection(folder / "spill", data=data) as con,
        ):
            if self.exists():
                private_files.make_private(self._log)
                self._relocate(con, self.path)
                self._attach(con, self.path, [])
            else:
                self._create(con, folder / self.path.name)
            try:
                yield con
            except duckdb.Error as error:
                said = engine.first_line(error)
                raise CatalogError(
                    f"{self.path}: the catalog could not be written ({said}). "
                    f"{disk.disk_hint(said) or 'Run this again'}; "
                    "nothing of this step was committed."
                ) from error

    @contextmanager
    def _connection(
        self, spill: Path, *, keep: bool = True, data: bool = True
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a connection with nothing attached; one that failed is not lent again."""
        idle = _idle[self.data_path]
        try:
            con = idle.get_nowait()
        except queue.Empty:
            con = self._connect()
        try:
            con.execute(f"set temp_directory = {quote_text(str(spill))}")
            if data and self.prepare is not None:
                self.prepare(con)
            yield con
            keep = self._detached(con) and keep
        except BaseException:
            con.close()
            raise
        if keep:
            idle.put(con)
        else:
            con.close()

    def _detached(self, con: duckdb.DuckDBPyConnection) -> bool:
        """Let go of the catalog. What was committed stands, also where its log must be kept."""
        import duckdb

        try:
            con.execute("use memory; detach lake")
        except duckdb.Error as error:
            said = engine.first_line(error)
            advice = disk.disk_hint(said)
            if advice is None:
                raise CatalogError(
                    f"{self.path}: the catalog cannot be closed ({said})."
                ) from error
            log.warning("%s: what is committed stays in its log, beside it: %s.", self.path, advice)
            return False
        return True

    def export(self, target: Path) -> None:
        """Write a copy of the catalog, as it is now, as one file."""
        self._copy_to(target)
        if target.with_name(target.name + ".wal").exists():
            con = engine.connect()
            try:
                con.execute(f"attach {quote_text(str(target))} as meta")
                con.execute("checkpoint meta")
                con.execute("detach meta")
            finally:
                con.close()

    def _create(self, con: duckdb.DuckDBPyConnection, draft: Path) -> None:
        """Make a catalog of small blocks, and attach it; it has its name once it is whole.

        It holds many small tables: so it has a tenth of the default's size, and a commit takes a
        third of the time (measured over 50 commits, DuckDB 1.5.5). One that another process has
        made meanwhile is the catalog.
        """
        import duckdb

        self._attach(con, draft, ["meta_block_size 16384"])
        try:
            con.execute("use memory; detach lake")
        except duckdb.Error as error:
            said = engine.first_line(error)
            advice = disk.disk_hint(said) or "Run this again"
            raise CatalogError(f"{self.path}: it cannot be made ({said}). {advice}.") from error
        private_files.make_private(draft)
        try:
            disk.fsync(draft)
            self._name(draft)
            disk.fsync(self.path.parent)
        except OSError as error:
            raise CatalogError(f"{self.path}: {disk.write_error(error)}") from error
        self._attach(con, self.path, [])

    def _name(self, draft: Path) -> None:
        """Give a catalog its name, unless another has it; its log would be of one that is gone."""
        with exclusive(self.scratch):
            if not self.exists():
                self._log.unlink(missing_ok=True)
                draft.rename(self.path)

    def _attach(self, con: duckdb.DuckDBPyConnection, file: Path, options: list[str]) -> None:
        given = [
            f"data_path {quote_text(self.data_path)}",
            "override_data_path true",
            "data_inlining_row_limit 0",  # or each new table brings another one into the catalog
            *options,
        ]
        target = quote_text(f"ducklake:{file}")
        self._wait_for_attach(con, f"attach {target} as lake ({', '.join(given)})")

    def _wait_for_attach(self, con: duckdb.DuckDBPyConnection, statement: str) -> None:
        import duckdb

        deadline = time.monotonic() + self.patience
        while True:
            try:
                con.execute(statement)
            except duckdb.Error as error:
                translated = self._translate(error)
                if not isinstance(translated, LockHeldError) or time.monotonic() > deadline:
                    raise translated from error
                time.sleep(0.05)
            else:
                return

    def _relocate(self, con: duckdb.DuckDBPyConnection, file: Path) -> None:
        """Follow a project that was moved: files registered with a full path lie elsewhere now."""
        import duckdb

        self._wait_for_attach(con, f"attach {quote_text(str(file))} as meta")
        try:
            recorded = ducklake.data_path(con)
            if recorded is not None and recorded != self.data_path:
                ducklake.move_data_path(con, recorded, self.data_path)
            con.execute("detach meta")
        except duckdb.Error as error:
            raise self._translate(error) from error

    def version(self) -> tuple[bytes, int]:
        """Return what every commit changes: the file's headers, and how long its log is.

        DuckDB appends a commit to the log, or counts up in a header when it writes it to the file.
        """
        self._expect()
        with _guards[self.path], _open_locked(self.path, self.patience) as file:
            length = self._log.stat().st_size if self._log.exists() else 0
            return file.read(_HEADERS), length

    def _expect(self) -> None:
        if not self.exists():
            raise CatalogError(f"{self.path}: there is no lake yet. Load it: cdpsync run.")

    def _copy_to(self, target: Path) -> None:
        self._expect()
        with _guards[self.path], _open_locked(self.path, self.patience):
            try:
                shutil.copyfile(self.path, target)
                if self._log.exists():
                    shutil.copyfile(self._log, target.with_name(target.name + ".wal"))
            except OSError as error:
                raise CatalogError(
                    f"{target.parent}: no copy of the catalog can be made: "
                    f"{disk.write_error(error)}"
                ) from error

    def _translate(self, error: duckdb.Error) -> CatalogError | ConfigError:
        text = engine.first_line(error)
        held = re.search(r"[Cc]onflicting lock is held in (.+?) ?\(PID (\d+)\)", text)
        if held:
            return LockHeldError(
                f"{self.path}: the catalog is open in process {held[2]} ({held[1]}). "
                "Close it there, or wait for it to end; then run this again."
            )
        if "Could not set lock" in text:
            return LockHeldError(f"{self.path}: the catalog is open in another process.")
        if "snapshot" in text.lower() or "timestamp field" in text:
            return ConfigError(f"--at: {text}. See: select * from lake.snapshots().")
        if re.search(
            r"newer version|version .{0,40}(not supported|is newer)|[Uu]nsupported.*version", text
        ):
            return CatalogError(
                f"{self.path}: written by a newer version ({text}). Upgrade cdpsync."
            )
        return CatalogError(
            f"{self.path}: this is not a readable catalog ({text}). Nothing was changed. Put back "
            "a copy of it; or move it away and run again: every table is then loaded anew."
        )


def _moment(at: str | None) -> list[str]:
    if at is None:
        return []
    if at.isdigit():
        return [f"snapshot_version {at}"]
    try:
        moment = datetime.fromisoformat(at)
    except ValueError as error:
        raise ConfigError(
            f'--at: "{at}" is neither a snapshot\'s number nor a time like 2026-01-31T12:00:00.'
        ) from error
    return [f"snapshot_time {quote_text(str(moment))}"]


@contextmanager
def _open_locked(path: Path, patience: float) -> Iterator[IO[bytes]]:
    """Open a file, and keep writers of other processes out of it while it is read."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read: {error.strerror}.") from error
    with file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LockHeldError(
                        f"{path}: the catalog is open for writing in another process for more "
                        f"than {patience:.0f} s. Close it there; then run this again."
                    ) from error
                time.sleep(0.02)
            else:
                break
        yield file
