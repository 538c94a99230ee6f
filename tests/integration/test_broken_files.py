"""A file that cannot be read fails its own table, and no other table of its source."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from support.lake_reading import lake_rows
from typer.testing import CliRunner

from cdpsync import project, sync
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
    """A project over `a`, whose file is broken, and `b`, whose file is not."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_bytes(BROKEN["csv"][0])
    (tmp_path / "in/b.csv").write_text(GOOD)
    configure(tmp_path)
    return tmp_path


def configure(folder: Path, tables: dict[str, Any] | None = None) -> None:
    source = {"type": "files", "path": "in", **({"tables": tables} if tables else {})}
    config = {"warehouse": {"path": "./warehouse"}, "sources": {"f": source}}
    (folder / "cdpsync.yml").write_text(json.dumps(config))


def run(folder: Path, *select: str) -> dict[str, str | None]:
    """Run; return the error message of each table."""
    result = sync.run(folder / "cdpsync.yml", select)
    return {table.table: table.error and table.error.message for table in result.tables}


def invoke(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["-c", str(folder / "cdpsync.yml"), *arguments])


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_fails_its_own_table(folder: Path, kind: str) -> None:
    """The other table is synced; so is a fixed file; a broken one changes no row of the lake."""
    broken, fixed = BROKEN[kind]
    (folder / "in/a.csv").unlink()
    file = folder / f"in/a.{kind}"
    file.write_bytes(broken)
    failed = run(folder)
    assert failed["f.b"] is None
    assert str(file) in failed["f.a"]
    assert lake_rows("select * from f.b", folder / "cdpsync.yml") == [(1, "x"), (2, "y")]
    if fixed is None:
        duckdb.sql("select 7 as id, 'z' as v").write_parquet(str(file))
    else:
        file.write_bytes(fixed)
    assert run(folder) == {"f.a": None, "f.b": None}
    file.write_bytes(broken)
    assert run(folder)["f.a"] == failed["f.a"]
    assert lake_rows("select * from f.a", folder / "cdpsync.yml") == [(7, "z")]


def test_exit_codes_and_messages_of_a_broken_file(folder: Path) -> None:
    """3 if other tables succeed, 1 if it is alone, 0 if it is not selected; `status` names it."""
    result = invoke(folder, "run", "-o", "json")
    assert result.exit_code == 3
    by_table = {table["table"]: table for table in json.loads(result.stdout)["tables"]}
    error = by_table["f.a"]["error"]
    assert error["type"] == "ReadError"
    assert error["message"].endswith(
        "a.csv, line 2: 1 fields where there should be 2. Nothing of the stream was kept; fix the "
        "line."
    )
    assert invoke(folder, "run", "f.b").exit_code == 0
    assert invoke(folder, "run", "f.a").exit_code == 1
    assert invoke(folder, "run", "f.nope").exit_code == 2
    planned = invoke(folder, "plan", "-o", "json")
    assert planned.exit_code == 3
    assert {table["table"]: table["status"] for table in json.loads(planned.stdout)} == {
        "f.a": "failed",
        "f.b": "planned",
    }
    rows = json.loads(invoke(folder, "status", "-o", "json").stdout)
    status = {row["table"]: row for row in rows}
    assert (status["f.a"]["status"], status["f.a"]["error"]) == ("failed", error)
    assert status["f.b"]["status"] == "ok"


@pytest.mark.parametrize(
    "tables",
    [{"a": OFF}, {"b": {}}, {"a*": OFF}, {"*": {}, "a": OFF}],
)
def test_broken_file_of_a_table_that_is_not_synced_fails_nothing(
    folder: Path, tables: dict[str, Any]
) -> None:
    """Its table is disabled, or the config does not name it."""
    configure(folder, tables)
    assert run(folder) == {"f.b": None}


def test_glob_may_match_only_a_broken_file(folder: Path) -> None:
    """The file exists, so the key in the config is not a mistake."""
    configure(folder, {"a*": {}, "b": {"name": "other"}})
    assert set(run(folder)) == {"f.other", "f.a"}


def test_several_broken_files_fail_each_table(folder: Path) -> None:
    """The message of each table has the name of its own file."""
    (folder / "in/b.csv").write_bytes(BROKEN["csv"][0])
    result = sync.run(folder / "cdpsync.yml")
    assert result.status is RunStatus.FAILED
    assert {table.table: table.status for table in result.tables} == {
        "f.a": TableStatus.FAILED,
        "f.b": TableStatus.FAILED,
    }
    assert all(f"{table.stream}.csv, line 2" in table.error.message for table in result.tables)


def test_discover_and_verify_handle_other_tables_beside_a_broken_file(folder: Path) -> None:
    """Discovery returns the broken table without columns; verification fails for it alone."""
    a, b = project.discover(project.load(folder / "cdpsync.yml"), "f")
    assert (a.name, a.columns, b.unreadable_reason) == ("a", (), None)
    assert "a.csv, line 2" in a.unreadable_reason
    assert invoke(folder, "discover", "f", "-o", "json").exit_code == 3
    assert invoke(folder, "check").exit_code == 0
    run(folder)
    verified = invoke(folder, "verify", "-o", "json")
    assert {table["table"]: table["status"] for table in json.loads(verified.stdout)} == {
        "f.a": "failed",
        "f.b": "equal",
    }
