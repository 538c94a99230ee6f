"""A project with a file of orders as its source, and destinations at a local receiver."""

from __future__ import annotations

import csv
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from support import commands
from support.receiver import Receiver, receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COLUMNS = ("id", "customer", "status", "total")


@dataclass
class Sending:
    """The project: its folder, its rows at the source, and the receiver of its destinations."""

    folder: Path
    receiver: Receiver
    rows: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def put(self, *rows: tuple[Any, ...]) -> None:
        """Insert or update rows at the source: id, customer, status, total."""
        self.rows |= {row[0]: row for row in rows}
        self._write()

    def remove(self, *ids: int) -> None:
        """Delete rows at the source."""
        self.rows = {key: row for key, row in self.rows.items() if key not in ids}
        self._write()

    def _write(self) -> None:
        with (self.folder / "files" / "orders.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(self.rows.values())

    def configure(self, destinations: dict[str, Any] | None = None, **keys: Any) -> None:
        """Write the project file; `keys` are those of a single destination `hook`."""
        hook = {"type": "webhook", "from": "shop.orders", "url": f"{self.receiver.url}/orders"}
        project = {
            "sources": {
                "shop": {
                    "type": "files",
                    "path": "./files/*.csv",
                    "tables": {"orders": {"primary_key": ["id"], "allow_shrink": True}},
                }
            },
            "destinations": destinations or {"hook": hook | keys},
        }
        (self.folder / "cdpsync.yml").write_text(yaml.safe_dump(project, sort_keys=False))

    def cdpsync(self, *arguments: str, code: int = 0) -> str:
        """Run the real command; return what it says on stdout."""
        done = self.run(*arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def run(self, *arguments: str) -> Any:
        """Run the real command, whatever its exit code."""
        return commands.run(*arguments, cwd=self.folder, env=self.environment or None)

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run the real command; return its JSON."""
        return json.loads(self.cdpsync(*arguments, "-o", "json", code=code))

    def bodies(self) -> list[Any]:
        """Return the bodies that the receiver has taken, in their order."""
        return [json.loads(body) for body in self.receiver.bodies()]

    def query(self, sql: str) -> Any:
        """Ask the lake."""
        return self.json("query", sql)


@contextmanager
def sending(folder: Path) -> Iterator[Sending]:
    """Make a project with three orders, and start its receiver."""
    (folder / "files").mkdir()
    with receiver(folder / "receiver") as server:
        project = Sending(folder, server)
        project.put((1, "ada", "new", "10.10"), (2, "bob", "new", "20.00"), (3, "eve", "paid", "5"))
        yield project
