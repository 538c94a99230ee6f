"""A workbook (.xlsx, .xlsm): its sheets, and the values of their cells, row by row.

Read here and not by a library, because those for Python lose values: python-calamine 0.9.1 reads
an error (#N/A) as an empty cell, openpyxl 3.1.5 takes `x005F_` out of texts, and both make two days
of 1900 one. A workbook is a zip of XML (ECMA-376 part 1, 18). Rows are streamed; the distinct texts
of all sheets are held in memory, up to a limit.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import IO, TYPE_CHECKING, NamedTuple
from xml.parsers import expat  # a doctype, and with it any entity, is refused below

from cdpsync.errors import ReadError
from cdpsync_connectors.files.workbook_values import (
    Kind,
    Shown,
    Value,
    iso_moment,
    number,
    shown_by,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_BLOCK = 1 << 16
_MOST_TEXT = 200_000_000  # characters of the distinct texts, which are held in memory
_OLE = b"\xd0\xcf\x11\xe0"  # what an encrypted workbook and an .xls begin with
_ESCAPE = re.compile(r"(?:_x[0-9A-Fa-f]{4}_)+")
_NO_VALUE = "its formula has no stored value. Open the workbook in Excel, and save it"
_DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    expat.ExpatError,
    EOFError,
    KeyError,
    IndexError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


class Cell(NamedTuple):
    """A cell that has a value, by its column, from 1."""

    column: int
    value: Value


@dataclass(frozen=True, slots=True)
class Sheet:
    """A worksheet: its name, its part of the archive, and whether a user sees it."""

    name: str
    part: str
    is_visible: bool


@contextmanager
def open_workbook(path: str) -> Iterator[Workbook]:
    """Lend a workbook. Raises ReadError, with the path, if it is damaged or encrypted."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield Workbook(path, archive)
    except _DAMAGES as error:
        raise ReadError(f"{path}: {_damage(path, error)}") from error


def _damage(path: str, error: Exception) -> str:
    with open(path, "rb") as content:  # noqa: PTH123 - a path as it was given
        if content.read(4) == _OLE:
            return (
                "is protected by a password, or an .xls under another name. Save it as an .xlsx "
                "without a password."
            )
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"is no whole workbook ({reason[:120]}). Save or copy it anew."


def address(row: int, column: int) -> str:
    """Return the name of a cell, such as C7."""
    letters = ""
    while column:
        column, letter = divmod(column - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return f"{letters}{row}"


class _Element(NamedTuple):
    parents: tuple[str, ...]
    name: str
    attributes: dict[str, str]


@dataclass
class Workbook:
    """An open workbook."""

    path: str
    _archive: zipfile.ZipFile
    _is_1904: bool = field(default=False, init=False)

    @cached_property
    def sheets(self) -> tuple[Sheet, ...]:
        """The worksheets, in the order of the workbook."""
        targets = {
            element.attributes["id"]: (element.attributes["type"], element.attributes["target"])
            for element in self._related
        }
        sheets = []
        for element in _elements(self._archive, self._part):
            if element.name == "workbookPr":
                self._is_1904 = element.attributes.get("date1904") in {"1", "true"}
            if element.name == "sheet" and element.parents[-1:] == ("sheets",):
                type_, target = targets[element.attributes["id"]]
                if type_ == "worksheet":
                    is_visible = element.attributes.get("state", "visible") == "visible"
                    sheets.append(Sheet(element.attributes["name"], target, is_visible))
        return tuple(sheets)

    def has_value(self, sheet: Sheet) -> bool:
        """Whether a sheet has a cell with a value."""
        return next(self.rows(sheet, are_texts_needed=False), None) is not None

    def rows(
        self, sheet: Sheet, *, are_texts_needed: bool = True
    ) -> Iterator[tuple[int, list[Cell]]]:
        """Yield number and cells of each row that has a value."""
        texts = self._texts if are_texts_needed else None
        reader = _RowReader(texts, self._formats, is_1904=self._is_1904)
        with self._archive.open(sheet.part) as content:
            for _ in _parse(content, reader.start, reader.end, reader.text):
                yield from reader.taken_rows()

    @cached_property
    def _part(self) -> str:
        for element in _elements(self._archive, "_rels/.rels"):
            if element.attributes.get("Type", "").endswith("/officeDocument"):
                return element.attributes["Target"].lstrip("/")
        raise ValueError("it has no workbook in it")

    @cached_property
    def _related(self) -> tuple[_Element, ...]:
        """The parts that the workbook names, with type and target as of the archive."""
        folder, name = posixpath.split(self._part)
        related = []
        for element in _elements(self._archive, f"{folder}/_rels/{name}.rels".lstrip("/")):
            if element.name == "Relationship":
                target = element.attributes["Target"]
                part = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
                type_ = element.attributes["Type"].rpartition("/")[2]
                attributes = {"id": element.attributes["Id"], "type": type_, "target": part}
                related.append(_Element((), type_, attributes))
        return tuple(related)

    def _part_of_type(self, type_: str) -> str | None:
        return next((e.attributes["target"] for e in self._related if e.name == type_), None)

    @cached_property
    def _texts(self) -> Sequence[str]:
        """The texts that cells name by number."""
        part = self._part_of_type("sharedStrings")
        if part is None:
            return ()
        reader = _TextReader()
        with self._archive.open(part) as content:
            for _ in _parse(content, reader.start, reader.end, reader.text):
                if reader.length > _MOST_TEXT:
                    raise ReadError(
                        f"{self.path}: has more than {_MOST_TEXT:,} characters of text, and those "
                        "of a workbook are held in memory. Save its sheets as CSV."
                    )
        return reader.texts

    @cached_property
    def _formats(self) -> Sequence[Shown]:
        """What the format of each style shows."""
        part = self._part_of_type("styles")
        if part is None:
            return ()
        codes: dict[int, str] = {}
        ids = []
        for element in _elements(self._archive, part):
            if element.name == "numFmt" and element.parents[-1:] == ("numFmts",):
                codes[int(element.attributes["numFmtId"])] = element.attributes["formatCode"]
            if element.name == "xf" and element.parents[-1:] == ("cellXfs",):
                ids.append(int(element.attributes.get("numFmtId", "0")))
        return [shown_by(id_, codes.get(id_)) for id_ in ids]


class _TextReader:
    """The shared texts: the runs of each as one text, without the reading aids of East Asia."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.length = 0
        self._runs: list[str] = []
        self._is_text = False
        self._aids = 0

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        if name == "si":
            self._runs = []
        self._aids += name == "rPh"
        self._is_text = name == "t" and not self._aids

    def text(self, text: str) -> None:
        if self._is_text:
            self._runs.append(text)

    def end(self, name: str) -> None:
        self._is_text = False
        self._aids -= name == "rPh"
        if name == "si":
            self.texts.append(_unescaped("".join(self._runs)))
            self.length += len(self.texts[-1]) + 8


class _RowReader:
    """The rows of a sheet. Without `texts` those of the workbook are read as empty texts."""

    def __init__(
        self, texts: Sequence[str] | None, formats: Sequence[Shown], *, is_1904: bool
    ) -> None:
        self._texts, self._formats, self._is_1904 = texts, formats, is_1904
        self._rows: list[tuple[int, list[Cell]]] = []
        self._row = self._column = 0
        self._cells: list[Cell] = []
        self._attributes: dict[str, str] = {}
        self._has_formula = False
        self._pieces: list[str] | None = None
        self._value: str | None = None
        self._aids = 0

    def taken_rows(self) -> list[tuple[int, list[Cell]]]:
        """Return the rows since the last call."""
        rows, self._rows = self._rows, []
        return rows

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "row":
            self._row = _later(self._row, int(attributes.get("r", self._row + 1)))
            self._column, self._cells = 0, []
        elif name == "c":
            reference = attributes.get("r")
            own_column = self._column + 1 if reference is None else _column(reference)
            self._column = _later(self._column, own_column)
            self._attributes, self._has_formula, self._value = attributes, False, None
        elif name == "f":
            self._has_formula = True
        elif name == "rPh":
            self._aids += 1
        elif name == "v" or (name == "t" and not self._aids):
            self._pieces = []

    def text(self, text: str) -> None:
        if self._pieces is not None:
            self._pieces.append(text)

    def end(self, name: str) -> None:
        if name in {"v", "t"} and self._pieces is not None:
            self._value = (self._value or "") + "".join(self._pieces)
            self._pieces = None
        elif name == "rPh":
            self._aids -= 1
        elif name == "c":
            value = self._cell_value()
            if value is not None:
                self._cells.append(Cell(self._column, value))
        elif name == "row" and self._cells:
            self._rows.append((self._row, self._cells))

    def _cell_value(self) -> Value | None:
        raw, type_ = self._value, self._attributes.get("t", "n")
        if not raw and type_ in {"str", "inlineStr"} and (raw is not None or self._has_formula):
            return Value(Kind.TEXT, "")
        if not raw:
            return Value(Kind.NONE, "", _NO_VALUE) if self._has_formula else None
        if type_ == "n":
            style = int(self._attributes.get("s", "0"))
            shown = self._formats[style] if self._formats or style else Shown.NUMBER
            return number(raw, shown, is_1904=self._is_1904)
        if type_ == "s":
            return Value(Kind.TEXT, "" if self._texts is None else self._texts[int(raw)])
        if type_ == "b":
            return Value(Kind.BOOLEAN, {"1": "true", "0": "false"}[raw])
        if type_ == "e":
            return Value(Kind.TEXT, raw, f"{raw} is an error, and no value")
        if type_ == "d":
            return iso_moment(raw)
        return Value(Kind.TEXT, _unescaped(raw))


def _later(last: int, new: int) -> int:
    if new <= last:
        raise ValueError("its rows or cells are out of order")
    return new


def _column(reference: str) -> int:
    """Return the column of a cell's name, from 1."""
    return _number_of(reference.rstrip("0123456789"))


@lru_cache(maxsize=1 << 14)
def _number_of(letters: str) -> int:
    number_ = 0
    for letter in letters:
        number_ = number_ * 26 + ord(letter) - ord("A") + 1
    return number_


def _unescaped(text: str) -> str:
    """Return a text with the characters for which XML has no sign, such as `_x000D_`."""
    return _ESCAPE.sub(_unescaped_run, text) if "_x" in text else text


def _unescaped_run(match: re.Match[str]) -> str:
    codes = (int(code[1:], 16) for code in match[0].split("_") if code.startswith("x"))
    units = b"".join(code.to_bytes(2, "little") for code in codes)
    return units.decode("utf-16-le")


def _elements(archive: zipfile.ZipFile, part: str) -> Iterator[_Element]:
    """Yield the elements of a small part, each behind its parent."""
    parents: list[str] = []
    elements: list[_Element] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        own = {_local(key): value for key, value in attributes.items()}
        elements.append(_Element(tuple(parents), name, own))
        parents.append(name)

    def end(_name: str) -> None:
        parents.pop()

    with archive.open(part) as content:
        for _ in _parse(content, start, end, lambda _text: None):
            yield from elements
            elements.clear()


def _parse(
    content: IO[bytes],
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None],
    text: Callable[[str], None],
) -> Iterator[None]:
    """Hand the elements of XML over, by their names without namespace; yield after each block."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = lambda name, attributes: start(_local(name), attributes)
    parser.EndElementHandler = lambda name: end(_local(name))
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    while block := content.read(_BLOCK):
        parser.Parse(block, False)
        yield
    parser.Parse(b"", True)
    yield


@lru_cache(maxsize=256)
def _local(name: str) -> str:
    """Return a name without its namespace."""
    return name.rpartition(" ")[2]


def _refuse_doctype(*_declaration: object) -> None:
    raise ValueError("a document type, which no workbook has")
