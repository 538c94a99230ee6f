"""The page of a shipped manifest names its streams, with their keys and cursors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cdpsync.connector import registry

DOCS = Path(__file__).resolve().parents[2] / "docs/sources"
HEADER = "| stream | key | cursor |"
PAGES = sorted(page for page in DOCS.glob("*.md") if HEADER in page.read_text())


def code(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_streams_are_in_the_table(page: Path) -> None:
    class_ = registry.connector_class(page.stem)
    needs = {
        name: "https://host.example" if name == "base_url" else "sample"
        for name, field in class_.Options.model_fields.items()
        if field.is_required()
    }
    resources = class_(class_.Options.model_validate(needs))._api().resources()
    streams = [resource.stream() for resource in resources if resource.is_stream]
    text = page.read_text().partition(HEADER)[2].partition("\n\n")[0]
    rows = [[code(cell) for cell in line.split("|")[1:4]] for line in text.splitlines()[2:]]
    assert rows == [
        [[stream.name], list(stream.primary_key), list(stream.cursor_fields)] for stream in streams
    ]


def test_there_are_pages() -> None:
    assert len(PAGES) >= 8


@pytest.mark.parametrize("name", sorted(registry.manifests()))
def test_every_manifest_is_in_the_index(name: str) -> None:
    assert f"| `{name}` |" in (DOCS / "README.md").read_text()
