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

SPACE_AT_QUOTE = "a space stands between a quote and the delimiter"


@dataclass(frozen=True, slots=True)
class RecordRules:
    """The signs by which a text is divided into records.

    An `escape` counts in quotes, before a quote or itself. Without `quote` it counts everywhere,
    also before a delimiter or a line end. A line that begins with `comment` is no record. Without
    `spaces_at_quotes` a space between a quote and the delimiter is a fault, else it is text.
    """

    delimiter: str
    quote: str = '"'
    escape: str = ""
    comment: str = ""
    nulls: tuple[str, ...] = ("",)
    spaces_at_quotes: bool = True


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
        return not self.without_end

    @property
    def without_end(self) -> str:
        """The text without the line end behind it."""
        return self.text.rstrip("\r\n")

    @property
    def end(self) -> str:
        """The line end behind the record; empty at the end of a text."""
        return self.text[len(self.without_end) :]


def read_records(blocks: Iterable[str], rules: RecordRules) -> Iterator[Record]:
    """Yield every record of a text; after a quote that is never closed, the next line is one."""
    return _Reader(blocks, rules).records()


class _FaultError(Exception):
    """A record that cannot be divided into fields."""


class _Reader:
    """The state of a read. Each line is looked at twice at most, so the work is linear.

    Only a quote that is never closed makes lines be read again. From its place on, quotes are in
    pairs, so that no later field in quotes goes on beyond its line.
    """

    def __init__(self, blocks: Iterable[str], rules: RecordRules) -> None:
        self._lines = read_lines(blocks)
        self._waiting: list[str] = []  # lines that were looked at, in reverse order
        self._earlier: list[str] = []  # the lines of the record before the present one
        self._size = 0  # their characters
        self._rules = rules
        self._delimiter, self._quote = rules.delimiter, rules.quote
        self._quoted = _quoted_pattern(rules)
        self._line = 0
        self._text = ""

    def records(self) -> Iterator[Record]:
        rules = self._rules
        special = [sign for sign in (rules.quote, rules.escape) if sign]
        while self._next_line():
            self._earlier, self._size = [], 0
            text, line = self._text, self._line
            if rules.comment and text.startswith(rules.comment):
                continue
            if not any(sign in text for sign in special):
                values = text.rstrip("\r\n").split(self._delimiter)
                yield Record(line, text, tuple(map(self._null_or_text, values)))
                continue
            try:
                fields = tuple(self._fields())
                yield Record(line, self._record(), fields)
            except _FaultError as fault:
                yield Record(line, self._record(), fault=str(fault))

    def _record(self) -> str:
        return "".join([*self._earlier, self._text])

    def _next_line(self) -> bool:
        self._text = self._waiting.pop() if self._waiting else next(self._lines, "")
        self._line += bool(self._text)
        return bool(self._text)

    def _more(self) -> bool:
        """Go on to the record's next line; False at the end of the text, or of what is tried."""
        self._size += len(self._text)
        self._earlier.append(self._text)
        if self._size <= _LONGEST and self._next_line():
            return True
        self._text = self._earlier.pop()
        self._size -= len(self._text)
        return False

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
                end = self._end_of_field(position)
                is_space = not self._text[position:end].strip(" ")
                raise _FaultError(SPACE_AT_QUOTE if is_space else "text follows a closing quote")
            position += 1

    def _end_of_field(self, position: int) -> int:
        end = self._text.find(self._delimiter, position)
        return end if end >= 0 else len(self._text.rstrip("\r\n"))

    def _plain(self, field: str) -> str:
        escape = self._rules.escape
        if not self._rules.spaces_at_quotes and field.startswith(" " + self._quote):
            raise _FaultError(SPACE_AT_QUOTE)
        if escape and escape + self._quote in field:
            raise _FaultError(f"{escape}{self._quote} outside of quotes")
        return field

    def _quoted_field(self, start: int) -> tuple[str, int]:
        """Return a field in quotes, and the position behind the closing one."""
        first = len(self._earlier)
        parts: list[str] = []
        while True:
            match = self._quoted.match(self._text, start)
            if match is not None and match["end"]:
                parts.append(self._text[start : match.end() - 1])
                return self._unquoted("".join(parts)), match.end()
            parts.append(self._text[start:])
            start = 0
            if not self._more():
                self._go_back(first)
                raise _FaultError("a quote is not closed")

    def _go_back(self, first: int) -> None:
        """Make a line of the record the present one again; those behind it are still to be read."""
        text, *lines = [*self._earlier[first:], self._text]
        del self._earlier[first:]
        self._text = text
        self._line -= len(lines)
        self._waiting += reversed(lines)

    def _unquoted(self, inner: str) -> str:
        quote, escape = self._quote, self._rules.escape
        if not escape:
            return inner.replace(quote + quote, quote)
        return self._unescaped(inner)

    def _escaped_field(self, start: int) -> tuple[str, int]:
        """Return a field of a text without quotes, with its escapes, and the position behind it."""
        escape, position = self._rules.escape, start
        parts: list[str] = []
        while True:
            end = self._end_of_field(position)
            mark = self._text.find(escape, position, end) if escape else -1
            if mark < 0:
                return "".join([*parts, self._text[start:end]]), end
            position = mark + 2
            if self._text[mark + 1 : mark + 3] == "\r\n":
                position += 1
            if position < len(self._text):
                continue
            parts.append(self._text[start:])
            if not self._more():
                if self._size + len(self._text) > _LONGEST:
                    raise _FaultError("longer than 16 MB")
                return "".join(parts), len(self._text)
            start = position = 0

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
    rest: list[str] = []  # of a line whose end was not read yet
    for block in blocks:
        if "\n" not in block and "\r" not in block and not (rest and rest[-1].endswith("\r")):
            rest += [block] * bool(block)
            continue
        text = "".join([*rest, block])
        end = 0
        for match in _LINE.finditer(text, 0, len(text) - text.endswith("\r")):
            end = match.end()
            yield match[0]
        rest = [text[end:]] if end < len(text) else []
    if rest:
        yield "".join(rest)
