"""A project whose only source is the tap of the tests."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from support import commands

from cdpsync import project, sync
from cdpsync.project import edit

if TYPE_CHECKING:
    from cdpsync.model import RunResult, TableResult

TAP = Path(__file__).with_name("tap.py")
INCREMENTAL, FULL_TABLE = {"mode": "incremental"}, {"mode": "full_table"}


class Tapped:
    """The project; `config` is that of the tap."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.folder = folder
        self.file = folder / "cdpsync.yml"
        self.data_file = folder / "data.json"
        self.starts_file = folder / "starts"
        self.config: dict[str, Any] = {
            "data": str(self.data_file),
            "starts_file": str(self.starts_file),
            **config,
        }
        self.data: dict[str, Any] = {}
        self.tables: dict[str, Any] = {}
        self.options: dict[str, Any] = {}

    def stream(self, name: str, rows: list[dict[str, Any]], cursor: str | None = "updated") -> None:
        """Give the service a stream, or other rows of it."""
        self.data[name] = {"key": ["id"], "cursor": cursor, "rows": rows}
        self.data_file.write_text(json.dumps(self.data))

    def configure(self, **config: Any) -> None:
        """Write the project file."""
        self.config |= config
        tap = self.folder / ("tap_old.py" if self.config.get("behave") == "old" else "tap.py")
        shutil.copy(TAP, tap)
        command = f"{sys.executable} {tap}"
        source = {"type": "singer", "command": command, "config": self.config}
        source |= {"tables": self.tables, **self.options}
        self.file.write_text(yaml.safe_dump({"sources": {"svc": source}}))

    def run(self, *select: str, **options: Any) -> RunResult:
        return sync.run(self.file, select, **options)

    def one(self, name: str = "orders", **options: Any) -> TableResult:
        """Run, and return the result of a table."""
        return next(table for table in self.run(**options).tables if table.stream == name)

    def rows(self, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
        with project.catalog_of(project.load(self.file)).reader() as con:
            return con.execute(f"select {columns} from lake.svc.{table} order by all").fetchall()

    def types(self, table: str) -> dict[str, str]:
        with project.catalog_of(project.load(self.file)).reader() as con:
            described = con.execute(f"describe lake.svc.{table}").fetchall()
        return {row[0]: row[1] for row in described}

    def states(self) -> dict[str, Any]:
        """Return the state of each table, without the run it is of."""
        saved = edit.cursors(project.load(self.file))
        return {s.stream: s.cursor and json.loads(str(s.cursor.value))["state"] for s in saved}

    def starts(self) -> list[list[str]]:
        """Return the arguments of each start of the tap that reads."""
        lines = self.starts_file.read_text().splitlines() if self.starts_file.exists() else []
        return [argv for line in lines if "--catalog" in (argv := json.loads(line))]

    def cdpsync(self, *arguments: str) -> Any:
        return commands.run(*arguments, cwd=self.folder)


def orders(*numbers: int, **more: Any) -> list[dict[str, Any]]:
    """Return rows, one for each number."""
    return [{"id": n, "name": f"n{n}", "updated": n, **more} for n in numbers]
