"""`query`: every value exact in every format, answers streamed, files whole or not at all."""

import csv
import io
import json
import math
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from support.cli_fakes import Fake, FakeAnswer, assert_golden, invoke

from cdpsync.cli.commands.query_shell import repl
from cdpsync.cli.formats import Format
from cdpsync.cli.output import query_result, report
from cdpsync.cli.session import Terminated
from cdpsync.errors import QueryError
from cdpsync.model import Column
from cdpsync.serialize import values

DUCKDB = duckdb.connect()
EVERYTHING = FakeAnswer(
    columns=(
        Column("id", "BIGINT"),
        Column("id", "HUGEINT"),
        Column("total", "DECIMAL(10,2)"),
        Column("share", "DOUBLE"),
        Column("at", "TIMESTAMP WITH TIME ZONE"),
        Column("day", "DATE"),
        Column("name", "VARCHAR"),
        Column("payload", "JSON"),
        Column("tags", "STRUCT(a INTEGER, b DECIMAL(3,1)[])"),
        Column("raw", "BLOB"),
    ),
    given=(
        (
            *(1, 2**53 + 1, Decimal("1.50"), 0.1),
            *(datetime(2024, 1, 31, 10, 0, 0, 123456, tzinfo=UTC), date(2024, 1, 31)),
            *("a|b, \u00e9\n\x1b[31m", '{"a": 1.10,\n"b": 12345678901234567890}'),
            *({"a": 1, "b": [Decimal("1.0"), None]}, b"ab\xff\\"),
        ),
        (-5, 2**53, Decimal("-0.01"), math.nan, None, None, "", None, None, None),
    ),
)


@pytest.fixture
def fake(monkeypatch):
    fake = Fake(monkeypatch)
    fake.answers_query(EVERYTHING)
    return fake


@pytest.mark.parametrize(
    ("form", "file"),
    [
        ("table", "cli_query.txt"),
        ("json", "cli_query.json"),
        ("jsonl", "cli_query.jsonl"),
        ("csv", "cli_query.csv"),
        ("markdown", "cli_query.md"),
    ],
)
def test_query_in_every_format(fake, form, file):
    result = invoke("query", "select 1", "-o", form)
    assert_golden(file, result.stdout)
    assert result.exit_code == 0
    assert result.stderr.startswith("2 rows, ")


def test_json_and_jsonl_say_the_same(fake):
    lines = invoke("query", "select 1", "-o", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == json.loads(
        invoke("query", "select 1", "-o", "json").stdout
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (2**53, "9007199254740992"),
        (2**53 + 1, '"9007199254740993"'),
        (-(2**127), f'"{-(2**127)}"'),
        (Decimal("1E+3"), '"1000"'),
        (Decimal("0.10"), '"0.10"'),
        (-0.0, "-0.0"),
        (math.inf, '"Infinity"'),
        (-math.inf, '"-Infinity"'),
        (datetime(2024, 1, 1), '"2024-01-01T00:00:00"'),  # noqa: DTZ001 - TIMESTAMP has no zone
        (datetime(2024, 1, 1, tzinfo=UTC), '"2024-01-01T00:00:00+00:00"'),
        (time(1, 2, 3, 400), '"01:02:03.000400"'),
        (timedelta(0), '"PT0S"'),
        (timedelta(days=1, hours=2), '"P1DT2H"'),
        (timedelta(seconds=-90, microseconds=-500_000), '"PT-1M-30.5S"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (b"it's \x00", '"it\\\\x27s \\\\x00"'),
        ((1, "a"), '[1, "a"]'),
        ({1: {"b": None}}, '{"1": {"b": null}}'),
        ("infinity", '"infinity"'),
    ],
)
def test_values_as_json(value, text):
    """The table in the module's docstring, row by row."""
    assert values.json_of(value) == text
    json.loads(text)


@given(st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans())
def test_any_plain_value_survives_json(value):
    read = json.loads(values.json_of(value))
    exact = type(value) is not int or abs(value) <= values.LARGEST_EXACT
    assert read == value if exact else read == str(value)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4))
def test_any_decimal_survives_json(value):
    assert Decimal(json.loads(values.json_of(value))) == value


@given(st.binary())
@settings(deadline=None)  # DuckDB's first statement takes longer than its others
def test_any_blob_survives_a_cast_back(value):
    """What stands in JSON and CSV is what DuckDB's own cast would make of it."""
    assert values.csv_of(value) == DUCKDB.execute("select ?::blob::varchar", [value]).fetchone()[0]


@given(st.lists(st.text(), min_size=2))
def test_any_text_survives_csv(fields):
    assert next(csv.reader(io.StringIO(report.csv_line(fields), newline=""))) == fields


def test_csv_tells_null_from_empty_text():
    assert report.csv_line([None, "", "a"]) == ',"",a\n'


@pytest.mark.parametrize("text", ["{broken", "NaN", "[1, Infinity]"])
def test_a_json_column_that_holds_no_json_is_text(text):
    """One bad value must not break the whole answer."""
    (encode,) = values.json_encoders([Column("j", "JSON")])
    assert json.loads(encode(text)) == text


# ---- where SQL comes from


def test_sql_from_the_argument_a_file_or_stdin(fake, tmp_path):
    file = tmp_path / "a.sql"
    file.write_text("select 'file'")
    invoke("query", "select 'argument'", "--at", "7")
    invoke("query", "-f", str(file))
    invoke("query", "-f", "-", typed="select 'dash'")
    invoke("query", typed="select 'stdin'")
    statements = [call[1:] for call in fake.calls if call[0] == "project.open_query"]
    assert statements == [
        ("select 'argument'", "7"),
        ("select 'file'", None),
        ("select 'dash'", None),
        ("select 'stdin'", None),
    ]


@pytest.mark.parametrize("argv", [("select 1", "-f", "x"), ("-f", "nowhere.sql"), (" ",), ()])
def test_sql_that_is_not_there_or_twice_is_a_usage_error(fake, argv):
    result = invoke("query", *argv, typed="")
    assert (result.exit_code, result.stdout) == (2, "")


# ---- files


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.json", "[\n"), ("a.csv", "id,id,"), ("a.md", "| id"), ("a.jsonl", "{"), ("a.txt", "id")],
)
def test_to_takes_the_format_from_the_name(fake, tmp_path, name, start):
    result = invoke("query", "select 1", "--to", str(tmp_path / name))
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_output_counts_before_the_name(fake, tmp_path):
    invoke("query", "select 1", "--to", str(tmp_path / "a.csv"), "-o", "json")
    assert json.loads((tmp_path / "a.csv").read_text(encoding="utf-8"))


def test_parquet_needs_a_file(fake, tmp_path):
    assert invoke("query", "select 1", "-o", "parquet").exit_code == 2
    invoke("query", "select 1", "-o", "parquet", "--to", str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b"PAR1"


def test_a_failed_query_leaves_the_old_file(fake, tmp_path):
    fake.answers_query(FakeAnswer(given=((1,),) * 5000, fails_after=4000))
    (tmp_path / "a.csv").write_text("old")
    result = invoke("query", "select 1", "--to", str(tmp_path / "a.csv"))
    assert result.exit_code == 2
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("target", ["nowhere/a.csv", "."])
def test_a_file_that_cannot_be_written_is_named(fake, tmp_path, target):
    result = invoke("query", "select 1", "--to", str(tmp_path / target))
    assert result.exit_code == 2
    assert str(tmp_path) in result.stderr


def test_an_early_failure_writes_nothing(fake):
    """Half an answer on stdout would be taken for a whole one."""
    fake.answers_query(FakeAnswer(given=((1,),) * 10, fails_after=5))
    result = invoke("query", "select 1", "-o", "json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "error: Conversion Error: what came was not a number\n"


# ---- tables


def test_a_pipe_gets_every_row(fake):
    fake.answers_query(FakeAnswer(given=tuple((n,) for n in range(3000))))
    assert len(invoke("query", "select 1").stdout.splitlines()) == 3002


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_drawn_table_and_folds_wide_values(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    screen = Screen()
    report.write_table(screen, [report.Heading("a")], [["[red]x"], ["y" * 50], [None]])
    text = screen.getvalue()
    assert "[red]x" in text
    assert text.count("y") == 50
    assert "NULL" in text


def test_more_columns_than_a_terminal_has_room_for_stand_upright(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    screen = Screen()
    headings = [report.Heading(f"column {n}") for n in range(10)]
    report.write_table(screen, headings, [[str(n) for n in range(10)]])
    assert screen.getvalue().splitlines()[1:3] == ["column 0  0", "column 1  1"]


def shown(monkeypatch, columns, rows, width, *, full=False):
    """Return the lines of a query's table on a terminal of this width, and what stderr is told."""
    told, screen = [], Screen()
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr(query_result.log, "warn", lambda message, **_: told.append(message))
    columns = tuple(Column(name, type_) for name, type_ in columns)
    query_result.write_stdout(FakeAnswer(columns, rows), Format.TABLE, full=full)
    return re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines(), told


def test_a_terminal_cuts_wide_values_and_says_how_to_see_them(monkeypatch):
    columns = [("id", "BIGINT"), ("doc", "JSON"), ("note", "VARCHAR")]
    rows = ((2**62, '{"a": ' + "1" * 100_000 + "}", "日本" * 50), (1, None, "one\ntwo"))
    lines, told = shown(monkeypatch, columns, rows, 60)
    assert max(map(cell_len, lines)) <= 60
    assert len(lines) == 4
    assert str(2**62) in lines[2]
    assert lines[2].count("…") == 2
    assert "NULL" in lines[3]
    assert "one\\ntwo" in lines[3]
    assert told == ["wide values are cut. --full shows everything; so does -o json, and a pipe."]
    lines, told = shown(monkeypatch, columns, rows, 60, full=True)
    assert "".join(lines).count("1") >= 100_000
    assert told == []


def test_a_terminal_shows_as_many_columns_as_it_has_room_for(monkeypatch):
    columns = [(f"column_{n}", "VARCHAR" if n % 2 else "DECIMAL(38,0)") for n in range(40)]
    rows = (tuple("x" * 30 if n % 2 else Decimal(10**20) for n in range(40)),)
    lines, told = shown(monkeypatch, columns, rows, 80)
    assert max(map(cell_len, lines)) <= 80
    assert lines[-1] == "… 37 more columns"
    assert str(10**20) in lines[2]
    assert told == ["wide values are cut. --full shows everything; so does -o json, and a pipe."]
    lines, _ = shown(monkeypatch, columns, rows, 80, full=True)
    assert "column_39" in "\n".join(lines)


@pytest.mark.parametrize("width", [20, 40, 79, 80, 81, 200])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 30])
def test_a_table_on_a_terminal_has_a_line_per_row(monkeypatch, width, count):
    columns = [(f"c{n}", "VARCHAR") for n in range(count)]
    rows = tuple(tuple(f"{n}-" + "é" * (n * 9) for n in range(count)) for _ in range(3))
    lines, told = shown(monkeypatch, columns, rows, width)
    has_more = lines[-1].startswith("…")
    assert len(lines) == 5 + has_more
    assert max(map(cell_len, lines)) <= width
    assert bool(told) is (has_more or any("…" in line for line in lines))


@pytest.mark.parametrize("form", [Format.JSON, Format.CSV, Format.JSONL, Format.MARKDOWN])
def test_only_a_table_is_cut(monkeypatch, form):
    screen = Screen()
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr("sys.stdout", screen)
    answer = FakeAnswer((Column("a", "VARCHAR"),), (("x" * 5000,),))
    query_result.write_stdout(answer, form)
    assert "x" * 5000 in screen.getvalue()


# ---- the prompt


def talk(monkeypatch, tmp_path, *typed, ask=None):
    """Type lines (an exception stands for a key) and return the statements that were asked."""
    lines, statements = iter(typed), []

    def read(_prompt):
        line = next(lines, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    monkeypatch.setattr("builtins.input", read)
    repl(ask or statements.append, tmp_path / "history")
    return statements


def test_the_prompt_reads_until_a_semicolon(monkeypatch, tmp_path):
    statements = talk(monkeypatch, tmp_path, "", "select", "  1;", ";", "select 2; ", "select 3")
    assert statements == ["select\n  1;", "select 2; "]


def test_an_error_or_an_interrupt_does_not_end_the_prompt(monkeypatch, tmp_path):
    statements = []

    def ask(statement):
        statements.append(statement)
        raise (QueryError("no such table") if len(statements) == 1 else KeyboardInterrupt)

    talk(
        monkeypatch, tmp_path, "a;", "b;", "half", KeyboardInterrupt(), "c;", "quit", "d;", ask=ask
    )
    assert statements == ["a;", "b;", "c;"]


def test_sigterm_ends_the_prompt(monkeypatch, tmp_path):
    with pytest.raises(Terminated):
        talk(monkeypatch, tmp_path, Terminated())


def test_the_history_is_its_owners(monkeypatch, tmp_path):
    talk(monkeypatch, tmp_path, "select 1;")
    assert (tmp_path / "history").stat().st_mode & 0o077 == 0
