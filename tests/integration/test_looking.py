"""To look at a lake takes no secret of a source, and no right to write beside it."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.cli_fakes import invoke

from cdpsync import project, sync
from cdpsync.errors import ConfigError, SourceConfigError
from cdpsync.model import TableStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = """
sources:
  inbox: {type: files, path: ./data}
  shop:
    type: postgres
    url: ${SHOP_DATABASE_URL}
    tables:
      public.orders: {mode: incremental, cursor_field: id, where: "region = '${REGION}'"}
      audit.log: {every: "${EVERY}"}
  billing:
    type: stripe
    api_key: ${file:./stripe.key}
    tables: {charges: {mode: incremental}}
"""
LOOKS = (
    ("query", "select a from inbox.t"),
    ("status",),
    ("status", "--history"),
    ("state", "show"),
    ("state", "get", "inbox.t"),
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A synced project in a folder that every user can enter, its other sources without secrets."""
    root = Path(tempfile.mkdtemp())
    try:
        root.chmod(0o755)
        (root / "data").mkdir()
        (root / "data/t.csv").write_text("a\n1\n2\n")
        (root / "cdpsync.yml").write_text(PROJECT)
        sync.run(root / "cdpsync.yml", ["inbox"])
        yield root
    finally:
        for path in (root, *root.rglob("*")):
            path.chmod(0o700)
        shutil.rmtree(root)


def test_every_look_works_without_the_secrets(folder: Path) -> None:
    """Whatever is missing: a variable of the options or of a table, or a file."""
    for argv in (*LOOKS, ("maintain",), ("reset", "-y", "inbox"), ("delete", "-y", "inbox.t")):
        result = invoke("-C", str(folder), *argv)
        assert result.exit_code == 0, (argv, result.stderr)
    result = invoke("-C", str(folder), "status", "-o", "json")
    tables = {row["table"]: row["mode"] for row in json.loads(result.stdout)}
    assert tables == {
        "billing.charges": "incremental",
        "shop.audit_log": "full_table",
        "shop.orders": "incremental",
    }


def test_source_without_its_secret_fails_and_the_others_go_on(folder: Path) -> None:
    """As a source that cannot be reached; the message names file, line and variable."""
    result = invoke("-C", str(folder), "run", "-o", "json")
    assert result.exit_code == 3
    errors = {t["table"]: t["error"] for t in json.loads(result.stdout)["tables"]}
    assert errors.pop("inbox.t") is None
    assert set(errors) == {"billing.charges", "shop.audit_log", "shop.orders"}
    assert errors["shop.orders"]["type"] == "SourceConfigError"
    message = errors["shop.orders"]["message"]
    assert message == errors["shop.audit_log"]["message"]
    for line, name in ((6, "SHOP_DATABASE_URL"), (8, "REGION"), (9, "EVERY")):
        assert f"cdpsync.yml:{line}: the environment variable {name} is not set" in message
    assert (
        "cdpsync.yml:12: the file of a ${file:…} cannot be read"
        in errors["billing.charges"]["message"]
    )
    assert invoke("-C", str(folder), "run", "shop").exit_code == 1
    assert invoke("-C", str(folder), "plan", "shop").exit_code == 1


def test_check_and_discover_name_what_is_missing(folder: Path) -> None:
    """`check` goes through all sources, `discover` has nothing to go on to."""
    result = invoke("-C", str(folder), "check", "-o", "json")
    assert result.exit_code == 3
    checks = {row["name"]: row["error"] for row in json.loads(result.stdout)}
    assert checks["inbox"] is None
    assert "SHOP_DATABASE_URL is not set" in checks["shop"]["message"]
    result = invoke("-C", str(folder), "discover", "shop")
    assert result.exit_code == 2
    assert "cdpsync.yml:6: the environment variable SHOP_DATABASE_URL is not set" in result.stderr


@pytest.mark.parametrize(
    ("value", "says"),
    [("", "write postgresql://"), ("mysql://u:hunter2secret@h/d", "write postgresql://")],
)
def test_wrong_value_of_a_variable_is_told_as_late(
    folder: Path, monkeypatch: pytest.MonkeyPatch, value: str, says: str
) -> None:
    """An empty secret is as good as none; and no value is shown."""
    for name, text in (("SHOP_DATABASE_URL", value), ("REGION", "eu"), ("EVERY", "1h")):
        monkeypatch.setenv(name, text)
    config = project.load(folder / "cdpsync.yml")
    with pytest.raises(SourceConfigError, match=says) as caught:
        project.discover(config, "shop")
    assert "hunter2secret" not in caught.value.message
    results = sync.run(config, ["shop"]).tables
    assert {table.status for table in results} == {TableStatus.FAILED}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("url: ${SHOP_DATABASE_URL}\n    prot: 1", 'unknown key "prot"'),
        ("url: ${SHOP_DATABASE_URL}\n    connect_timeout: soon", "must be a whole number"),
        ("url: ${SHOP_DATABASE_URL", "not well formed"),
    ],
)
def test_mistakes_in_the_file_itself_are_told_at_once(folder: Path, change: str, says: str) -> None:
    """Beside a missing variable too: the line is wrong on every machine."""
    file = folder / "cdpsync.yml"
    file.write_text(PROJECT.replace("url: ${SHOP_DATABASE_URL}", change))
    with pytest.raises(ConfigError, match=says) as caught:
        project.load(file)
    assert "REGION is not set" in caught.value.message


def test_warehouse_needs_its_variables(folder: Path) -> None:
    """The lake itself is what one looks at."""
    (folder / "cdpsync.yml").write_text(f"warehouse: {{path: '${{LAKE}}'}}\n{PROJECT}")
    with pytest.raises(ConfigError, match="LAKE is not set"):
        project.load(folder / "cdpsync.yml")


LOOK = """
import json, os, sys
from typer.testing import CliRunner
from cdpsync import engine
from cdpsync.cli.main import app

folder, user, temp, looks = sys.argv[1], int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])

def look(argv):
    result = CliRunner().invoke(app, ["-C", folder, *argv])
    return result.exit_code, result.stdout, result.stderr

for argv in looks:  # everything is imported by a user who can read the programs
    look(argv)
os.environ["TMPDIR"] = temp
__import__("tempfile").tempdir = None
results = []
for argv in looks:
    if user:
        os.seteuid(0)
    engine.preconnect(["ducklake"])
    [future.result() for future in engine._preconnected.values()]
    if user:
        os.setegid(user)
        os.seteuid(user)
    results.append(look(argv))
print(json.dumps(results))
"""


def look_as_an_ordinary_user(folder: Path) -> tuple[list[tuple[int, str, str]], list[str]]:
    """Return exit code, stdout and stderr of each look, and what stays in the temporary folder.

    Root may write anywhere, so as root the looks are made by `nobody`.
    """
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else 0
    temp = Path(tempfile.mkdtemp())
    try:
        if user:
            os.chown(temp, user, user)
        argv = [sys.executable, "-c", LOOK, str(folder), str(user), str(temp), json.dumps(LOOKS)]
        process = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stderr
        return json.loads(process.stdout), [path.name for path in temp.iterdir()]
    finally:
        shutil.rmtree(temp)


def test_looking_writes_nothing_beside_the_lake(folder: Path) -> None:
    """In a folder without permission to write, for its owner or for another user."""
    before = sorted(path for path in folder.rglob("*"))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    results, temporary = look_as_an_ordinary_user(folder)
    for argv, (code, _, stderr) in zip(LOOKS, results, strict=True):
        assert code == 0, (argv, stderr)
    assert "1\n2\n" in results[0][1]
    assert "inbox.t" in results[1][1]
    assert (sorted(path for path in folder.rglob("*")), temporary) == (before, [])


def test_lake_that_may_not_be_read_names_the_published_one(folder: Path) -> None:
    """The catalog is its owner's alone unless he opens it: the message has the ways out."""
    closed = folder / ".cdpsync"
    closed.chmod(0o700 if os.geteuid() == 0 else 0o000)
    results, _ = look_as_an_ordinary_user(folder)
    for argv, (code, stdout, stderr) in zip(LOOKS, results, strict=True):
        assert (code, stdout) == (1, ""), argv
        assert "catalog.ducklake: cannot be read: Permission denied." in stderr
        assert "publish: true" in stderr
        assert f"cdpsync query --lake {folder}/warehouse/." in stderr


def test_state_file_that_may_not_be_read_is_not_called_broken(folder: Path) -> None:
    """A query needs none; `status` says whom to ask, and gives no advice to remove it."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (folder / ".cdpsync/state.json").chmod(0o600 if os.geteuid() == 0 else 0o000)
    results, _ = look_as_an_ordinary_user(folder)
    assert [code for code, *_ in results] == [0, 1, 0, 1, 1]
    assert "state.json: cannot be read: Permission denied. Ask its owner" in results[1][2]
