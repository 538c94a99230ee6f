"""A secret in each place where a project can hold one, and a look at all that it writes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import commands

if TYPE_CHECKING:
    from support.servers import Buckets
    from support.shop import Shop

SECRETS = {
    name: f"zq{number}-{name}-pl4nted"
    for number, name in enumerate(
        ["url", "part", "sslpassword", "mysql", "mysqlurl", "snowflake", "passphrase", "token",
         "stripe", "key", "session", "where", "filed", "hmac"]
    )
}  # fmt: skip
WRONG = "postgresql://postgres:${PG_WRONG}@127.0.0.1:%d/postgres?sslpassword=${SSLPASSWORD}"
NOWHERE = {"host": "127.0.0.1", "port": 1, "user": "u"}
SNOWFLAKE = {
    "type": "snowflake", "account": "acme", "user": "u", "database": "D", "connect_timeout": 1,
    "connect_options": {"host": "127.0.0.1", "port": 1, "protocol": "http", "login_timeout": 1},
}  # fmt: skip


def failing_sources(port: int) -> dict[str, dict[str, Any]]:
    """Return a source for every way to hold a secret, each failing in its way."""
    return {
        "wrong_password": {"type": "postgres", "url": WRONG % port},
        "unreachable": {"type": "postgres", **NOWHERE, "password": "${PART}", "database": "d"},
        "keywords": {"type": "postgres", "url": "host=127.0.0.1 port=1 password=${PART} user=u"},
        "mysql": {"type": "mysql", **NOWHERE, "password": "${MYSQL}"},
        "mysql_url": {"type": "mysql", "url": "mysql://u:${MYSQLURL}@127.0.0.1:1/d"},
        "snow": {**SNOWFLAKE, "password": "${SNOWFLAKE}"},
        "snow_token": {**SNOWFLAKE, "token": "${TOKEN}"},
        "stripe": {"type": "stripe", "api_key": "${STRIPE}", "api_base": "http://127.0.0.1:1"},
    }


class Watched:
    """A project whose every word and every file is looked through for secrets."""

    def __init__(self, folder: Path, own: dict[str, str]) -> None:
        self.folder, self.file = folder, folder / "project/cdpsync.yml"
        self.temporary = folder / "temporary"
        self.file.parent.mkdir()
        self.temporary.mkdir()
        (self.file.parent / "filed").write_text(SECRETS["filed"])
        self.secrets = {**SECRETS, **own}
        variables = {name.upper(): value for name, value in self.secrets.items()}
        self.environment = {**os.environ, **variables, "TMPDIR": str(self.temporary)}

    def configure(self, sources: dict[str, Any], warehouse: dict[str, Any] | None = None) -> None:
        sections = {"warehouse": warehouse or {"path": "./warehouse", "publish": True}}
        self.file.write_text(json.dumps({**sections, "sources": sources}))

    def call(self, *arguments: str, code: int | None = None) -> str:
        """Run a command as loudly as it can be; return its stderr, clean as all the rest."""
        done = commands.run(
            "-v", "-c", str(self.file), *arguments, cwd=Path.cwd(), env=self.environment
        )
        self.look("stdout", done.stdout.encode())
        self.look("stderr", done.stderr.encode())
        for path in self.folder.rglob("*"):
            self.look(path.name, str(path).encode())
            if path.is_file() and path.name != "filed":
                self.look(str(path), path.read_bytes())
        if code is not None:
            assert done.returncode == code, done.stderr
        return done.stderr

    def look(self, where: str, data: bytes) -> None:
        leaked = [name for name, value in self.secrets.items() if value.encode() in data]
        assert leaked == [], where


@pytest.fixture
def watched(tmp_path: Path, shop: Shop) -> Watched:
    own = {"good": shop.pg.password, "pg_wrong": SECRETS["url"]}
    (tmp_path / "watched").mkdir()
    return Watched(tmp_path / "watched", own)


def good_source(shop: Shop, where: str) -> dict[str, Any]:
    url = shop.pg.url.replace(shop.pg.password, "${GOOD}")
    return {"type": "postgres", "url": url, "tables": {"public.orders": {"where": where}}}


def test_no_secret_leaves_a_project(watched: Watched, shop: Shop) -> None:
    """Good runs, wrong passwords, servers that are not there, SQL that is wrong: none tells."""
    shop.pg.execute("create table orders as select i as id, 'v' as v from generate_series(1, 9) i")
    good = good_source(shop, "v <> '${WHERE}' and v <> '${file:filed}'")
    bad = good_source(shop, "no_such_column = '${WHERE}'")
    worse = good_source(shop, "id = '${WHERE}'")  # the server quotes the value it cannot read
    broken = good_source(shop, "v = '${WHERE}")
    sources = {"good": good, "bad": bad, "worse": worse, "broken": broken}
    watched.configure({**sources, **failing_sources(shop.pg.port)})
    options = ("--log-format", "json")
    stderr = watched.call("run", "-o", "json", code=3)
    assert "***" in stderr
    watched.call(*options, "run", "good", "--full-refresh", code=0)
    watched.call(*options, "check")
    watched.call(*options, "plan", "-o", "json")
    watched.call(*options, "plan", "good", code=0)
    for source in ("good", "wrong_password", "mysql_url", "stripe"):
        watched.call(*options, "discover", source)
    for command in (("status", "--history"), ("state", "show"), ("maintain",)):
        watched.call(*options, *command, "-o", "json", code=0)
    history = watched.call(*options, "query", "select * from cdpsync.runs", "-o", "json", code=0)
    assert "traceback" not in history.lower()
    watched.call(*options, "query", "select * from duckdb_secrets()")
    watched.call(*options, "query", "select getenv('GOOD')")


@pytest.mark.parametrize("secret", ["${KEY}", "${HMAC}"])
def test_no_secret_of_a_bucket_leaves(
    watched: Watched, shop: Shop, s3: Buckets, secret: str
) -> None:
    """Keys that a bucket refuses, and an endpoint that is not there."""
    shop.pg.execute("create table orders as select 1 as id, 'v' as v")
    source = {"good": good_source(shop, "v <> '${WHERE}'")}
    for endpoint in (s3.endpoint, "http://127.0.0.1:1"):
        storage = {"endpoint": endpoint, "region": "us-east-1", "access_key_id": s3.access_key_id}
        storage |= {"secret_access_key": secret, "session_token": "${SESSION:-}"}
        watched.configure(source, {"path": "s3://lake/planted", "storage": storage})
        watched.call("run", code=1)
        watched.call("check")
        watched.call("query", "select 1")


def test_secrets_stay_out_of_mistakes_in_the_file(watched: Watched) -> None:
    """A file that is wrong is told of without what it holds."""
    for source in (
        {"type": "postgres", "url": "${URL}"},
        {"type": "postgres", "url": "postgresql://u:${URL}@${URL}@h/d", "pasword": "${PART}"},
        {"type": "mysql", "url": "mysql://u:a/${MYSQLURL}@h/d"},
        {"type": "snowflake", "account": "a", "passphrase": "${PASSPHRASE}", "token": "${TOKEN}"},
        {"type": "stripe", "api_key": ["${STRIPE}"]},
    ):
        watched.configure({"a": source})
        watched.call("discover", "a", code=2)
        watched.call("run")  # what a variable filled in fails its source alone


def _children(pid: int) -> list[int]:
    """Return a process and all that it started, as the kernel knows them."""
    pids = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                pids += _children(int(child))
    return pids


def _shown(pid: int) -> bytes:
    """Return what every user of the machine sees of a process, and the files it has open."""
    texts = []
    with contextlib.suppress(OSError):
        texts = [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "comm", "stat")]
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            texts.append(os.fsencode(descriptor.readlink()))
    return b"\0".join(texts)


def test_no_secret_is_in_what_processes_show(watched: Watched, shop: Shop) -> None:
    """While it runs: its arguments, its children's, the names of its files, and what is in them."""
    shop.pg.execute("create table orders as select i as id, 'v' as v from generate_series(1, 9) i")
    shop.pg.execute("create view slow as select 1 as id, pg_sleep(2) is null as n")
    good = good_source(shop, "v <> '${WHERE}'")
    good["tables"]["public.slow"] = {}
    watched.configure({"good": good})
    command = [sys.executable, "-m", "cdpsync", "-q", "-c", str(watched.file), "run"]
    process = subprocess.Popen(command, env=watched.environment)
    looks = 0
    while process.poll() is None:
        for pid in _children(process.pid):
            watched.look(f"process {pid}", _shown(pid))
        for folder, _, names in os.walk(watched.folder):  # what goes meanwhile does not matter
            for name in set(names) - {"filed"}:
                with contextlib.suppress(OSError):
                    watched.look(name, Path(folder, name).read_bytes())
        looks += any((watched.folder / "project/.cdpsync/runs").glob("*"))
    assert process.returncode == 0
    assert looks  # at a run that was at work
