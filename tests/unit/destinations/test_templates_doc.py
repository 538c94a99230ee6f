"""docs/destination-templates.md is run: each example gives what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.change_rows import Changes

from cdpsync.destinations.templates import filters
from cdpsync.errors import ConfigError

PAGE = (Path(__file__).resolve().parents[3] / "docs/destination-templates.md").read_text()
ROW = re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]


def rows(heading: str) -> list[tuple[str, str]]:
    """Return the rows of the tables whose second column has this heading."""
    pattern = rf"^\| in the file \| {heading} \|\n\| --- \| --- \|\n((?:\|.*\n)+)"
    tables = re.findall(pattern, PAGE, re.MULTILINE)
    lines = re.findall(r"^\| `(.*)` \| `(.*)` \|$", "".join(tables), re.MULTILINE)
    assert len(lines) == "".join(tables).count("\n")
    return [(example.replace(r"\|", "|"), result.replace(r"\|", "|")) for example, result in lines]


@pytest.fixture(scope="module")
def page_row() -> Changes:
    """The row that the page has at its beginning."""
    return Changes(ROW, alias="Profile")


def parsed(example: str) -> Any:
    """Return an example as the file has it: a text in a table, or a tree."""
    is_tree = example[0] in '"[' or re.match(r"\{[^{%]", example)
    return yaml.safe_load(example) if is_tree else example


@pytest.mark.parametrize(("example", "result"), rows("in the body"))
def test_example(page_row: Changes, example: str, result: str) -> None:
    """The body is the one of the page, character by character."""
    assert page_row.texts(parsed(example)) == [result]


@pytest.mark.parametrize(("example", "line"), rows("the line"))
def test_error(page_row: Changes, example: str, line: str) -> None:
    """The error is the one of the page."""
    with pytest.raises(ConfigError) as error:
        page_row.compile(example)
    assert error.value.message == line


@pytest.mark.parametrize(("example", "reason"), rows("the reason"))
def test_wrong_row(page_row: Changes, example: str, reason: str) -> None:
    """The reason is the one of the page."""
    assert page_row.rendered(example)[0]["error"] == reason


def test_page_has_each_filter() -> None:
    """A filter without an example is not known to anyone."""
    examples = " ".join(example for example, _ in rows("in the body"))
    assert [name for name in filters.names() if f"| {name}" not in examples] == []
