"""The records of a CSV text, one by one, for dialects that DuckDB does not read exactly.

Measured with DuckDB 1.5.5: it drops a backslash in quotes before any other character, cuts a value
at the sign of a comment, and loses rows where a line that it skips has a quote in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)")
_LONGEST = 1 << 24  # characters of a record, as many as DuckDB takes


@dataclass(frozen=True, slots=True)
class RecordRules:
    """The signs by which a text is divided into records.

    An `escape` counts in quotes, before a quote or itself. Without `quote` it counts everywhere,
    also before a delimiter or a line end. A line that begins with `comment` is no record.
    """

    delimiter: str
    quote: str = '"'
    escape: str = ""
    comment: str = ""
    nulls: tuple[str, ...] = ("",)


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it is in the file: the line where it begins, its text, and its fields.

    `fault` tells why it cannot be divided into fields. A field is None where it is NULL.
    """

    line: int
    text: str
    fields: tuple[str | None, ...] = ()
    fault: str = ""

    @property
    def is_blank(self) -> bool:
        """Whether the record is an empty line."""
        return not self.text.rstrip("\r\n")


def read_records(blocks: Iterable[str], rules: RecordRules) -> Iterator[Record]:
    """Yield every record of a text; after a quote that is never closed, the next line is one."""
    return _Reader(blocks, rules).records()


class _FaultError(Exception):
    """A record that cannot be divided into fields."""


class _Reader:
    def __init__(self, blocks: Iterable[str], rules: RecordRules) -> None:
        self._lines = read_lines(blocks)
        self._waiting: list[str] = []  # lines that were looked at, in reverse order
        self._rules = rules
        self._delimiter, self._quote = rules.delimiter, rules.quote
        self._quoted = _quoted_pattern(rules)
        self._line = 0
        self._text = ""

    def records(self) -> Iterator[Record]:
        rules = self._rules
        special = [sign for sign in (rules.quote, rules.escape) if sign]
        while self._next_line():
            text, line = self._text, self._line
            if rules.comment and text.startswith(rules.comment):
                continue
            if not any(sign in text for sign in special):
                values = text.rstrip("\r\n").split(self._delimiter)
                yield Record(line, text, tuple(map(self._null_or_text, values)))
                continue
            try:
                fields = tuple(self._fields())
                yield Record(line, self._text, fields)
            except _FaultError as fault:
                yield Record(line, self._text, fault=str(fault))

    def _next_line(self) -> bool:
        self._text = self._waiting.pop() if self._waiting else next(self._lines, "")
        self._line += bool(self._text)
        return bool(self._text)

    def _more(self) -> bool:
        """Add the next line to the record; False at the end of the text."""
        if len(self._text) > _LONGEST:
            return False
        text = self._text
        has_line = self._next_line()
        self._text = text + self._text
        return has_line

    def _null_or_text(self, field: str) -> str | None:
        return None if field in self._rules.nulls else field

    def _fields(self) -> Iterator[str | None]:
        position = 0
        while True:
            if self._quote and self._text.startswith(self._quote, position):
                field, position = self._quoted_field(position + 1)
                yield field
            elif not self._quote:
                raw, position = self._escaped_field(position)
                yield None if raw in self._rules.nulls else self._unescaped(raw)
            else:
                start, position = position, self._end_of_field(position)
                yield self._null_or_text(self._plain(self._text[start:position]))
            rest = self._text[position : position + 1]
            if rest in ("", "\r", "\n"):
                return
            if rest != self._delimiter:
                raise _FaultError("text follows a closing quote")
            position += 1

    def _end_of_field(self, position: int) -> int:
        end = self._text.find(self._delimiter, position)
        return end if end >= 0 else len(self._text.rstrip("\r\n"))

    def _plain(self, field: str) -> str:
        escape = self._rules.escape
        if escape and escape + self._quote in field:
            raise _FaultError(f"{escape}{self._quote} outside of quotes")
        return field

    def _quoted_field(self, start: int) -> tuple[str, int]:
        """Return a field in quotes, and the position behind the closing one."""
        first_text, first_line, position = self._text, self._line, start
        lines = [self._text]
        while True:
            match = self._quoted.match(self._text, position)
            if match is not None and match["end"]:
                return self._unquoted(self._text[start : match.end() - 1]), match.end()
            position = match.end() if match is not None else position
            length = len(self._text)
            if not self._more():
                self._go_back(first_text, first_line, lines[1:])
                raise _FaultError("a quote is not closed")
            lines.append(self._text[length:])

    def _go_back(self, text: str, line: int, lines: list[str]) -> None:
        self._text, self._line = text, line
        self._waiting += reversed(lines)

    def _unquoted(self, inner: str) -> str:
        quote, escape = self._quote, self._rules.escape
        if not escape:
            return inner.replace(quote + quote, quote)
        return self._unescaped(inner)

    def _escaped_field(self, start: int) -> tuple[str, int]:
        """Return a field of a text without quotes, with its escapes, and the position behind it."""
        escape, position = self._rules.escape, start
        while True:
            end = self._end_of_field(position)
            mark = self._text.find(escape, position, end) if escape else -1
            if mark < 0:
                return self._text[start:end], end
            position = mark + 2
            if self._text[mark + 1 : mark + 3] == "\r\n":
                position += 1
            if position >= len(self._text) and not self._more():
                return self._text[start:], len(self._text)

    def _unescaped(self, text: str) -> str:
        escape = self._rules.escape
        if not escape or escape not in text:
            return text
        allowed = (
            {escape, self._quote} if self._quote else {escape, self._delimiter, "\r", "\n", '"'}
        )
        parts = []
        start = 0
        while (mark := text.find(escape, start)) >= 0:
            following = text[mark + 1 : mark + 2]
            if following not in allowed:
                raise _FaultError(f"{escape}{following} is no escape that is known")
            parts += [text[start:mark], following]
            start = mark + 2
        return "".join([*parts, text[start:]])


def _quoted_pattern(rules: RecordRules) -> re.Pattern[str]:
    """Return the pattern of a quoted field from any place in it, with the closing quote as `end`.

    It stops at the end of a line, before a quote or an escape that may be the first of two.
    """
    quote, escape = re.escape(rules.quote), re.escape(rules.escape)
    if not rules.quote:
        return re.compile("(?P<end>)")
    if rules.escape:
        inner = f"[^{quote}{escape}]+|{escape}."
        return re.compile(f"(?:{inner})*+(?P<end>{quote})?", re.DOTALL)
    return re.compile(f"(?:[^{quote}]+|{quote}{quote})*+(?P<end>{quote})?", re.DOTALL)


def read_lines(blocks: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a text, each with its end: LF, CR LF or CR."""
    rest = ""
    for block in blocks:
        text = rest + block
        end = 0
        for match in _LINE.finditer(text, 0, len(text) - text.endswith("\r")):
            end = match.end()
            yield match[0]
        rest = text[end:]
    if rest:
        yield from _LINE.findall(rest) or [rest]
