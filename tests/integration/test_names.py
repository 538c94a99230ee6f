"""The names that people type: short ones, misspelt ones, ambiguous ones, and no name at all."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from support.cli_fakes import invoke

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = """
sources:
  shop:
    type: files
    path: ./shop
    tables: {orders: {}, plans: {name: tariffs}, "odd[[]1]": {name: odd}}
  crm:  # a CRM
    type: files
    path: ./crm/*.csv
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two sources, of which each has a table `people`."""
    for name in ("shop/orders", "shop/plans", "shop/odd[1]", "crm/people", "crm/notes"):
        file = tmp_path / f"{name}.csv"
        file.parent.mkdir(exist_ok=True)
        file.write_text("a\n1\n")
    (tmp_path / "cdpsync.yml").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tables(*argv: str) -> list[str]:
    result = invoke(*argv, "-o", "json")
    assert result.exit_code == 0, result.stderr
    content: Any = json.loads(result.stdout)
    return [row["table"] for row in (content if isinstance(content, list) else content["tables"])]


def error(*argv: str) -> str:
    result = invoke(*argv)
    assert result.exit_code == 2, (result.stdout, result.stderr)
    return result.stderr.strip()


def test_short_name_means_the_one_table_that_has_it(folder: Path) -> None:
    """In the lake or at the source, whatever its case, in each command and option."""
    assert tables("run", "orders") == ["shop.orders"]
    assert tables("run", "PLANS") == tables("run", "tariffs") == ["shop.tariffs"]
    assert tables("run", "odd", "-s", "orders") == ["shop.odd", "shop.orders"]
    assert tables("run", "-s", "notes", "-e", "people") == ["crm.notes"]
    assert tables("status", "orders") == ["shop.orders"]
    assert invoke("state", "get", "orders").exit_code == 0
    assert set(tables("status", "--history", "tariffs")) == {"shop.tariffs"}
    assert tables("verify", "orders") == ["shop.orders"]
    for command in ("reset", "delete"):
        result = invoke(command, "-y", "orders")
        assert result.exit_code == 0
        assert "shop.orders" in result.stdout
    assert len(tables("run", "shop")) == 3  # a source comes before a table of its name


def test_name_of_several_tables_lists_them(folder: Path) -> None:
    """Nothing is guessed."""
    (folder / "shop/people.csv").write_text("a\n1\n")
    (folder / "cdpsync.yml").write_text(PROJECT.replace("orders: {}", "orders: {}, people: {}"))
    for argv in (("run", "people"), ("plan", "-e", "people")):
        assert '"people" is the name of several tables: crm.people, shop.people.' in error(*argv)
    tables("run")
    assert "crm.people, shop.people" in error("status", "people")


MISSPELT = {
    "shop.order": "shop.orders",
    "order": "shop.orders",
    "shop.plan": "shop.tariffs",
    "shp.orders": "shop.orders",
    "shopp": "shop",
    "crm.note": "crm.notes",
}


def test_misspelt_name_finds_the_one_that_was_meant(folder: Path) -> None:
    """Tables are listed by their names in the lake, which is what people type.

    `run` gets each name, and each other command some of them.
    """
    tables("run")
    commands = itertools.cycle(["plan", "verify", "status", "reset"])
    typed_names = [("run", *pair) for pair in MISSPELT.items()]
    typed_names += [(next(commands), *pair) for pair in MISSPELT.items()]
    for command, typed, meant in typed_names:
        message = error(command, typed, *(["-y"] if command == "reset" else []))
        assert f'"{typed}"' in message
        assert f"Did you mean {meant}?" in message
        assert "crm.notes, crm.people" in message or "shop.orders, " in message


def test_project_without_sources_says_what_to_type(folder: Path) -> None:
    """Nothing to do is no error, and no dead end."""
    (folder / "cdpsync.yml").write_text("warehouse: {path: ./lake}\n")
    result = invoke("run")
    assert result.exit_code == 0
    assert "no sources" in result.stderr
    for words in ("sources:", "cdpsync init DIR --source", "cdpsync discover"):
        assert words in result.stderr
