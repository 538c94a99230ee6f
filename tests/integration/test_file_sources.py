"""Sources of files, from the command line to the lake: modes, names, files that are gone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from support.lake_reading import lake_rows
from typer.testing import CliRunner

from cdpsync import sync
from cdpsync.cli.main import app

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from cdpsync.model import RunResult


@dataclass
class Folder:
    """A project whose source `f` reads the folder `in`."""

    path: Path

    def configure(self, path: str = "in", **source: Any) -> None:
        source = {"type": "files", "path": path, **source}
        config = {"warehouse": {"path": "./warehouse"}, "sources": {"f": source}}
        (self.path / "cdpsync.yml").write_text(json.dumps(config, indent=1))

    def write(self, name: str, content: str = "id\n1\n") -> Path:
        file = self.path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    def invoke(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["-c", str(self.path / "cdpsync.yml"), *arguments])

    def run(self, *select: str) -> RunResult:
        return sync.run(self.path / "cdpsync.yml", select)

    def errors(self) -> dict[str, str | None]:
        """Run; return the error of each table."""
        return {
            str(table.table): table.error and table.error.message for table in self.run().tables
        }

    def ask(self, sql: str) -> list[Any]:
        return lake_rows(sql, self.path / "cdpsync.yml")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path)
    folder.configure()
    return folder


@pytest.mark.parametrize(
    "options",
    [{"mode": "incremental"}, {"mode": "append_only", "cursor_field": "id"}],
    ids=["incremental", "append_only"],
)
def test_modes_with_a_cursor_are_refused_before_the_first_run(
    folder: Folder, options: dict[str, str]
) -> None:
    """`check`, `plan` and `run` name the line; the other tables of the source go on."""
    folder.write("a.csv")
    folder.write("b.csv")
    folder.configure(tables={"*": {}, "a": options})
    message = f'cdpsync.yml:11: table "a": {options["mode"]} continues from a cursor, and'
    for command in ("check", "plan", "run"):
        result = folder.invoke(command)
        assert result.exit_code == 3, command
        assert message in result.stderr
        assert "Use mode: full_table." in result.stderr
    assert folder.ask("select count(*) from f.b") == [(1,)]
    folder.configure(defaults=options)
    assert [folder.invoke(command).exit_code for command in ("check", "run")] == [3, 1]
    folder.configure(defaults=options, tables={"*": {"mode": "full_table"}})
    assert [folder.invoke(command).exit_code for command in ("check", "run")] == [0, 0]


def statuses(result: RunResult) -> dict[str, str]:
    return {str(table.table): table.status.value for table in result.tables}


def test_keys_of_the_path_reach_the_lake(folder: Folder) -> None:
    """They can be filtered by `where`, typed, left out and verified as any column."""
    for year, region in ((2023, "EU"), (2023, "US"), (2024, "EU")):
        folder.write(f"year={year}/region={region}/sales.csv", f"id\n{year % 100}\n")
    folder.configure("in/**/*.csv")
    assert folder.errors() == {"f.sales": None}
    select = "select id, year, region from f.sales order by all"
    assert folder.ask(select) == [(23, 2023, "EU"), (23, 2023, "US"), (24, 2024, "EU")]
    assert folder.ask("describe f.sales")[1][:2] == ("year", "BIGINT")
    assert folder.invoke("verify").exit_code == 0
    folder.write("year=2024/region=EU/sales.csv", "id\n25\n")
    assert folder.invoke("verify").exit_code == 5
    assert folder.invoke("verify", "--repair").exit_code == 0
    columns = {"exclude": ["region"], "types": {"year": "text"}}
    options = {"where": "year > '2023'", "columns": columns, "allow_shrink": True}
    folder.configure("in/**/*.csv", tables={"sales": options})
    assert folder.errors() == {"f.sales": None}
    assert folder.ask("select * from f.sales") == [(25, "2024")]
    folder.configure("in/**/*.csv", hive=False)
    assert folder.errors() == {"f.sales": None}
    assert folder.ask("select * from f.sales order by id") == [(23,), (23,), (25,)]
    folder.write("sales.csv")
    folder.configure("in/**/*.csv")
    (table,) = folder.run().tables
    assert [notice for notice in table.notices if notice.startswith('the key "')] == [
        f'the key "{key}" is not in the path of every file: it is NULL in the rows of '
        f"{folder.path}/in/sales.csv"
        for key in ("year", "region")
    ]
    assert 'the key "year" is not in the path' in folder.invoke("discover", "f").stderr


def test_new_keys_follow_schema_changes(folder: Folder) -> None:
    """A table that was loaded without keys stops under `freeze`, and gets them otherwise."""
    folder.write("year=2023/sales.csv")
    folder.configure("in/**/*.csv", hive=False)
    assert folder.errors() == {"f.sales": None}
    folder.configure("in/**/*.csv", tables={"sales": {"schema_changes": "freeze"}})
    (message,) = folder.errors().values()
    assert 'column "year" is new at the source (BIGINT)' in message
    folder.configure("in/**/*.csv")
    (table,) = folder.run().tables
    assert 'column "year" is new at the source (BIGINT)' in table.notices
    assert folder.ask("select * from f.sales") == [(1, 2023)]


def test_names_beyond_ascii_keep_their_letters(folder: Folder) -> None:
    """Tables are called as their files are."""
    for name in ("日本", "中国", "ü", "größe 1"):
        folder.write(f"{name}.csv", f"id\n{len(name)}\n")
    assert set(folder.errors()) == {"f.日本", "f.中国", "f.ü", "f.größe_1"}
    assert folder.ask("select id from f.größe_1") == [(7,)]
    assert folder.invoke("run", "f.日本").exit_code == 0


def test_a_table_keeps_the_name_that_an_earlier_version_gave_it(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lake of `ü.csv` had `f._`: it is synced on; a new file gets its own name beside it."""
    folder.write("ü.csv")
    with monkeypatch.context() as earlier:
        earlier.setattr(
            "cdpsync_connectors.files.connector.table_name",
            lambda stream: "".join(sign if sign.isascii() else "_" for sign in stream),
        )
        assert folder.errors() == {"f._": None}
    folder.write("ü.csv", "id\n5\n")
    folder.write("ß.csv", "id\n6\n")
    assert folder.errors() == {"f._": None, "f.ß": None}
    assert folder.ask("select id from f._ union all select id from f.ß order by 1") == [(5,), (6,)]
    assert folder.invoke("verify").exit_code == 0
    assert folder.invoke("run", "f._").exit_code == 0
    rows = json.loads(folder.invoke("status", "-o", "json").stdout)
    assert [row["table"] for row in rows] == ["f.ß", "f._"]
    folder.configure(tables={"*": {}, "ü": {"name": "ü"}})
    assert folder.errors() == {"f.ü": None, "f.ß": None}


def test_files_whose_names_collide_fail_alone(folder: Folder) -> None:
    """`a b.csv` and `a_b.csv` fail; the other tables of the project go on."""
    for name in ("a b", "a_b", "c"):
        folder.write(f"{name}.csv")
    result = folder.run()
    assert {table.stream: table.status.value for table in result.tables} == {
        "a b": "failed", "a_b": "failed", "c": "ok",
    }  # fmt: skip
    folder.configure(tables={"*": {}, "a b": {"name": "other"}})
    assert set(statuses(folder.run()).values()) == {"ok"}


def test_a_table_whose_file_is_gone_is_told(folder: Folder) -> None:
    """Its rows stay; run, `status` and `verify` know since when; a file that is back is read."""
    folder.write("a.csv")
    file = folder.write("b.csv")
    assert folder.errors() == {"f.a": None, "f.b": None}
    file.unlink()
    result = folder.invoke("run", "-o", "json")
    assert result.exit_code == 0
    tables = {table["table"]: table for table in json.loads(result.stdout)["tables"]}
    assert (tables["f.a"]["status"], tables["f.b"]["status"]) == ("ok", "skipped")
    assert "missing at the source since" in tables["f.b"]["notices"][0]
    rows = json.loads(folder.invoke("status", "-o", "json").stdout)
    assert [row["missing_since"] is None for row in rows] == [True, False]
    assert "f.b" in folder.invoke("verify").stdout
    assert folder.ask("select id from f.b") == [(1,)]
    folder.write("b.csv", "id\n2\n")
    assert folder.errors() == {"f.a": None, "f.b": None}
    assert folder.ask("select id from f.b") == [(2,)]


def test_a_pattern_without_files_names_the_tables_it_is_of(folder: Folder) -> None:
    """A narrowed `path` fails the source's tables, each with its reason, and no other source."""
    for name in ("a", "b"):
        folder.write(f"{name}.csv")
    assert folder.errors() == {"f.a": None, "f.b": None}
    folder.configure("in/x*.csv")
    errors = folder.errors()
    assert set(errors) == {"f.a", "f.b"}
    assert len(set(errors.values())) == 1
    assert "in/x*.csv: no file matches. Check the path" in errors["f.a"]
    folder.configure("in/a*.csv")
    assert folder.invoke("run").exit_code == 0
    assert statuses(folder.run())["f.b"] == "skipped"


@pytest.mark.parametrize("name", ["secret", "token", "password"])
def test_errors_of_a_table_called_secret_are_told(folder: Folder, name: str) -> None:
    """Run, discover, status and verify name the file."""
    file = folder.write(f"{name}.csv", "a,b\n1\n")
    place = f"{file}, line 2: 1 fields where there should be 2"
    assert place in folder.errors()[f"f.{name}"]
    for command in (["run"], ["discover", "f"], ["check"], ["verify"], ["status", "-o", "json"]):
        result = folder.invoke(*command)
        assert "***" not in result.output, command
        assert place in result.output or command == ["check"]
        assert f"{name}" in result.output or command == ["check"]


def test_discover_suggests_one_stream(folder: Folder) -> None:
    """As a warning and above the YAML; what runs does not change, until the file says it."""
    for day in (1, 2):
        folder.write(f"orders_2024-01-0{day}.csv", f"id\n{day}\n")
    suggestion = (
        "orders_2024-01-01.csv, orders_2024-01-02.csv look like one table. To load them as one, "
        "add to the source: stream: orders"
    )
    assert f"warning: f: {suggestion}" in folder.invoke("discover", "f").stderr
    assert f"    # {suggestion}\n    # Paste" in folder.invoke("discover", "f", "--yaml").stdout
    assert len(folder.errors()) == 2
    folder.configure(stream="orders")
    assert statuses(folder.run())["f.orders"] == "ok"
    assert folder.ask("select id from f.orders order by 1") == [(1,), (2,)]


def test_a_bucket_as_path_is_refused_by_name(folder: Folder) -> None:
    """It was taken for a folder."""
    folder.configure("s3://lake/in/*.csv")
    result = folder.invoke("check")
    assert result.exit_code == 2
    assert "cdpsync.yml:8: " in result.stderr
    assert "s3:// is not supported yet" in result.stderr
