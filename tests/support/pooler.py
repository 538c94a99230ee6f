"""A real pgbouncer for the tests: Debian's program, unpacked beside Python's, not installed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from support.debian_packages import libraries_below, unpacked
from support.postgres_server import (
    Database,
    as_ordinary_user,
    temporary_folder,
    traversable,
)
from support.processes import STARTS_WITHIN, ServerError, free_port, kept, stop

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

_PACKAGES = ("pgbouncer",)
_CACHE = Path(sys.prefix) / "share" / "cdpsync-tests" / "pgbouncer"


@dataclass(frozen=True)
class Pooler:
    """A running pgbouncer before one Postgres."""

    port: int

    def database(self, behind: Database) -> Database:
        """Return a database of the server as it is reached through the pooler."""
        return replace(behind, port=self.port)


@contextlib.contextmanager
def pgbouncer(server: Database, **settings: str | int) -> Iterator[Pooler]:
    """Run a pgbouncer before a server, with these settings beside the usual ones.

    It pools transactions, and each database's name is that of the server. It stops, and its files
    go, at the end of the block or with this process.
    """
    root = Path(tempfile.mkdtemp(prefix="cdpsync-pooler-", dir=temporary_folder()))
    keeper: subprocess.Popen[bytes] | None = None
    try:
        program, libraries = _program(root)
        environment = {"PATH": os.defpath, "LD_LIBRARY_PATH": libraries}
        for attempts_left in (2, 1, 0):
            pooler = Pooler(free_port())
            _configure(root, server, pooler.port, settings)
            command = [program, root / "pgbouncer.ini"]
            keeper = kept(root, "TERM", command, env=environment, **as_ordinary_user())
            if _answers(pooler, server, keeper):
                break
            log = (root / "log").read_text(errors="replace")
            stop(keeper)
            if attempts_left == 0 or "Address already in use" not in log:
                raise ServerError(f"pgbouncer did not start:\n{log}")
        yield pooler
    finally:
        if keeper is not None:
            stop(keeper)
        shutil.rmtree(root, ignore_errors=True)


def _program(root: Path) -> tuple[Path, str]:
    """Return pgbouncer's program and its libraries, where an ordinary user reaches them."""
    installed = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")
    if installed:
        return Path(installed), ""
    home = unpacked(_CACHE, _PACKAGES, "a pgbouncer")
    if os.geteuid() == 0 and not traversable(home / "usr/sbin"):
        shutil.copytree(home / "usr", root / "usr", symlinks=True)
        home = root
    libraries = ":".join(str(folder) for folder in libraries_below(home))
    return home / "usr/sbin/pgbouncer", libraries


def _configure(root: Path, server: Database, port: int, settings: dict[str, str | int]) -> None:
    lines = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "admin_users": "postgres",
        "pool_mode": "transaction",
        "max_client_conn": 200,
        "ignore_startup_parameters": "extra_float_digits",
        **settings,
    }
    databases = f"* = host=127.0.0.1 port={server.port} user=postgres password={server.password}\n"
    text = "".join(f"{name} = {value}\n" for name, value in lines.items())
    file = root / "pgbouncer.ini"
    file.write_text(f"[databases]\n{databases}[pgbouncer]\n{text}")
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (root, file):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)


def _answers(pooler: Pooler, server: Database, keeper: subprocess.Popen[bytes]) -> bool:
    """Wait until the pooler lets us in; False when it has given up."""
    url = replace(server, port=pooler.port, name="pgbouncer").url
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline and keeper.poll() is None:
        with contextlib.suppress(psycopg.Error):
            psycopg.connect(url, autocommit=True).close()
            return True
        time.sleep(0.01)
    return False
