"""First records of CSV files with line ends in them, as one line.

DuckDB 1.5.5 refuses such a record, or loses a row behind it, where the file has other line ends or
a byte order mark. So the file is read from a copy without a mark, whose header is one line: a sign
stands for each line end in it. A file without header gets a line above its first record.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cdpsync_connectors.files.dialect import DELIMITERS
from cdpsync_connectors.files.records import read_lines, read_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cdpsync_connectors.files.records import Record, RecordRules

_LINE_END = re.compile(r"\r\n|\r|\n")

# They are random, so that no name has them, and of Unicode's private use, so that they have no
# delimiter, quote or escape in them, which may be any letter.
_KEY = "".join(chr(0xE000 + number) for number in secrets.token_bytes(16))
_SIGNS = {"\r\n": f"\uf000{_KEY}", "\r": f"\uf001{_KEY}", "\n": f"\uf002{_KEY}"}
_NO_NAME = f"\uf003{_KEY}"


def with_line_ends(name: str) -> str:
    """Return a name of a copy's header as the file has it."""
    for line_end, sign in _SIGNS.items():
        name = name.replace(sign, line_end)
    return name


def on_one_line(text: str) -> str:
    """Return a text with a sign in place of each line end."""
    return _LINE_END.sub(lambda match: _SIGNS[match[0]], text)


def no_names(width: int) -> list[str]:
    """Return the fields of the line that is written above records without header."""
    return [_NO_NAME] * width


def are_no_names(fields: Sequence[str]) -> bool:
    """Whether the first line of a copy was written above records without header."""
    return bool(fields) and all(field == _NO_NAME for field in fields)


@dataclass(frozen=True, slots=True)
class DividedRecord:
    """A first record with line ends in it, and the delimiter under which it is one."""

    record: Record
    delimiter: str

    @property
    def lines(self) -> int:
        """How many lines the record has."""
        return len(_LINE_END.findall(self.record.without_end)) + 1


def divided_record(text: Callable[[], Iterator[str]], rules: RecordRules) -> DividedRecord | None:
    """Return the first record of a text if it has line ends in it; else None.

    Without a delimiter it is the usual one under which the record has most fields.
    """
    first_line = next(read_lines(text()), "")
    if not rules.quote or rules.quote not in first_line:
        return None
    candidates = []
    for delimiter in [rules.delimiter] if rules.delimiter else DELIMITERS:
        record = next(read_records(text(), replace(rules, delimiter=delimiter)), None)
        if record and not record.fault and has_line_end(record):
            candidates.append(DividedRecord(record, delimiter))
    return max(candidates, key=lambda found: len(found.record.fields), default=None)


def has_line_end(record: Record) -> bool:
    """Whether a record has a line end in it, and not only behind it."""
    return _LINE_END.search(record.without_end) is not None


def with_one_line(blocks: Iterator[str], first: DividedRecord, *, header: bool) -> Iterator[str]:
    """Yield a text that begins with this record, as one line or behind a line without names."""
    record = first.record
    if header:
        start = ""
        while len(start) < len(record.text):
            start += next(blocks)
        yield on_one_line(record.without_end) + record.end + start[len(record.text) :]
    else:
        yield first.delimiter.join(no_names(len(record.fields))) + (record.end or "\n")
    yield from blocks
