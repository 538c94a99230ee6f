"""Workbooks: written cell by cell by XlsxWriter, or as raw XML, and compared with what is read."""

# ruff: noqa: DTZ001 - a moment in a workbook has no zone

from __future__ import annotations

import datetime as dt
import io
import math
import re
import zipfile
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.file_sources import connector, find_stream, refusal, rows, types, write

from cdpsync.errors import ConnectError, ReadError
from cdpsync_connectors.files import workbook
from cdpsync_connectors.files.options import FilesOptions
from cdpsync_connectors.files.workbook_values import Kind, Shown, number, shown_by

if TYPE_CHECKING:
    from pathlib import Path

DAY, MOMENT, CLOCK, ELAPSED = "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss.000", "hh:mm:ss", "[h]:mm:ss"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


class Formatted(NamedTuple):
    """A number and its format."""

    number: float
    code: str


class Formula(NamedTuple):
    """A formula and its stored value."""

    text: str
    value: float | str


def save(path: Path | io.BytesIO, *, is_1904: bool = False, **sheets: list[list[Any]]) -> Any:
    """Write a workbook: the sheets by name, each as rows of cells; None is an empty cell."""
    options = {"date_1904": is_1904, "strings_to_numbers": False, "in_memory": True}
    with xlsxwriter.Workbook(path if isinstance(path, io.BytesIO) else str(path), options) as book:
        for name, cells in sheets.items():
            sheet = book.add_worksheet(name)
            for row, values in enumerate(cells):
                for column, value in enumerate(values):
                    put(book, sheet, (row, column), value)
    return path


def put(book: Any, sheet: Any, place: tuple[int, int], value: Any) -> None:
    if isinstance(value, Formatted):
        sheet.write_number(*place, value.number, book.add_format({"num_format": value.code}))
    elif isinstance(value, Formula):
        sheet.write_formula(*place, value.text, None, value.value)
    elif isinstance(value, str):
        sheet.write_string(*place, value)
    elif isinstance(value, bool):
        sheet.write_boolean(*place, value)
    elif value is not None:
        sheet.write_number(*place, value)


def raw(path: Path, sheet_data: str, **more_parts: str) -> Path:
    """Write a workbook with one sheet, `Raw`, of this XML; `more_parts` replace parts."""
    relation = '<Relationship Id="{}" Type="' + OFFICE + '/{}" Target="{}"/>'
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    parts = {
        "_rels/.rels": f'<Relationships xmlns="{package}">'
        + relation.format("r1", "officeDocument", "/xl/workbook.xml")
        + "</Relationships>",
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>'
        '<sheet name="Raw" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}">'
        + relation.format("r1", "worksheet", "sheet.xml")
        + "</Relationships>",
        "xl/sheet.xml": f'<worksheet xmlns="{MAIN}"><sheetData>{sheet_data}</sheetData>'
        "</worksheet>",
        **more_parts,
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize(
    ("cells", "type_", "values"),
    [
        ([1, 3.0, None, -5], "BIGINT", [1, 3, None, -5]),
        ([1.1, 3.0], "DECIMAL(38,1)", [Decimal("1.1"), Decimal("3.0")]),
        ([0.00001, 2], "DECIMAL(38,5)", [Decimal("0.00001"), Decimal(2)]),
        ([1e20, 1.5], "DOUBLE", [1e20, 1.5]),
        (
            [1.23456789012345e-10, 123456789012345600],
            "DOUBLE",
            [1.23456789012345e-10, 1.234567890123456e17],
        ),
        ([-0.0], "BIGINT", [0]),
        (["007", "008"], "VARCHAR", ["007", "008"]),
        (["123", "456"], "VARCHAR", ["123", "456"]),
        (["123", 456, 1.50], "VARCHAR", ["123", "456", "1.5"]),
        (["true", "2024-01-31"], "VARCHAR", ["true", "2024-01-31"]),
        (["", "a"], "VARCHAR", ["", "a"]),
        (["a\nb\r\nc\rd", ' "x", ', "_x000D_", "x005F_", "\x01", "日本 😀"], "VARCHAR", None),
        (["#N/A", "NULL", "NA"], "VARCHAR", None),
        ([True, False, None], "BOOLEAN", [True, False, None]),
        ([True, 1], "VARCHAR", ["true", "1"]),
        (
            [Formula("=1+1", 2), Formula("=A1", 3.5)],
            "DECIMAL(38,1)",
            [Decimal(2), Decimal("3.5")],
        ),
        ([Formula("=A1", "x"), Formula("=A2", "7")], "VARCHAR", None),
        (
            [
                Formatted(45322, DAY),
                Formatted(1, DAY),
                Formatted(59, DAY),
                Formatted(61, DAY),
            ],
            "DATE",
            [dt.date(2024, 1, 31), dt.date(1900, 1, 1), dt.date(1900, 2, 28), dt.date(1900, 3, 1)],
        ),
        (
            [Formatted(45322.75, MOMENT), Formatted(45322, DAY)],
            "TIMESTAMP",
            [dt.datetime(2024, 1, 31, 18), dt.datetime(2024, 1, 31)],
        ),
        (
            [Formatted(45322.5242683912, MOMENT), Formatted(45322.25, DAY)],
            "TIMESTAMP",
            [dt.datetime(2024, 1, 31, 12, 34, 56, 789000), dt.datetime(2024, 1, 31, 6)],
        ),
        (
            [Formatted(0.5, CLOCK), Formatted(0, CLOCK), Formatted(0.9999999999, CLOCK)],
            "TIME",
            [dt.time(12), dt.time(0), dt.time(23, 59, 59, 999000)],
        ),
        ([Formatted(45322.25, CLOCK)], "TIMESTAMP", [dt.datetime(2024, 1, 31, 6)]),
        (
            [Formatted(1.5, ELAPSED), Formatted(-0.25, ELAPSED)],
            "VARCHAR",
            ["36:00:00", "-6:00:00"],
        ),
        ([Formatted(45322, DAY), "n/a", 7], "VARCHAR", ["2024-01-31", "n/a", "7"]),
        ([Formatted(7, '0.00" days"'), Formatted(8, "0.00E+00")], "BIGINT", [7, 8]),
        ([Formatted(2958465, DAY)], "DATE", [dt.date(9999, 12, 31)]),
    ],
)
def test_values_of_each_kind_arrive_with_the_type_of_their_cells(
    tmp_path, con, cells, type_, values
):
    """A column has the type of its cells, whatever their texts look like, and their values."""
    path = save(tmp_path / "a.xlsx", Data=[["n", "v"], *([n, v] for n, v in enumerate(cells))])
    source = connector(path)
    assert types(source) == {"n": "BIGINT", "v": type_}
    read = rows(source, con)
    plain = [cell.value if isinstance(cell, Formula) else cell for cell in cells]
    assert [value for _, value in read] == (plain if values is None else values)


def test_days_of_1904_are_counted_from_there(tmp_path, con):
    """A workbook of an old Mac counts its days from 1904."""
    cells = [[Formatted(days, DAY), Formatted(days + 0.5, MOMENT)] for days in (0, 60, 43860)]
    path = save(tmp_path / "a.xlsx", is_1904=True, Data=[["d", "t"], *cells])
    days = [dt.date(1904, 1, 1), dt.date(1904, 3, 1), dt.date(2024, 1, 31)]
    moments = [dt.datetime.combine(day, dt.time(12)) for day in days]
    assert rows(connector(path), con) == list(zip(days, moments, strict=True))


@pytest.mark.parametrize(
    ("value", "message", "null", "is_null"),
    [
        (Formula("=NA()", "#N/A"), "#N/A is an error, and no value", "#N/A", True),
        (Formula("=1/0", "#DIV/0!"), "#DIV/0! is an error, and no value", "#DIV/0!", True),
        (Formatted(60, DAY), "1900-02-29 is no day of the calendar", "1900-02-29", True),
        (Formatted(0, DAY), "1900-01-00 is no day of the calendar", "1900-01-00", True),
        (Formatted(-3, DAY), "-3 is formatted as a date, and is before", "-3", True),
        (Formatted(2958466, DAY), "2958466 is no day of the calendar", "2958466", True),
        (Formula("=A1", ""), "its formula has no stored value", "", False),
    ],
)
def test_cells_without_a_value_are_refused_by_name(tmp_path, con, value, message, null, is_null):
    """An error, a day that never was, a formula without value: refused by cell, but for null."""
    path = save(tmp_path / "a.xlsx", Orders=[["a", "b"], [1, 2], [3, value]])
    assert f"{path}, sheet Orders, B3: {message}" in refusal(connector(path))
    assert (f'null: ["", "{null}"]' in refusal(connector(path))) is is_null
    if is_null:
        assert rows(connector(path, null=["", null]), con) == [(1, 2), (3, None)]


def test_texts_that_mean_nothing_are_null_where_null_names_them(tmp_path, con):
    """`null` and `empty_as_null` count for texts, and then the column is of the others' type."""
    path = save(tmp_path / "a.xlsx", Data=[["n", "NA"], [1, "NA"], [2, 5], [3, ""], [4, None]])
    assert rows(connector(path), con) == [(1, "NA"), (2, "5"), (3, ""), (4, None)]
    source = connector(path, null=["NA"], empty_as_null=True)
    assert types(source) == {"n": "BIGINT", "NA": "BIGINT"}
    assert rows(source, con) == [(1, None), (2, 5), (3, None), (4, None)]


def test_column_of_one_keeps_its_nulls(tmp_path, con):
    """A row whose only value is NULL by `null:` is a row."""
    path = save(tmp_path / "a.xlsx", Data=[["v"], ["NA"], ["x"], ["NA"]])
    assert rows(connector(path, null="NA"), con) == [(None,), ("x",), (None,)]


@pytest.mark.parametrize(
    ("cells", "options", "read"),
    [
        ([[None], [None, None, "a", "b"], [None], [None, None, 1], [None]], {}, [(1, None)]),
        ([["Report"], ["a", "b"], [1, 2]], {"skip": 1}, [(1, 2)]),
        ([["Report"], [None], ["a", "b"], [1, 2]], {"skip": 2}, [(1, 2)]),
        ([[None, 1], [2, 3, 4]], {"header": False}, [(None, 1, None), (2, 3, 4)]),
        ([["a", None, "c"], [1, 2, 3]], {}, [(1, 2, 3)]),
    ],
)
def test_table_begins_at_its_header(tmp_path, con, cells, options, read):
    """Rows and columns without a value are none; the first row with one is the header."""
    path = save(tmp_path / "a.xlsx", Data=cells)
    assert rows(connector(path, **options), con) == read


def test_names_of_columns(tmp_path, con):
    """Names come from the header: numbered if repeated, `column_2` if missing, from any kind."""
    path = save(tmp_path / "a.xlsx", Data=[["a", None, "A", 2024, "x\ny"], [1, 2, 3, 4, 5]])
    source = connector(path)
    assert list(types(source)) == ["a", "column_2", "A_2", "2024", "x\ny"]
    assert find_stream(source, None).notices == (
        f'{path}, sheet Data: the header names "A" again in column 3, which is "A_2" in the lake',
    )
    assert list(types(connector(path, header=False))) == [f"column_{n}" for n in range(1, 6)]


@pytest.mark.parametrize(
    ("cells", "cell"),
    [([["a", "b"], [1, 2, 3]], "C2"), ([[None, "a"], [None, 1], [0, 1]], "A3")],
)
def test_value_outside_of_the_header_is_refused(tmp_path, cells, cell):
    """A value beside the columns is never dropped."""
    path = save(tmp_path / "a.xlsx", Data=cells)
    assert f"{path}, sheet Data, {cell}: has a value, and the header has" in refusal(
        connector(path)
    )


def test_sheets_are_streams(tmp_path, con):
    """Of several sheets each is a stream; hidden ones are told, and read if they are named."""
    path = tmp_path / "book.xlsx"
    with xlsxwriter.Workbook(path) as book:
        for number_, name in enumerate(["Orders", "売上 2024", "Notes", "Secret"]):
            sheet = book.add_worksheet(name)
            if name != "Notes":
                sheet.write_row(0, 0, ["id"])
                sheet.write_row(1, 0, [number_])
            if name == "Secret":
                sheet.very_hidden()
        book.add_chartsheet("Chart").set_chart(a_chart(book))
    source = connector(tmp_path)
    streams = {stream.name: stream for stream in source.discover()}
    assert {name: stream.table for name, stream in streams.items()} == {
        "book.Orders": "book_Orders",
        "book.売上 2024": "book_売上_2024",
    }
    assert rows(source, con, "book.売上 2024") == [(1,)]
    hidden = f"{path}: hidden sheets are read only if sheet: names them: Secret"
    assert streams["book.Orders"].notices == (hidden,)
    named = connector(tmp_path, sheet="Secret")
    assert [stream.name for stream in named.discover()] == ["book"]
    assert rows(named, con) == [(3,)]
    both = connector(tmp_path, sheet=["Orders", "Secret"], stream="all")
    assert sorted(rows(both, con)) == [(0,), (3,)]
    assert [s.name for s in connector(path, sheet=["Orders", "Secret"]).discover()] == [
        "book.Orders",
        "book.Secret",
    ]
    missing = connector(path, sheet=["Orders", "Ordres"])
    reasons = {stream.name: stream.unreadable_reason for stream in missing.discover()}
    assert reasons["book.Orders"] is None
    assert 'has no sheet "Ordres"; it has Orders, 売上 2024' in reasons["book.Ordres"]
    assert "has no cell with a value" in refusal(connector(path, sheet="Notes"))


def a_chart(book: Any) -> Any:
    chart = book.add_chart({"type": "bar"})
    chart.add_series({"values": "=Orders!$A$2:$A$2"})
    return chart


def test_files_of_one_stream_share_their_types(tmp_path, con):
    """A column that is text in one workbook is text; a lock file of Excel is no workbook."""
    save(tmp_path / "1.xlsx", Data=[["id", "code"], [1, "A7"]])
    save(tmp_path / "2.xlsm", Data=[["id", "code"], [2, 8]])
    write(tmp_path / "~$1.xlsx", b"\x05Ana")
    source = connector(tmp_path, stream="all")
    assert types(source) == {"id": "BIGINT", "code": "VARCHAR"}
    assert sorted(rows(source, con)) == [(1, "A7"), (2, "8")]
    assert rows(source, con, types={"code": "INTEGER"}, only=["id"], where="id = 2") == [(2,)]
    with pytest.raises(ReadError, match='column "code": value "A7" is not exactly a INTEGER'):
        rows(source, con, types={"code": "INTEGER"})
    write(tmp_path / "3.csv", "id,code\n1,2\n")
    assert "is csv, and" in refusal(source) or "is xlsx, and" in refusal(source)


def test_rich_merged_and_formatted_cells(tmp_path, con):
    """Runs are one text, a merged cell is its first one, and a format alone is no value."""
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        bold = book.add_format({"bold": True})
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["a", "b", "c"])
        sheet.write_rich_string(1, 0, "one ", bold, "two", " three")
        sheet.merge_range(2, 0, 2, 1, "merged")
        sheet.write_blank(1, 3, None, bold)
        sheet.write_blank(9, 0, None, bold)
        sheet.set_row(1, None, None, {"hidden": True})
    assert rows(connector(path), con) == [("one two three", None, None), ("merged", None, None)]


CELL = "<row><c><v>1</v></c></row>"


@pytest.mark.parametrize(
    ("xml", "read"),
    [
        ('<c t="inlineStr"><is><t>a</t></is></c>', "a"),
        ('<c t="inlineStr"><is><r><t>a </t></r><r><t>b</t></r><rPh><t>x</t></rPh></is></c>', "a b"),
        ('<c t="inlineStr"><is><t/></is></c>', ""),
        ('<c t="str"><f>""</f><v></v></c>', ""),
        ('<c t="str"><f>""</f></c>', ""),
        ('<c t="str"><v>_xD83D__xDE00_&amp;</v></c>', "\U0001f600&"),
        ('<c t="d"><v>2024-01-31</v></c>', dt.date(2024, 1, 31)),
        ('<c t="d"><v>2024-01-31T12:30:00</v></c>', dt.datetime(2024, 1, 31, 12, 30)),
        ("<c><v>9007199254740993</v></c>", 2**53 + 1),
        ("<c><v>0.30000000000000004</v></c>", Decimal("0.30000000000000004")),
        ("<c><v>0.10000000000000001</v></c>", Decimal("0.1")),
        ('<c r="A7"><v>1</v></c>', 1),
    ],
)
def test_what_others_write(tmp_path, con, xml, read):
    """Cells as other programs write them: texts in place, ISO dates, more digits than a double."""
    header = '<row><c t="inlineStr"><is><t>v</t></is></c></row>'
    path = raw(tmp_path / "a.xlsx", f"{header}<row>{xml}</row>")
    assert rows(connector(path), con) == [(read,)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no whole workbook"),
        (b"PK\x03\x04 cut", "is no whole workbook"),
        (b"id,name\n1,Ana\n", "is no whole workbook (File is not a zip file)"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
            "is protected by a password, or an .xls",
        ),
    ],
)
def test_files_that_are_no_workbook_are_refused(tmp_path, content, message):
    """A file under the name of a workbook is refused by its own."""
    path = write(tmp_path / "a.xlsx", content)
    assert f"{path}: {message}" in refusal(connector(path))


@pytest.mark.parametrize(
    "sheet_data",
    [
        f"{CELL}<row>",
        f'{CELL}<row r="1"><c><v>2</v></c></row>',
        '<row><c r="B1"><v>1</v></c><c r="A1"><v>2</v></c></row>',
        f'{CELL}<row><c t="s"><v>4</v></c></row>',
        f'{CELL}<row><c t="b"><v>yes</v></c></row>',
        f"{CELL}<row><c><v>one</v></c></row>",
        f'{CELL}<row><c s="9"><v>1</v></c></row>',
        f'{CELL}<row><c t="str"><v>_xD83D_</v></c></row>',
        f"{CELL}<row><c><v>nan</v></c></row>",
    ],
)
def test_damaged_sheets_are_refused(tmp_path, sheet_data):
    """XML that ends early, cells twice or out of order, numbers that are none: nothing is kept."""
    path = raw(tmp_path / "a.xlsx", sheet_data)
    assert str(path) in refusal(connector(path))
    assert "is no whole workbook" in refusal(connector(path)) or "nan is no number" in refusal(
        connector(path)
    )


def test_entities_are_refused(tmp_path):
    """A document type, by which XML grows without end or names other files, is refused."""
    bomb = f'<!DOCTYPE x [<!ENTITY a "aaaa">]><worksheet xmlns="{MAIN}"/>'
    path = raw(tmp_path / "a.xlsx", "", **{"xl/sheet.xml": bomb})
    assert "a document type, which no workbook has" in refusal(connector(path))


def test_every_cut_workbook_is_refused(tmp_path):
    """A workbook that is cut off anywhere, or whose bytes changed, is never read in part."""
    whole = save(io.BytesIO(), Data=[["a", "b"], *([n, f"text {n}"] for n in range(50))]).getvalue()
    for end in range(0, len(whole) - 1, 401):
        path = write(tmp_path / "a.xlsx", whole[:end])
        assert "is no whole workbook" in refusal(connector(path))
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        start = archive.getinfo("xl/worksheets/sheet1.xml").header_offset + 80
    broken = (
        whole[:start] + bytes(byte ^ 1 for byte in whole[start : start + 4]) + whole[start + 4 :]
    )
    assert "is no whole workbook" in refusal(connector(write(tmp_path / "b.xlsx", broken)))


def test_texts_have_a_limit(tmp_path, monkeypatch):
    """A workbook with more text than fits into memory is refused, and not read until it is full."""
    monkeypatch.setattr(workbook, "_MOST_TEXT", 1000)
    path = save(tmp_path / "a.xlsx", Data=[[f"text {n}" for n in range(200)]])
    assert f"{path}: has more than 1,000 characters of text" in refusal(connector(path))


def test_keys_of_the_path_are_columns_of_a_workbook(tmp_path, con):
    """Folders called key=value count for workbooks too."""
    (tmp_path / "year=2024").mkdir()
    save(tmp_path / "year=2024/a.xlsx", Data=[["id"], [1]])
    assert rows(connector(f"{tmp_path}/**/*.xlsx"), con) == [(1, 2024)]


def test_workbook_that_changes_is_read_again(tmp_path, con):
    """A saved workbook is another file; one that is saved during the read fails."""
    path = save(tmp_path / "a.xlsx", Data=[["a"], [1]])
    source = connector(path)
    assert rows(source, con) == [(1,)]
    save(path, Data=[["a"], ["x"], ["y"]])
    assert rows(source, con) == [("x",), ("y",)]


def test_format_says_what_an_extension_does_not(tmp_path, con):
    """`format: xlsx` reads a file of any name; a sheet without a name is refused."""
    path = save(tmp_path / "a.bin", Data=[["a"], [1]])
    with pytest.raises(ConnectError, match='Set "format: csv", tsv, jsonl, parquet or xlsx'):
        connector(path).check()
    assert rows(connector(path, format="XLSM"), con) == [(1,)]
    with pytest.raises(ValidationError):
        FilesOptions.model_validate({"path": "a", "sheet": [""]})


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("General", Shown.NUMBER),
        ("0.00", Shown.NUMBER),
        ("0.00E+00", Shown.NUMBER),
        ('#,##0.00 "days";[Red]-#,##0.00 "days"', Shown.NUMBER),
        (r"0\d", Shown.NUMBER),
        ("[$€-407] #,##0.00", Shown.NUMBER),
        ('_-* #,##0.00 "h"_-', Shown.NUMBER),
        ("yyyy", Shown.DAY),
        ("mmm", Shown.DAY),
        ("mmmm yy", Shown.DAY),
        ("[$-F800]dddd, mmmm dd, yyyy", Shown.DAY),
        ("dd.mm.yyyy;@", Shown.DAY),
        ('yyyy"年"m"月"d"日"', Shown.DAY),
        ("mm:ss", Shown.TIME),
        ("h:mm AM/PM", Shown.TIME),
        ("[$-F400]h:mm:ss AM/PM", Shown.TIME),
        ("mm:ss.0", Shown.TIME),
        ("d/m/yy h:mm", Shown.DAY | Shown.TIME),
        ("mmm hh:mm", Shown.DAY | Shown.TIME),
        ("[h]:mm:ss", Shown.ELAPSED),
        ("[mm]:ss", Shown.ELAPSED),
        ("[SS].00", Shown.ELAPSED),
        ("[Red]0", Shown.NUMBER),
    ],
)
def test_number_format_tells_days_and_times(code, shown):
    """A format shows a day, a time, a duration or a number, by what in it is no literal text."""
    assert shown_by(164, code) == shown


def test_built_in_formats():
    """Formats without a code are known by their number."""
    assert [shown_by(id_, None) for id_ in (0, 14, 20, 22, 46, 49)] == [
        Shown.NUMBER,
        Shown.DAY,
        Shown.TIME,
        Shown.DAY | Shown.TIME,
        Shown.ELAPSED,
        Shown.NUMBER,
    ]


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_text_of_a_double_is_that_double(double):
    """The text of a number is the shortest one that is this double."""
    value = number(repr(double), Shown.NUMBER, is_1904=False)
    assert value.kind == Kind.NUMBER
    assert float(value.text) == double
    assert len(re.sub(r"e.*|[^0-9]", "", value.text).strip("0")) <= 17


@given(st.integers(61 * 86_400_000, 2958465 * 86_400_000 + 86_399_999))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_every_millisecond_is_itself(milliseconds):
    """A moment that is stored as days with 17 digits comes back to the millisecond."""
    value = number(repr(milliseconds / 86_400_000), Shown.DAY | Shown.TIME, is_1904=False)
    expected = dt.datetime(1899, 12, 30) + dt.timedelta(milliseconds=milliseconds)
    assert not value.fault
    assert dt.datetime.fromisoformat(value.text) == expected


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(-1e15, 1e15).filter(lambda x: math.isclose(x, float(f"{x:.15g}"), rel_tol=0)),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0￾￿"), max_size=8),
)


@given(st.lists(st.tuples(scalars, scalars, scalars), min_size=1, max_size=30))
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_cells_are_what_is_read(tmp_path, con, cells):
    """Whatever a workbook has in its cells is in the rows, and nothing else."""
    path = save(tmp_path / "a.xlsx", Data=[["a", "b", "c"], *map(list, cells)])
    read = rows(connector(path), con)
    expected = [row for row in cells if any(value is not None for value in row)]
    assert len(read) == len(expected)
    for read_row, row in zip(read, expected, strict=True):
        for got, cell in zip(read_row, row, strict=True):
            assert same(got, cell), (read_row, row)


def same(got: Any, cell: Any) -> bool:
    """Whether a value is a cell's: itself, or its text in a column of several kinds."""
    if isinstance(got, str) and not isinstance(cell, str):
        if isinstance(cell, bool):
            return got == str(cell).lower()
        return cell is not None and float(got) == cell
    if isinstance(got, Decimal):
        return float(got) == cell
    return got == cell and isinstance(got, bool) == isinstance(cell, bool)
