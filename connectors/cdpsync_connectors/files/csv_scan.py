"""A strict scan of one CSV, in Python: slow, but it knows the line of the first fault.

It names the line of a file that was refused, and judges a file whose line ends only DuckDB's
lenient mode reads.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync_connectors.files.compressed import open_content

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cdpsync_connectors.files.csv import Dialect

NOT_CLOSED = "a quote is not closed, or text follows a closing quote"
NOT_ENCODED = "not in the encoding that was set (encoding: utf-8, utf-16, latin-1)"
BEYOND_UTF16 = "a letter beyond U+FFFF, which is read in UTF-8 only. Save the file as UTF-8"
SPACE_AT_QUOTE = "a space stands between a quote and the separator"

_CODECS = {"utf-16": "utf-16-le"}
# DuckDB 1.5.5 refuses these letters.
_UNREAD_LETTERS = {"latin-1": "\x80-\x9f", "utf-16": "\U00010000-\U0010ffff"}
_NO_LETTER = "\ud800"  # stands for bytes that are not in the encoding; no decoder returns it
_END_NAMES = {"\n": "LF", "\r\n": "CR LF", "\r": "CR"}


def _mark(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        return _NO_LETTER, error.end
    raise error


codecs.register_error("cdpsync-mark", _mark)


@dataclass(frozen=True, slots=True)
class Fault:
    """A line of a file, and what is wrong there."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """The result for a file: the end of its records (empty for a single one), or a fault."""

    line_end: str
    fault: Fault | None = None


def scan(path: str, dialect: Dialect) -> Scan | None:
    """Return the first fault of a file; None if its compression cannot be undone here."""
    with _lines(path, dialect) as lines:
        return None if lines is None else _Scanner(dialect).run(lines)


def first_record(path: str, dialect: Dialect) -> list[str] | None:
    """Return the fields of a valid first record with their own line ends; None as above."""
    with _lines(path, dialect) as lines:
        if lines is None:
            return None
        first_line = lines.readline().removeprefix("\ufeff")
        rest = itertools.chain([first_line], lines)
        return next(csv.reader(rest, delimiter=dialect.delimiter, strict=True))


@contextmanager
def _lines(path: str, dialect: Dialect) -> Iterator[io.TextIOWrapper | None]:
    with open_content(path) as content:
        if content is None:
            yield None
            return
        codec = _CODECS.get(dialect.encoding, dialect.encoding)
        with io.TextIOWrapper(content, codec, "cdpsync-mark", newline="") as lines:
            yield lines


def fault_error(path: str, result: Scan | None, detail: str = "") -> ReadError | None:
    """Return the error about the fault that a scan found; None if it found none."""
    if result is None or result.fault is None:
        return None
    return ReadError(
        f"{path}, line {result.fault.line}: {result.fault.reason}{detail}. Nothing of the stream "
        "was kept; fix the line."
    )


class _Scanner:
    """The state of a scan: the width and the line end that all records must have."""

    def __init__(self, dialect: Dialect) -> None:
        self._delimiter = dialect.delimiter
        self._bare_text = re.compile(f"[^{re.escape(dialect.delimiter)}\r\n]*")
        unread_letters = _UNREAD_LETTERS.get(dialect.encoding, "")
        self._no_letter = re.compile(f"[{_NO_LETTER}{unread_letters}]")
        self._width = 0
        self._line_end = ""

    def run(self, lines: Iterable[str]) -> Scan:
        """Return the first fault of these lines, which have their ends."""
        fields, quoted, first = 0, False, 1
        for number, text in enumerate(lines, start=1):
            line = text.removeprefix("\ufeff") if number == 1 else text
            if letter := self._no_letter.search(line):
                beyond = letter[0] > "\uffff"
                return self._found(number, BEYOND_UTF16 if beyond else NOT_ENCODED)
            if not quoted:
                fields, first = 0, number
            ended, quoted, reason = self._read(line, quoted=quoted)
            fields += ended
            if reason:
                return self._found(number, reason)
            if not quoted and (reason := self._fault_of_record(fields, line, number - first)):
                return self._found(first if "fields" in reason else number, reason)
        return self._found(first, NOT_CLOSED) if quoted else Scan(self._line_end)

    def _found(self, line: int, reason: str) -> Scan:
        return Scan(self._line_end, Fault(line, reason))

    def _read(self, line: str, *, quoted: bool) -> tuple[int, bool, str | None]:
        """Return how many fields end in a line, whether a quote is open at its end, and a fault."""
        if not quoted and '"' not in line:
            return line.count(self._delimiter) + 1, False, None
        fields = at = 0
        while True:
            if not quoted and self._delimiter != " " and line.startswith(' "', at):
                return fields, False, SPACE_AT_QUOTE
            is_quoted = quoted or line.startswith('"', at)
            if is_quoted:
                at = _closing_quote(line, at if quoted else at + 1)
                if at < 0:
                    return fields, True, None
                quoted = False
            end = self._end_of_text(line, at)
            if is_quoted and end > at:
                return fields, False, NOT_CLOSED if line[at:end].strip(" ") else SPACE_AT_QUOTE
            fields += 1
            if not line.startswith(self._delimiter, end):
                return fields, False, None
            at = end + 1

    def _end_of_text(self, line: str, at: int) -> int:
        match = self._bare_text.match(line, at)
        return match.end() if match else at

    def _fault_of_record(self, fields: int, last_line: str, more_lines: int) -> str | None:
        text = last_line.rstrip("\r\n")
        line_end = last_line[len(text) :]
        self._line_end = self._line_end or line_end
        if line_end not in ("", self._line_end):
            return (
                f"a line end or a quote is out of place: this line ends in {_END_NAMES[line_end]}, "
                f"the first one in {_END_NAMES[self._line_end]}. Use one kind of line end "
                "throughout"
            )
        self._width = self._width or fields
        is_empty = not text and not more_lines
        if fields == self._width or is_empty:
            return None
        return f"{fields} fields where there should be {self._width}"


def _closing_quote(line: str, at: int) -> int:
    """Return the place behind the quote that closes a field; -1 if none does."""
    while (end := line.find('"', at)) >= 0:
        if not line.startswith('"', end + 1):
            return end + 1
        at = end + 2
    return -1
