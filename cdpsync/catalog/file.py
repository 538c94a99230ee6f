"""The catalog file: one writer at a time, and readers on private copies of it.

DuckDB locks the file for its process with POSIX record locks. A process loses all its record locks
on a file when it closes any descriptor of that file. So within this process one guard per path is
held while the file is open, also while it is copied.
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
from cdpsync.system.temp_dirs import exclusive, temp_dir, temp_dir_for_reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import duckdb

log = logging.getLogger("cdpsync.catalog")

_HEADERS = 3 * 4096  # bytes: one header of the file, and two that the database writes in turn

_guards: dict[Path, threading.RLock] = defaultdict(threading.RLock)

# Idle connections with the extension loaded, because loading it takes 80 ms. One pool per data
# path, because a connection keeps the credentials of the storage it was prepared for.
_idle: dict[str, queue.LifoQueue[duckdb.DuckDBPyConnection]] = defaultdict(queue.LifoQueue)


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """The DuckLake catalog at `path`, over the data under `data_path` (with a final slash).

    `prepare` gives a connection access to the data; it is called each time one is lent. `memory` is
    in bytes; None: as much as DuckDB takes.
    """

    path: Path
    data_path: str
    patience: float = 60.0  # seconds to wait for a lock
    prepare: Callable[[duckdb.DuckDBPyConnection], None] | None = None
    memory: int | None = None

    def exists(self) -> bool:
        """Whether the catalog has been created."""
        try:
            self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise self._unreadable(error) from error
        return True

    def _unreadable(self, error: OSError) -> CatalogError:
        """Return the error of a user who may not read the catalog, with the ways out."""
        return CatalogError(
            f"{self.path}: cannot be read: {error.strerror}. Ask its owner to let you read "
            f"{self.path.parent}, or to publish the lake (warehouse: publish: true) and then: "
            f"cdpsync query --lake {self.data_path}."
        )

    @property
    def _log(self) -> Path:
        """DuckDB's write-ahead log of the file; a crash leaves it behind."""
        return self.path.with_name(self.path.name + ".wal")

    @property
    def scratch(self) -> Path:
        """The folder for the temporary folders of processes, readable by its user only."""
        return self.path.parent / "tmp"

    def warm(self) -> None:
        """Open an idle connection. Errors are ignored, because the next use raises them again."""
        with suppress(Exception):
            if _idle[self.data_path].empty():
                _idle[self.data_path].put(self._connect())

    def _connect(self) -> duckdb.DuckDBPyConnection:
        remote = ("httpfs",) if "://" in self.data_path else ()  # or DuckLake does not attach
        return engine.connect(extensions=("ducklake", *remote))

    @contextmanager
    def reader(
        self, at: str | None = None, *, keep: bool = True, data: bool = True
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a private copy, read-only, as `lake`: the newest state, or that of a snapshot.

        With `keep` the connection is used again later, so its settings must not be changed.
        Without `data` only the catalog can be read, not the tables; no request goes to the storage.
        """
        self._expect()
        with temp_dir_for_reading(self.scratch, "read-") as folder:
            copy = folder / "catalog.ducklake"
            self._copy_to(copy)
            with self._connection(folder / "spill", keep=keep, data=data) as con:
                self._relocate(con, copy)
                self._attach(con, copy, ["read_only", *_snapshot_options(at)])
                yield con

    @contextmanager
    def writer(self, *, data: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the catalog itself as `lake`, exclusively; wait up to `patience` for its lock.

        Without `data` only the system tables and the tables' definitions can be written.

        Raises LockHeldError that names the process with the lock, CatalogError when the file is
        not a catalog.
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
                message = engine.first_line(error)
                raise CatalogError(
                    f"{self.path}: the catalog could not be written ({message}). "
                    f"{disk.disk_hint(message) or 'Run this again'}; "
                    "nothing of this step was committed."
                ) from error

    @contextmanager
    def _connection(
        self, spill: Path, *, keep: bool = True, data: bool = True
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a connection with no catalog attached; close it after an error."""
        idle = _idle[self.data_path]
        con = self._idle_connection(spill)
        try:
            con.execute(f"set preserve_insertion_order = true; {engine.ALL_THREADS}")
            if self.memory is not None:
                engine.limit_memory(con, self.memory)
            if data and self.prepare is not None:
                self.prepare(con)
            yield con
            keep = self._detach(con) and keep
        except BaseException:
            con.close()
            raise
        if keep:
            idle.put(con)
        else:
            con.close()

    def _idle_connection(self, spill: Path) -> duckdb.DuckDBPyConnection:
        """Return an idle or a new connection; `spill` is the folder of its temporary files.

        One that has written temporary files cannot get another folder, and is closed.
        """
        import duckdb

        sql = f"set temp_directory = {quote_text(str(spill))}"
        with suppress(queue.Empty):
            while True:
                con = _idle[self.data_path].get_nowait()
                try:
                    con.execute(sql)
                except duckdb.Error:
                    con.close()
                else:
                    return con
        con = self._connect()
        con.execute(sql)
        return con

    def _detach(self, con: duckdb.DuckDBPyConnection) -> bool:
        """Detach the catalog; return whether the connection can be used again.

        On a full disk DuckDB cannot write its log into the file. The commits are safe in the log.
        """
        import duckdb

        try:
            con.execute("use memory; detach lake")
        except duckdb.Error as error:
            message = engine.first_line(error)
            hint = disk.disk_hint(message)
            if hint is None:
                raise CatalogError(
                    f"{self.path}: the catalog cannot be closed ({message})."
                ) from error
            log.warning("%s: the commits stay in its log file, beside it: %s.", self.path, hint)
            return False
        return True

    def export(self, target: Path) -> None:
        """Write a copy of the catalog, as it is now, to one file."""
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
        """Create a catalog with small blocks under a draft name, rename it and attach it.

        Small blocks, because a catalog has many small tables: it has a tenth of the default's size,
        and a commit takes a third of the time (measured over 50 commits, DuckDB 1.5.5). If another
        process has created the catalog meanwhile, that one is attached.
        """
        import duckdb

        self._attach(con, draft, ["meta_block_size 16384"])
        try:
            con.execute("use memory; detach lake")
        except duckdb.Error as error:
            message = engine.first_line(error)
            hint = disk.disk_hint(message) or "Run this again"
            raise CatalogError(
                f"{self.path}: the catalog cannot be created ({message}). {hint}."
            ) from error
        private_files.make_private(draft)
        try:
            disk.fsync(draft)
            self._rename(draft)
            disk.fsync(self.path.parent)
        except OSError as error:
            raise CatalogError(f"{self.path}: {disk.write_error(error)}") from error
        self._attach(con, self.path, [])

    def _rename(self, draft: Path) -> None:
        """Rename a draft, unless there is a catalog now. An old log is of a removed catalog."""
        with exclusive(self.scratch):
            if not self.exists():
                self._log.unlink(missing_ok=True)
                draft.rename(self.path)

    def _attach(self, con: duckdb.DuckDBPyConnection, file: Path, options: list[str]) -> None:
        settings = [
            f"data_path {quote_text(self.data_path)}",
            "override_data_path true",
            "data_inlining_row_limit 0",  # or DuckLake creates a second table for each new one
            *options,
        ]
        target = quote_text(f"ducklake:{file}")
        self._wait_for_attach(con, f"attach {target} as lake ({', '.join(settings)})")

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
        """Correct the full paths of files after the project or its warehouse was moved."""
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
        """Return a value that every commit changes: the file's headers and its log's length.

        DuckDB appends a commit to the log, or increments a header when it writes it to the file.
        """
        self._expect()
        with _guards[self.path], self._open_locked() as file:
            length = self._log.stat().st_size if self._log.exists() else 0
            return file.read(_HEADERS), length

    def _expect(self) -> None:
        if not self.exists():
            raise CatalogError(f"{self.path}: there is no lake yet. Load it: cdpsync run.")

    def _copy_to(self, target: Path) -> None:
        self._expect()
        with _guards[self.path], self._open_locked():
            try:
                shutil.copyfile(self.path, target)
                if self._log.exists():
                    shutil.copyfile(self._log, target.with_name(target.name + ".wal"))
            except PermissionError as error:
                raise self._unreadable(error) from error
            except OSError as error:
                raise CatalogError(
                    f"{target.parent}: the catalog cannot be copied: {disk.write_error(error)}"
                ) from error

    @contextmanager
    def _open_locked(self) -> Iterator[IO[bytes]]:
        """Open the file, and lock it against writers of other processes while it is read."""
        try:
            file = self.path.open("rb")
        except PermissionError as error:
            raise self._unreadable(error) from error
        except OSError as error:
            raise CatalogError(f"{self.path}: cannot be read: {error.strerror}.") from error
        with file:
            deadline = time.monotonic() + self.patience
            while True:
                try:
                    fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except OSError as error:
                    if time.monotonic() > deadline:
                        raise LockHeldError(
                            f"{self.path}: the catalog is open for writing in another process for "
                            f"more than {self.patience:.0f} s. Close it there; then run this again."
                        ) from error
                    time.sleep(0.02)
                else:
                    break
            yield file

    def _translate(self, error: duckdb.Error) -> CatalogError | ConfigError:
        text = engine.first_line(error)
        holder = re.search(r"[Cc]onflicting lock is held in (.+?) ?\(PID (\d+)\)", text)
        if holder:
            return LockHeldError(
                f"{self.path}: the catalog is open in process {holder[2]} ({holder[1]}). "
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
            f"{self.path}: this is not a readable catalog ({text}). Nothing was changed. Restore "
            "a copy of it; or move it away and run again: every table is then loaded again."
        )


def _snapshot_options(at: str | None) -> list[str]:
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
