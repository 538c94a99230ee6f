"""A real MariaDB for the tests: Debian's programs, unpacked beside Python's, not installed."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.debian_packages import libraries_below, unpacked
from support.processes import STARTS_WITHIN, ServerError, free_port, kept, stop

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PACKAGES = ("mariadb-server-core", "mariadb-client-core")
_CACHE = Path(sys.prefix) / "share" / "cdpsync-tests" / "mariadb"

_SETTINGS = {
    "bind_address": "127.0.0.1",
    "character_set_server": "utf8mb4",
    "innodb_buffer_pool_size": "64M",
    "innodb_log_file_size": "64M",
    "innodb_flush_log_at_trx_commit": "0",
    "innodb_doublewrite": "0",
    "max_allowed_packet": "256M",
    "skip_name_resolve": "1",
}


@dataclass(frozen=True)
class Programs:
    """The server's and the client's program, and where their libraries and texts lie."""

    server: Path
    client: Path
    share: Path
    libraries: tuple[Path, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """What the programs need around them."""
        folders = ":".join(str(folder) for folder in self.libraries)
        return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC", "LD_LIBRARY_PATH": folders}


@dataclass(frozen=True)
class MariaDatabase:
    """One database of a running MariaDB, as a user who may do everything."""

    port: int
    password: str = field(repr=False)
    name: str
    programs: Programs = field(repr=False)
    user: str = "root"

    @property
    def url(self) -> str:
        """The address with user and password, as a user would write it."""
        return f"mysql://{self.user}:{self.password}@127.0.0.1:{self.port}/{self.name}"

    def connect(self, **options: Any) -> Any:  # PyMySQL's classes are its own
        """Return a connection of PyMySQL, in autocommit."""
        import pymysql

        settings = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": self.user,
            "database": self.name,
        }
        return pymysql.connect(
            **{**settings, "password": self.password, "autocommit": True, **options}
        )

    def execute(self, sql: str, *values: Sequence[Any]) -> None:
        """Run a script, statement by statement; with values, one statement for each of them."""
        with contextlib.closing(self.connect()) as con, con.cursor() as cursor:
            if values:
                cursor.executemany(sql, values)
                return
            for statement in filter(str.strip, re.split(r";\s*\n|;\s*$", sql)):
                cursor.execute(statement)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query as PyMySQL reads them, the session in UTC."""
        con = self.connect(init_command="set time_zone = '+00:00'")
        with contextlib.closing(con), con.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def client(self, *arguments: str) -> list[str | Path]:
        """Return the command line of the real client; the password goes by MYSQL_PWD."""
        address = ["-h127.0.0.1", f"-P{self.port}", f"-u{self.user}", "--protocol=tcp"]
        return [self.programs.client, "--no-defaults", *address, self.name, *arguments]

    @property
    def client_environment(self) -> dict[str, str]:
        """What the client needs around it."""
        return self.programs.environment | {"MYSQL_PWD": self.password}


class MariaServer(MariaDatabase):
    """A running MariaDB of its own, seen through its database `test`."""

    @contextlib.contextmanager
    def database(self, name: str) -> Iterator[MariaDatabase]:
        """Create a database, and drop it in the end."""
        self.execute(f"create database `{name}`")
        try:
            yield MariaDatabase(self.port, self.password, name, self.programs)
        finally:
            self.execute(f"drop database if exists `{name}`")


@contextlib.contextmanager
def mariadb(**settings: str) -> Iterator[MariaServer]:
    """Run a real MariaDB on a free port of 127.0.0.1, with these settings beside the usual ones.

    It has a superuser `root` with a password of its own, and answers when this returns. It
    stops, and its files go, at the end of the block or with this process, however that ends.
    """
    programs = find_programs()
    root = Path(tempfile.mkdtemp(prefix="cdpsync-maria-"))
    keeper: subprocess.Popen[bytes] | None = None
    try:
        password = secrets.token_hex(12)
        _initialise(root, programs, password)
        for attempts_left in (2, 1, 0):
            server = MariaServer(free_port(), password, "test", programs)
            options = _options(root, programs, {**settings, "port": str(server.port)})
            (root / "log").unlink(missing_ok=True)
            env = programs.environment
            keeper = kept(root, "TERM", [programs.server, *options], env=env)
            if _answers(server, keeper):
                break
            stop(keeper)
            log = (root / "log").read_text(errors="replace") if root.exists() else ""
            if attempts_left == 0 or "Address already in use" not in log:
                raise ServerError(f"MariaDB did not start:\n{log[-4000:]}")
            _initialise(root, programs, password)
        yield server
    finally:
        if keeper is not None:
            stop(keeper)
        shutil.rmtree(root, ignore_errors=True)


def find_programs() -> Programs:
    """Return MariaDB's programs: those on PATH, else Debian's packages, fetched once."""
    server, client = shutil.which("mariadbd"), shutil.which("mariadb")
    share = Path("/usr/share/mysql")
    if server and client and (share / "mysql_system_tables.sql").exists():
        return Programs(Path(server), Path(client), share)
    home = unpacked(_CACHE, _PACKAGES, "a MariaDB: mariadbd and mariadb")
    return Programs(
        home / "usr/sbin/mariadbd",
        home / "usr/bin/mariadb",
        home / "usr/share/mysql",
        libraries_below(home),
    )


def _initialise(root: Path, programs: Programs, password: str) -> None:
    """Make a data folder whose only user is `root`, with this password."""
    data = root / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True, mode=0o700)
    scripts = ("mysql_system_tables.sql", "mysql_system_tables_data.sql")
    tables = "\n".join((programs.share / name).read_text() for name in scripts)
    done = subprocess.run(
        [programs.server, *_options(root, programs, {}), "--bootstrap"],
        input=f"create database mysql;\nuse mysql;\n{tables}",
        capture_output=True,
        text=True,
        env=programs.environment,
        cwd=root,
        check=False,
    )
    if done.returncode != 0:
        raise ServerError(f"MariaDB's data could not be made:\n{done.stderr[-4000:]}")
    (root / "init.sql").write_text(
        "create database if not exists test;\n"
        f"create or replace user root@'127.0.0.1' identified by '{password}';\n"
        "grant all on *.* to root@'127.0.0.1' with grant option;\n"
        "drop user if exists root@localhost;\n"
    )
    (root / "init.sql").chmod(0o600)


def _options(root: Path, programs: Programs, settings: dict[str, str]) -> list[str]:
    settings = {
        **_SETTINGS,
        "datadir": str(root / "data"),
        "socket": str(root / "socket"),
        "pid_file": str(root / "pid"),
        "lc_messages_dir": str(programs.share),
        "character_sets_dir": str(programs.share / "charsets"),
        **settings,
    }
    if "port" in settings:
        settings["init_file"] = str(root / "init.sql")
    if os.geteuid() == 0:
        settings["user"] = "root"
    return ["--no-defaults", *(f"--{name}={value}" for name, value in settings.items())]


def _answers(server: MariaServer, keeper: subprocess.Popen[bytes]) -> bool:
    """Wait until the server lets us in; False when it has given up."""
    import pymysql

    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline and keeper.poll() is None:
        with contextlib.suppress(pymysql.Error):
            server.connect().close()
            return True
        time.sleep(0.02)
    return False
