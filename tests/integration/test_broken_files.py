"""A file that cannot be read fails its own table, and no other of its source."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from typer.testing import CliRunner

from cdpsync import project, query, sync
from cdpsync.cli.main import app
from cdpsync.model import RunStatus, TableStatus

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

GOOD = "id,v\n1,x\n2,y\n"
BROKEN = {
    "csv": (b"id,v\n1\n", b"id,v\n7,z\n"),
    "jsonl": (b'{"id": 1, "v": "x"}\n{"id":\n', b'{"id": 7, "v": "z"}\n'),
    "parquet": (b"not one at all, you see", None),
}
OFF = {"enabled": False}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project over `a`, which is broken, and `b`, which is not."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_bytes(BROKEN["csv"][0])
    (tmp_path / "in/b.csv").write_text(GOOD)
    configure(tmp_path)
    return tmp_path


def configure(folder: Path, tables: dict[str, Any] | None = None) -> None:
    source = {"type": "files", "path": "in", **({"tables": tables} if tables else {})}
    said = {"warehouse": {"path": "./warehouse"}, "sources": {"f": source}}
    (folder / "cdpsync.yml").write_text(json.dumps(said))


def run(folder: Path, *select: str) -> dict[str, str | None]:
    """Run; return what was wrong with each table."""
    result = sync.run(folder / "cdpsync.yml", select)
    return {one.table: one.error and one.error.message for one in result.tables}


def invoke(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["-c", str(folder / "cdpsync.yml"), *arguments])


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_fails_its_own_table(folder: Path, kind: str) -> None:
    """The others are synced; mended, it is synced too, and what the lake has is never touched."""
    broken, mended = BROKEN[kind]
    (folder / "in/a.csv").unlink()
    file = folder / f"in/a.{kind}"
    file.write_bytes(broken)
    failed = run(folder)
    assert failed["f.b"] is None
    assert str(file) in failed["f.a"]
    assert query("select * from f.b", folder / "cdpsync.yml") == [(1, "x"), (2, "y")]
    if mended is None:
        duckdb.sql("select 7 as id, 'z' as v").write_parquet(str(file))
    else:
        file.write_bytes(mended)
    assert run(folder) == {"f.a": None, "f.b": None}
    file.write_bytes(broken)
    assert run(folder)["f.a"] == failed["f.a"]
    assert query("select * from f.a", folder / "cdpsync.yml") == [(7, "z")]


def test_its_exit_codes_and_its_line(folder: Path) -> None:
    """3 for some, 1 where it is alone, 0 where another is asked for; in `status` by its name."""
    result = invoke(folder, "run", "-o", "json")
    assert result.exit_code == 3
    by_table = {one["table"]: one for one in json.loads(result.stdout)["tables"]}
    error = by_table["f.a"]["error"]
    assert error["type"] == "ReadError"
    assert error["message"].endswith(
        "a.csv, line 2: 1 fields where there should be 2. Nothing of the stream was kept; mend the "
        "line."
    )
    assert invoke(folder, "run", "f.b").exit_code == 0
    assert invoke(folder, "run", "f.a").exit_code == 1
    assert invoke(folder, "run", "f.nope").exit_code == 2
    planned = invoke(folder, "plan", "-o", "json")
    assert planned.exit_code == 3
    assert {one["table"]: one["status"] for one in json.loads(planned.stdout)} == {
        "f.a": "failed",
        "f.b": "planned",
    }
    status = {
        one["table"]: one for one in json.loads(invoke(folder, "status", "-o", "json").stdout)
    }
    assert (status["f.a"]["status"], status["f.a"]["error"]) == ("failed", error)
    assert status["f.b"]["status"] == "ok"


@pytest.mark.parametrize(
    "tables",
    [{"a": OFF}, {"b": {}}, {"a*": OFF}, {"*": {}, "a": OFF}],
)
def test_one_that_is_not_synced_fails_nothing(folder: Path, tables: dict[str, Any]) -> None:
    """Switched off, or not named."""
    configure(folder, tables)
    assert run(folder) == {"f.b": None}


def test_a_glob_that_matches_only_it_matches(folder: Path) -> None:
    """It is there, so the file's key is no mistake."""
    configure(folder, {"a*": {}, "b": {"name": "other"}})
    assert set(run(folder)) == {"f.other", "f.a"}


def test_all_broken_is_a_failure_of_each(folder: Path) -> None:
    """Each with its own file's name."""
    (folder / "in/b.csv").write_bytes(BROKEN["csv"][0])
    result = sync.run(folder / "cdpsync.yml")
    assert result.status is RunStatus.FAILED
    assert {one.table: one.status for one in result.tables} == {
        "f.a": TableStatus.FAILED,
        "f.b": TableStatus.FAILED,
    }
    assert all(f"{one.stream}.csv, line 2" in one.error.message for one in result.tables)


def test_discover_and_verify_go_on_beside_it(folder: Path) -> None:
    """Discovery has its name and not its columns; verification fails for it alone."""
    a, b = project.discover(project.load(folder / "cdpsync.yml"), "f")
    assert (a.name, a.columns, b.unreadable_reason) == ("a", (), None)
    assert "a.csv, line 2" in a.unreadable_reason
    assert invoke(folder, "discover", "f", "-o", "json").exit_code == 3
    assert invoke(folder, "check").exit_code == 0
    run(folder)
    verified = invoke(folder, "verify", "-o", "json")
    assert {one["table"]: one["status"] for one in json.loads(verified.stdout)} == {
        "f.a": "failed",
        "f.b": "equal",
    }
