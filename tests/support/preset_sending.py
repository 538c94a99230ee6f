"""Sends the rows of preset cases: files, a lake and the real command, then local servers."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from support import commands
from support.destination_servers import DestinationServer, serve
from support.preset_cases import HOST, Case, Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_TYPES = {"properties": "json", "timestamp": "timestamptz", "name": "varchar", "email": "varchar"}


@dataclass(frozen=True)
class SentRows:
    """What came of the rows of one case: counts, and the dead letters by the rows' ids."""

    succeeded: int
    held: int
    dead: dict[int, str]
    error: str | None


@dataclass
class PresetProject:
    """A project with a table, a destination and a server for each case."""

    folder: Path
    cases: Sequence[Case]
    servers: list[DestinationServer] = field(default_factory=list)

    def configure(self) -> None:
        """Write the project file."""
        tables, destinations = {}, {}
        for number, (case, server) in enumerate(zip(self.cases, self.servers, strict=True)):
            tables[f"t{number}"] = {
                "primary_key": ["id"],
                "allow_shrink": True,
                "columns": {"types": {k: v for k, v in _TYPES.items() if k in case.rows[0]}},
            }
            destinations[f"d{number}"] = {
                "type": case.preset,
                "from": f"shop.t{number}",
                "on": ["insert", "update", *(["delete"] if case.deletes else [])],
                **({"action": case.action} if case.action else {}),
                **_at(case.keys, server.url),
            }
        source = {"type": "files", "path": "./files/*.jsonl", "tables": tables}
        project = {"sources": {"shop": source}, "destinations": destinations}
        (self.folder / "cdpsync.yml").write_text(yaml.safe_dump(project, sort_keys=False))

    def write_rows(self, *, with_deleted: bool) -> None:
        """Write the rows to the files of the source."""
        for number, case in enumerate(self.cases):
            rows = [*case.rows, *(case.deletes if with_deleted else [])]
            lines = "".join(f"{_line(row)}\n" for row in rows)
            (self.folder / "files" / f"t{number}.jsonl").write_text(lines)

    def run(self) -> None:
        """Load the files into the lake."""
        done = self._cdpsync("run", "--no-send")
        assert done.returncode == 0, done.stdout + done.stderr

    def send(self, *options: str) -> list[SentRows]:
        """Send what has changed; return what came of it, by case."""
        done = self._cdpsync("send", *options, "-o", "json")
        assert done.stdout.startswith("{"), done.stdout + done.stderr
        results = {one["destination"]: one for one in json.loads(done.stdout)["destinations"]}
        shown = self._cdpsync("dead", "show", "-o", "json")
        assert shown.stdout, shown.stderr
        letters = json.loads(shown.stdout)
        return [self._sent(f"d{i}", results, letters) for i in range(len(self.cases))]

    def _sent(self, name: str, results: Any, letters: Any) -> SentRows:  # Any: JSON
        result = results[name]
        dead = {
            int(letter["key"][0]): letter["error"]
            for letter in letters
            if letter["destination"] == name
        }
        error = result.get("error")
        return SentRows(result["succeeded"], result["held"], dead, error and str(error))

    def _cdpsync(self, *arguments: str) -> Any:
        return commands.run(*arguments, cwd=self.folder)


@contextmanager
def preset_project(folder: Path, cases: Sequence[Case]) -> Iterator[PresetProject]:
    """Make a project for some cases, and start their servers."""
    (folder / "files").mkdir()
    with ExitStack() as stack:
        servers = [stack.enter_context(serve(case.preset)) for case in cases]
        project = PresetProject(folder, cases, servers)
        project.configure()
        yield project


def _line(row: Row) -> str:
    return json.dumps({name: _plain(name, value) for name, value in row.items()})


def _plain(name: str, value: Any) -> Any:  # Any: a value of a row
    if name == "timestamp":
        return value.isoformat()
    return json.loads(value) if name == "properties" else value


def _at(tree: Any, url: str) -> Any:  # Any: the tree of a YAML file
    """Return the keys with the server's address."""
    if isinstance(tree, dict):
        return {name: _at(value, url) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_at(value, url) for value in tree]
    is_address = isinstance(tree, str) and (tree == HOST or tree.startswith(f"{HOST}/"))
    return url + tree.removeprefix(HOST) if is_address else tree
