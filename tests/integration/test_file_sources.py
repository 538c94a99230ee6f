"""Sources of files, from the command line to the lake: modes, names, files that are gone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from cdpsync import query, sync
from cdpsync.cli.main import app

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from cdpsync.model import RunResult


@dataclass
class Folder:
    """A project whose source `f` reads the folder `in`."""

    path: Path

    def configure(self, path: str = "in", **source: Any) -> None:
        source = {"type": "files", "path": path, **source}
        config = {"warehouse": {"path": "./warehouse"}, "sources": {"f": source}}
        (self.path / "cdpsync.yml").write_text(json.dumps(config, indent=1))

    def write(self, name: str, content: str = "id\n1\n") -> Path:
        file = self.path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    def invoke(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["-c", str(self.path / "cdpsync.yml"), *arguments])

    def run(self, *select: str) -> RunResult:
        return sync.run(self.path / "cdpsync.yml", select)

    def errors(self) -> dict[str, str | None]:
        """Run; return the error of each table."""
        return {
            str(table.table): table.error and table.error.message for table in self.run().tables
        }

    def ask(self, sql: str) -> list[Any]:
        return query(sql, self.path / "cdpsync.yml")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path)
    folder.configure()
    return folder


@pytest.mark.parametrize(
    "options",
    [{"mode": "incremental"}, {"mode": "append_only", "cursor_field": "id"}],
    ids=["incremental", "append_only"],
)
def test_modes_with_a_cursor_are_refused_before_the_first_run(
    folder: Folder, options: dict[str, str]
) -> None:
    """`check`, `plan` and `run` name the line; the other tables of the source go on."""
    folder.write("a.csv")
    folder.write("b.csv")
    folder.configure(tables={"*": {}, "a": options})
    message = f'cdpsync.yml:11: table "a": {options["mode"]} continues from a cursor, and'
    for command in ("check", "plan", "run"):
        result = folder.invoke(command)
        assert result.exit_code == 3, command
        assert message in result.stderr
        assert "Use mode: full_table." in result.stderr
    assert folder.ask("select count(*) from f.b") == [(1,)]
    folder.configure(defaults=options)
    assert [folder.invoke(command).exit_code for command in ("check", "run")] == [3, 1]
    folder.configure(defaults=options, tables={"*": {"mode": "full_table"}})
    assert [folder.invoke(command).exit_code for command in ("check", "run")] == [0, 0]
