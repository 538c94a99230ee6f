"""Connectors of Airbyte that behave, and that do not: what is committed, and what is said."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import commands

from cdpsync import project, sync
from cdpsync.errors import ConfigError, ReadError
from cdpsync.model import TableStatus
from cdpsync.project import edit
from cdpsync.testing import conforms
from cdpsync_connectors.airbyte import AirbyteConnector
from cdpsync_connectors.airbyte.reading import parse_message

SOURCE = Path(__file__).parents[2] / "support/airbyte_source.py"


class Sourced:
    """A project whose only source is the connector of the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "cdpsync.yml"
        shutil.copy(SOURCE, folder / "source.py")
        self.config: dict[str, Any] = {"data": str(folder / "data.json")}

    def write(self, **streams: list[dict[str, Any]]) -> None:
        (self.folder / "data.json").write_text(json.dumps(streams))

    def configure(self, **config: Any) -> None:
        self.config |= config
        tables = {"orders": {"mode": "incremental"}, "lists": {}}
        command = f"{sys.executable} {self.folder / 'source.py'}"
        source = {"type": "airbyte", "command": command, "config": self.config, "tables": tables}
        self.file.write_text(yaml.safe_dump({"sources": {"svc": source}}))

    def run(self) -> dict[str, Any]:
        return {table.stream: table for table in sync.run(self.file).tables}

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        with project.catalog_of(project.load(self.file)).reader() as con:
            return con.execute(f"select id, updated from lake.svc.{table} order by 1").fetchall()

    def states(self) -> dict[str, Any]:
        return {
            s.stream: s.cursor and s.cursor.value for s in edit.cursors(project.load(self.file))
        }


def rows(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": n, "updated": n, "amount": 0.1, "at": "2024-01-01T00:00:00"} for n in numbers]


@pytest.fixture
def sourced(tmp_path: Path) -> Sourced:
    """A service with orders that change, and with lists."""
    sourced = Sourced(tmp_path)
    sourced.write(orders=rows(1, 2, 3), lists=rows(1, 2))
    sourced.configure()
    return sourced


def test_a_connector_is_read_and_goes_on_from_its_states(sourced: Sourced) -> None:
    """Each stream has a state of its own; the boundary comes again and is stored once."""
    first = sourced.run()
    assert {t.status for t in first.values()} == {TableStatus.OK}
    assert sourced.states() == {"orders": '{"updated":3}', "lists": None}
    sourced.write(orders=rows(1, 2, 3, 4), lists=rows(2))
    second = sourced.run()
    assert (second["orders"].rows_read, second["orders"].rows_inserted) == (2, 1)
    assert sourced.rows("lists") == [(2, 2)]
    with project.catalog_of(project.load(sourced.file)).reader() as con:
        types = {row[0]: row[1] for row in con.execute("describe lake.svc.orders").fetchall()}
    assert (types["at"], types["amount"]) == ("TIMESTAMP", "DECIMAL(20,1)")


@pytest.mark.parametrize(
    ("behaviour", "text"),
    [
        ("fails", "HTTP Status Code: 500. Error: Internal server error. The next run tries again."),
        ("incomplete", "INCOMPLETE, not COMPLETE"),
    ],
)
def test_a_connector_that_breaks_commits_nothing(
    sourced: Sourced, behaviour: str, text: str
) -> None:
    """Its own trace is told, not the last one; a state after an error is not kept."""
    sourced.run()
    before = [sourced.rows("orders"), sourced.rows("lists"), sourced.states()]
    sourced.write(orders=rows(3, 4, 5), lists=rows(7, 8))
    sourced.configure(behave=behaviour)
    results = sourced.run()
    assert {t.status for t in results.values()} == {TableStatus.FAILED}
    assert text in results["orders"].error.message
    assert "secret" not in results["orders"].error.message
    assert [sourced.rows("orders"), sourced.rows("lists"), sourced.states()] == before
    sourced.configure(behave="")
    sourced.run()
    assert sourced.rows("orders") == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]


def test_a_check_that_fails_ends_well(sourced: Sourced) -> None:
    """The connection's status is what counts, not the exit code."""
    sourced.configure(behave="refused")
    done = commands.run("check", "svc", cwd=sourced.folder)
    assert "'the key is not valid'. Check config." in done.stderr
    sourced.configure(behave="misconfigured")
    with pytest.raises(ConfigError, match="is a required property"):
        project.discover(project.load(sourced.file), "svc")


def test_a_configuration_that_the_connector_changes_is_kept(sourced: Sourced) -> None:
    """A CONTROL message has the new token, which the next run uses."""
    sourced.configure(token="old")
    sourced.run()
    kept = sourced.folder / ".cdpsync/sources/svc/config.json"
    assert json.loads(kept.read_text())["changed"] == {"token": "new-one"}
    kept_before = kept.read_text()
    sourced.run()
    assert kept.read_text() == kept_before


def test_discover_says_once_that_numbers_are_doubles(sourced: Sourced) -> None:
    """As every connector of Airbyte writes them."""
    done = commands.run("discover", "svc", cwd=sourced.folder)
    assert (done.stderr + done.stdout).count("write numbers as doubles") == 1


def test_a_line_that_is_no_message() -> None:
    """Is told with its begin."""
    with pytest.raises(ReadError, match="no message of Airbyte"):
        parse_message(b"Hello", "source")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "give a manifest"),
        ({"manifest": "./m.yaml", "package": "airbyte-source-x"}, "give a manifest"),
        ({"manifest": "http://x/m.yaml"}, "must come by https"),
        ({"manifest": "git+x"}, "neither a package"),
        ({"manifest": "./m.yaml", "custom_code": True}, "custom_code is for"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], text: str) -> None:
    """Are refused in a line."""
    with pytest.raises(ValueError, match=text):
        AirbyteConnector.Options.model_validate(options)


def test_the_connector_conforms(sourced: Sourced) -> None:
    """To every promise of the contract."""
    options = yaml.safe_load(sourced.file.read_text())["sources"]["svc"]
    options = {key: options[key] for key in ("command", "config")}
    conforms(AirbyteConnector, options, broken=[{"command": "/nowhere/source"}])
