"""Each shipped manifest has a page that names what it needs and every table, with its cursor."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
MANIFESTS = ROOT / "connectors/cdpsync_connectors/rest/manifests"
NAMES = (
    *("chargebee", "github", "hubspot", "intercom", "linear", "revenuecat", "salesforce"),
    "zendesk",
)


@pytest.mark.parametrize("name", NAMES)
def test_page_names_needs_and_tables(name: str) -> None:
    manifest = yaml.safe_load((MANIFESTS / f"{name}.yml").read_text())
    page = (ROOT / f"docs/sources/{name}.md").read_text()
    tables = page.partition("## Tables")[2]
    streams = {
        table: keys
        for table, keys in manifest["resources"].items()
        if not keys.get("hidden") and "items" not in keys
    }
    for table, keys in streams.items():
        lines = [
            line for line in tables.splitlines() if line.startswith("|") and f"`{table}`" in line
        ]
        assert len(lines) == 1, table
        columns = [*keys["primary_key"], *filter(None, [keys.get("cursor_field")])]
        assert [column for column in columns if f"`{column}`" not in lines[0]] == []
    assert [need for need in manifest["needs"] if f"`{need}`" not in page] == []
    assert f"]({name}.md)" in (ROOT / "docs/sources/README.md").read_text()
    assert manifest["docs"]
    assert manifest["about"]
