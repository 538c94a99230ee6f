"""A source with a log of changes, whose columns are known only with its rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.lake_reading import lake_rows

from cdpsync import sync

if TYPE_CHECKING:
    from pathlib import Path

    from cdpsync.model import TableResult

# A connector in a file beside the project; it reads a JSON file beside it.
SOURCE = '''
"""Things, and a log of their changes, from a JSON file."""
import json
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from cdpsync.connector import ConnectorOptions
from cdpsync.errors import ReadError
from cdpsync.model import ChangeLog, Column, Cursor, CursorType, Stream

CHANGED = Column("_updated_at", "TIMESTAMP WITH TIME ZONE")


class Options(ConnectorOptions):
    follows_changes = True
    file: str


class Rows:
    label = "all"

    def __init__(self, columns, rows):
        self.columns, self.rows = columns, rows

    def relation(self, con):
        names = ", ".join(f'cast(null as {t}) as "{n}"' for n, t in self.columns.items())
        marks = ", ".join(f"cast(? as {t})" for t in self.columns.values())
        con.execute(f"create or replace temp table rows as select {names} where false")
        for row in self.rows:
            con.execute(f"insert into rows values ({marks})", [row.get(n) for n in self.columns])
        return con.sql("from rows")


class Read(list):
    def __init__(self, chunks, end):
        super().__init__(chunks)
        self.end = end

    def safe_cursor(self, highest):
        return Cursor(CursorType.TIMESTAMPTZ, self.end)


class Log:
    Options = Options
    extensions = ()

    def __init__(self, options):
        self.file = Path(options.file)

    def check(self):
        pass

    def discover(self):
        columns = (Column("id", "VARCHAR", nullable=False), Column("created", "BIGINT"))
        log = ChangeLog(CHANGED, retention=timedelta(days=30), includes_deletes=True)
        return [
            Stream(
                "things", "things", columns, ("id",), ("created",), open_schema=True, changes=log
            )
        ]

    @contextmanager
    def read(self, request):
        content = json.loads(self.file.read_text())
        now, types = datetime.fromisoformat(content["now"]), content["types"]
        rows = content["rows"] if request.window is None else content["changed"]
        rows = [row for row in rows if request.include_deletes or not row.get("_deleted_at")]
        types = {n: t for n, t in types.items() if n not in request.exclude}
        for note in content.get("notes", ()):
            request.on_notice(note)
        if request.cursor_field == CHANGED.name:
            types |= {CHANGED.name: CHANGED.type}
            rows = [{CHANGED.name: content["now"]} | row for row in rows]
        if request.include_deletes:
            types |= {"_deleted_at": CHANGED.type}
        assert request.folder.is_dir()
        if request.cursor_field == CHANGED.name:
            yield Read([Rows(types, rows)], now)
        else:
            yield [Rows(types, rows)]

    def translate(self, error):
        return None

    def close(self):
        pass
'''
TYPES = {"id": "VARCHAR", "created": "BIGINT"}
START = datetime(2026, 1, 1, tzinfo=UTC)


class Log:
    """A project over one source with a log."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "cdpsync.yml"
        self.data = folder / "log.json"
        (folder / "my_source.py").write_text(SOURCE)
        self.now = datetime.now(UTC) - timedelta(days=1)

    def configure(self, **table: Any) -> None:
        source = {"type": "./my_source.py", "file": str(self.data), "tables": {"things": table}}
        self.file.write_text(json.dumps({"sources": {"log": source}}))

    def write(
        self, rows: Any = (), changed: Any = (), types: dict[str, str] = TYPES, **extra: Any
    ) -> None:
        self.now += timedelta(minutes=1)
        content = {"now": self.now.isoformat(), "types": types, "rows": rows, "changed": changed}
        self.data.write_text(json.dumps(content | extra))

    def run(self, **options: Any) -> TableResult:
        (result,) = sync.run(self.file, **options).tables
        assert result.error is None, result.error
        return result

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return lake_rows(sql, self.file)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """A source with a log, in a file beside the project."""
    return Log(tmp_path)


THINGS = [{"id": name, "created": number} for number, name in enumerate("abcd")]


def test_incremental_needs_no_cursor_field_and_follows_the_log(log: Log) -> None:
    """Changed rows are read, and the cursor advances with the log, also without rows."""
    log.configure(mode="incremental")
    log.write(THINGS)
    first = log.run()
    assert (first.rows_inserted, first.cursor_after.value) == (4, log.now)
    log.write(changed=[{"id": "b", "created": 9}, {"id": "e", "created": 5}])
    second = log.run()
    assert (second.rows_inserted, second.rows_updated) == (1, 1)
    assert second.cursor_before == first.cursor_after
    log.write()
    third = log.run()
    assert (third.rows_inserted, third.rows_updated, third.bytes_written) == (0, 0, 0)
    assert third.cursor_after.value == log.now
    assert log.ask("select id, created from log.things order by id") == [
        ("a", 0), ("b", 9), ("c", 2), ("d", 3), ("e", 5),
    ]  # fmt: skip


@pytest.mark.parametrize("deletes", ["ignore", "hard", "soft"])
def test_deletions_in_the_log(log: Log, deletes: str) -> None:
    """They are ignored, applied, or marked with the time that the log has."""
    log.configure(mode="incremental", deletes=deletes)
    log.write(THINGS)
    log.run()
    deletion = {"id": "b", "created": 1, "_deleted_at": "2026-01-02T03:04:05+00:00"}
    log.write(changed=[deletion, {"id": "c", "created": 7}])
    result = log.run()
    assert (result.rows_updated, result.rows_deleted) == (1, 0 if deletes == "ignore" else 1)
    ids = [row[0] for row in log.ask("select id from log.things order by id")]
    assert ids == (["a", "c", "d"] if deletes == "hard" else ["a", "b", "c", "d"])
    if deletes == "soft":
        deleted_rows = log.ask(
            "select id, _deleted_at from log.things where _deleted_at is not null"
        )
        assert deleted_rows == [("b", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))]
    log.write(changed=[{"id": "b", "created": 8}])
    log.run()
    assert log.ask("select created from log.things where id = 'b'") == [(8,)]
    if deletes == "soft":
        assert log.ask("select count(_deleted_at) from log.things") == [(0,)]


def test_run_with_only_deletions_commits_them(log: Log) -> None:
    """A run whose changes are all deletions commits them."""
    log.configure(mode="incremental", deletes="hard")
    log.write(THINGS)
    log.run()
    log.write(changed=[{"id": "a", "_deleted_at": "2026-01-02T03:04:05+00:00"}])
    result = log.run()
    assert (result.rows_deleted, result.rows_in_table) == (1, 3)


def test_cursor_older_than_the_log_reloads_the_table(log: Log) -> None:
    """Changes that left the log cannot be read, so the table is reloaded, with a notice."""
    log.configure(mode="incremental")
    log.now -= timedelta(days=40)
    log.write(THINGS)
    log.run()
    log.now += timedelta(days=40)
    log.write(THINGS[:3], changed=[{"id": "x"}])
    result = log.run()
    assert "30 days" in result.notices[0]
    assert [row[0] for row in log.ask("select id from log.things order by id")] == ["a", "b", "c"]


def test_changed_deletes_setting_reloads_the_table(log: Log) -> None:
    """Rows whose deletion was ignored do not stay in the lake."""
    log.configure(mode="incremental")
    log.write(THINGS)
    log.run()
    log.configure(mode="incremental", deletes="hard")
    log.write(THINGS[1:])
    assert "deletes has changed" in log.run().notices[0]
    assert log.ask("select count(*) from log.things") == [(3,)]


def test_new_field_is_a_column_and_a_missing_field_is_null(log: Log) -> None:
    """Columns that discovery did not name are added with the rows that have them."""
    log.configure(mode="incremental")
    log.write(THINGS)
    log.run()
    log.write(changed=[{"id": "b", "created": 1, "note": "n"}], types=TYPES | {"note": "VARCHAR"})
    log.run()
    log.write(changed=[{"id": "c", "note": "m"}], types={"id": "VARCHAR", "note": "VARCHAR"})
    log.run()
    assert log.ask("select id, created, note from log.things order by id") == [
        ("a", 0, None), ("b", 1, "n"), ("c", None, "m"), ("d", 3, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old_type", "value", "new"),
    [("BIGINT", 5, '{"a":1.10}'), ("VARCHAR", "text", "[1,2]"), ("DECIMAL(10,2)", 1.5, '"x"')],
)
def test_field_of_another_kind_becomes_json(log: Log, old_type: str, value: Any, new: str) -> None:
    """Earlier values become JSON, too, and the run's record has a notice."""
    log.configure(mode="incremental")
    log.write(
        [{"id": "a", "v": value}, {"id": "b", "v": None}], types={"id": "VARCHAR", "v": old_type}
    )
    log.run()
    log.write(changed=[{"id": "c", "v": new}], types={"id": "VARCHAR", "v": "JSON"}, notes=["hm"])
    result = log.run()
    assert result.notices == ("hm", f'column "v" was {old_type} and is JSON now')
    assert log.ask("select id, typeof(v), json_type(v) is null from log.things order by id") == [
        ("a", "JSON", False), ("b", "JSON", True), ("c", "JSON", False),
    ]  # fmt: skip
    assert log.ask("select v::varchar from log.things where id = 'c'") == [(new,)]
    (old,) = log.ask("select json_extract_string(v, '$') from log.things where id = 'a'")
    assert old[0] in {"5", "text", "1.50", "1.5"}
    log.write(changed=[{"id": "a", "v": new}], types={"id": "VARCHAR", "v": "JSON"})
    assert log.run().rows_updated == 1


def test_append_only_adds_an_object_once(log: Log) -> None:
    """An object that changed without a new cursor does not become a second row."""
    log.configure(mode="append_only", cursor_field="created")
    log.write(THINGS, types=TYPES | {"v": "VARCHAR"})
    log.run()
    log.write(changed=[{"id": "d", "created": 3, "v": "changed"}, {"id": "e", "created": 3}],
            types=TYPES | {"v": "VARCHAR"})  # fmt: skip
    assert log.run().rows_inserted == 1
    assert log.ask("select count(*), count(distinct id) from log.things") == [(5, 5)]


def test_excluded_field_is_no_column(log: Log) -> None:
    """Fields that discovery does not name can be excluded, too."""
    log.configure(mode="incremental", columns={"exclude": ["secret"]})
    log.write([{"id": "a", "secret": "x"}], types=TYPES | {"secret": "VARCHAR"})
    log.run()
    assert "secret" not in [row[0] for row in log.ask("describe log.things")]


def test_incremental_with_another_cursor_field_is_refused(log: Log) -> None:
    """`incremental` follows the log; another cursor field needs append_only."""
    log.configure(mode="incremental", cursor_field="created")
    log.write(THINGS)
    (failed,) = sync.run(log.file).tables
    assert "Leave cursor_field out" in failed.error.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import nothing_of_this_name\n", "ModuleNotFoundError"),
        ("x = 1\n", "It defines: none"),
        (None, "no such file"),
    ],
)
def test_error_of_a_file_without_a_connector_names_it(
    log: Log, text: str | None, message: str
) -> None:
    """The error names the file and the reason."""
    from cdpsync import project
    from cdpsync.errors import ConfigError

    log.configure()
    file = log.file.with_name("my_source.py")
    file.unlink()
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as error:
        project.load(log.file)
    assert message in error.value.message
    assert "my_source.py" in error.value.message


def test_reload_of_a_soft_table_rounds_no_value_of_a_deleted_row(log):
    """A value that the column's new type cannot hold stops the reload, and all rows stay."""
    log.configure(mode="incremental", deletes="soft")
    types = TYPES | {"x": "DECIMAL(5,2)"}
    log.write([{"id": "a", "x": "1"}, {"id": "b", "x": "2.25"}, {"id": "c"}], types=types)
    log.run()
    gone = {"id": "b", "x": "2.25", "_deleted_at": log.now.isoformat()}
    log.write(changed=[gone], types=types)
    assert log.run().rows_deleted == 1
    log.write([{"id": "a", "x": "1"}, {"id": "c"}], types=TYPES | {"x": "DECIMAL(5,1)"})
    (result,) = sync.run(log.file, full_refresh=True).tables
    assert 'column "x" is DECIMAL(5,1) now, and rows that were deleted' in result.error.message
    log.write([{"id": "a", "x": "1"}, {"id": "c"}], types=TYPES | {"x": "DECIMAL(6,3)"})
    log.run(full_refresh=True)
    assert log.ask("select id, x::varchar from log.things order by id") == [
        ("a", "1.000"),
        ("b", "2.250"),
        ("c", None),
    ]
