"""Test project over a real Postgres: a YAML file, a warehouse and a state file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
from support.lake_reading import lake_reader, lake_rows

from cdpsync import project, sync

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Database

    from cdpsync.model import RunResult, TableResult

KEYS = ("endpoint", "region", "access_key_id", "secret_access_key")


@dataclass
class Shop:
    """A project folder whose source `shop` is a database of its own."""

    folder: Path
    pg: Database
    warehouse: dict[str, Any] = field(default_factory=lambda: {"path": "./warehouse"})

    @property
    def file(self) -> Path:
        return self.folder / "cdpsync.yml"

    @property
    def state_file(self) -> Path:
        return self.folder / ".cdpsync/state.json"

    def configure(self, tables: dict[str, Any] | None, **source: Any) -> None:
        """Write the project file (JSON is YAML, too)."""
        shop = {"type": "postgres", "url": self.pg.url, **source}
        if tables is not None:
            shop["tables"] = tables
        config = {"warehouse": self.warehouse, "sources": {"shop": shop}}
        self.file.write_text(json.dumps(config, indent=1, ensure_ascii=False))

    def run(self, *select: str, **choices: Any) -> RunResult:
        return sync.run(self.file, select, **choices)

    def one(self, *select: str, **choices: Any) -> TableResult:
        """Run; return the result of the only table, which must have no error."""
        (result,) = self.run(*select, **choices).tables
        assert result.error is None, result.error
        return result

    def each(self, **choices: Any) -> dict[str, TableResult]:
        """Run; return the result of each table by the table's name. None of them has an error."""
        results = {result.table.name: result for result in self.run(**choices).tables}
        assert not any(result.error for result in results.values()), results
        return results

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return lake_rows(sql, self.file)

    def source(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.pg.url) as con:
            return con.execute(sql).fetchall()

    def state(self) -> dict[str, Any]:
        return json.loads(self.state_file.read_text())["tables"]["shop"]

    def status(self) -> dict[str, str]:
        loaded = project.load(self.file)
        return {table.table: table.status for table in project.status(loaded)}

    def same(self, columns: str = "*", stream: str = "public.orders", table: str = "shop.orders"):
        """Assert that the lake has the source's rows, each as often as the source."""
        source_rows = sorted(map(repr, _plain(self.source(f"select {columns} from {stream}"))))
        lake_rows = sorted(map(repr, _plain(self.ask(f"select {columns} from {table}"))))
        assert lake_rows == source_rows

    def all_same(self, *tables: str) -> None:
        """Assert the same of several tables of schema `public`; the lake is opened once."""
        with lake_reader(self.file) as con:
            rows = {
                table: con.execute(f"select * from lake.shop.{table}").fetchall()
                for table in tables
            }
        for table in tables:
            source_rows = sorted(map(repr, _plain(self.source(f"select * from {table}"))))
            assert sorted(map(repr, _plain(rows[table]))) == source_rows, table


def _plain(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [tuple(v.timestamp() if getattr(v, "tzinfo", None) else v for v in row) for row in rows]


@dataclass
class ReplicatedShop(Shop):
    """A project that reads its rows from a streaming replica of its database."""

    replica: Database = field(kw_only=True)

    def configure(self, tables: dict[str, Any] | None, **source: Any) -> None:
        super().configure(tables, **{"replica": self.replica.url, **source})
