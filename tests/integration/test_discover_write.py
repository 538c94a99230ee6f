"""`discover` lists sources, proposes tables, and writes them into the project file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml
from support.cli_fakes import invoke

from cdpsync import project

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = """\
# our lake
sources:
  shop:   # the shop
    type: files
    path: ./data   # CSV
    # more to come

  crm:
      type: files
      path: ./crm
      tables:
          # people first
          "peo*": {mode: full_table}   # all of them

# the end
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("data/orders", "data/odd[1]", "crm/people", "crm/notes"):
        path = tmp_path / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("id,updated_at\n1,2024-01-01 00:00:00\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cdpsync.yml").write_text(PROJECT)
    return tmp_path / "cdpsync.yml"


def patterns(file: Path, source: str) -> list[str]:
    return [rule.pattern for rule in project.load(file).sources[source].tables]


def test_without_a_name_the_sources_are_listed(file: Path) -> None:
    """With their types and addresses, no user, no secret, and what they lack."""
    file.write_text("""
sources:
  inbox: {type: files, path: /data/in}
  shop: {type: postgres, url: "postgresql://reader:hunter2x@db:5433/shop?sslmode=require"}
  words: {type: postgres, url: "host=db.internal port=5 user=me password=hunter2x dbname=shop"}
  parts: {type: mysql, host: db, database: shop, user: u, password: hunter2x}
  billing: {type: stripe, api_key: "${STRIPE_KEY_THAT_IS_MISSING}"}
""")
    result = invoke("discover")
    assert result.exit_code == 0
    assert "hunter2x" not in result.output
    for words in ("/data/in", "db:5433/shop", "db.internal:5/shop", "db/shop", "is not set"):
        assert words in result.stdout
    listed = json.loads(invoke("discover", "-o", "json").stdout)
    assert [source["name"] for source in listed] == ["inbox", "shop", "words", "parts", "billing"]
    assert listed[4]["error"]["type"] == "SourceConfigError"
    assert invoke("discover", "--yaml").exit_code == 2
    assert invoke("discover", "shop", "--yaml", "--write").exit_code == 2


def test_proposal_can_be_pasted_below_its_source(file: Path) -> None:
    """At the end of the source, as it is; and it is a document of its own too."""
    text = invoke("discover", "shop", "--yaml").stdout
    assert yaml.safe_load(text) == {
        "tables": {"odd[[]1]": {"mode": "full_table"}, "orders": {"mode": "full_table"}}
    }
    file.write_text(PROJECT.replace("    # more to come\n", text))
    assert patterns(file, "shop") == ["odd[[]1]", "orders"]
    assert invoke("run", "shop").exit_code == 0


def test_written_tables_leave_the_rest_as_it_is(file: Path) -> None:
    """Comments, order and existing keys stay; what a glob covers is not added again."""
    file.chmod(0o640)
    result = invoke("discover", "shop", "--write")
    assert result.exit_code == 0, result.stderr
    assert "2 tables added" in result.stderr
    added = [line[1:] for line in result.stdout.splitlines() if line.startswith("+ ")]
    assert [line.split(":")[0].strip() for line in added] == ["tables", '"odd[[]1]"', "orders"]
    assert invoke("discover", "crm", "--write").exit_code == 0
    assert patterns(file, "shop") == ["odd[[]1]", "orders"]
    assert patterns(file, "crm") == ["peo*", "notes"]
    remaining = [line for line in file.read_text().splitlines() if "# no column" not in line]
    remaining.remove("    tables:")
    assert remaining == PROJECT.splitlines()
    assert file.stat().st_mode & 0o777 == 0o640
    before = file.read_text()
    for source in ("shop", "crm"):
        result = invoke("discover", source, "--write")
        assert (result.exit_code, result.stdout) == (0, "")
        assert "every stream already" in result.stderr
    assert file.read_text() == before
    assert invoke("run").exit_code == 0


@pytest.mark.parametrize(
    "text",
    [
        "sources:\r\n  shop:\r\n    type: files\r\n    path: ./data",
        "sources:\n  shop:\n    path: ./data\n    type: files\n    tables:\n      orders:\n",
        "sources:\n  shop:\n    path: data\n    type: >-\n     files\n\n # x\nwarehouse: {path: x}",
        "sources:\n   shop:\n     path: ./data\n     defaults: {every: 1h}\n     type: files\n",
    ],
)
def test_forms_that_can_be_extended(file: Path, text: str) -> None:
    """Windows' line ends, no line end, an empty table, odd indentation."""
    file.write_bytes(text.encode())
    result = invoke("discover", "shop", "--write")
    assert result.exit_code == 0, result.stderr
    assert set(patterns(file, "shop")) == {"odd[[]1]", "orders"}
    after = file.read_bytes().decode()
    assert ("\r\n" in text) == ("\r\n" in after)
    assert after.count("\n") - after.count("\r\n") == (0 if "\r\n" in text else after.count("\n"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sources:\n  shop: {type: files, path: ./data}\n", "written in braces"),
        (
            "sources:\n  shop:\n    type: files\n    path: ./data\n    tables: {orders: {}}\n",
            "braces",
        ),
        ("sources:\n  shop:\n    type: files\n    path: ./data\n    tables:\n", "no lines below"),
        ("x: &x\n  type: files\nsources:\n  shop: *x\n", ""),
        (
            "sources:\n  a: &a\n    type: files\n    path: ./data\n  shop: *a\n",
            "an anchor or an alias",
        ),
    ],
)
def test_other_forms_are_refused_with_the_reason(file: Path, text: str, reason: str) -> None:
    """The file stays as it was, and the proposal can be pasted."""
    file.write_text(text)
    result = invoke("discover", "shop", "--write")
    assert (result.exit_code, result.stdout) == (2, "")
    assert reason in result.stderr
    assert file.read_text() == text
    assert sorted(path.name for path in file.parent.iterdir()) == ["cdpsync.yml", "crm", "data"]


def test_source_of_a_folder_of_files_is_written_where_it_stands(file: Path) -> None:
    """Only the file with the source changes."""
    (file.parent / "conf").mkdir()
    for name, key in (("a", "one"), ("b", "shop")):
        (file.parent / f"conf/{name}.yml").write_text(
            f"sources:\n  {key}:\n    type: files\n    path: ../data\n"
        )
    assert invoke("discover", "shop", "--write", "-c", "conf").exit_code == 0
    assert "tables:" not in (file.parent / "conf/a.yml").read_text()
    assert patterns(file.parent / "conf", "shop") == ["odd[[]1]", "orders"]
    assert not (file.parent / ".cdpsync").exists()
