"""Temporary copies of files whose encoding, compression or dialect DuckDB does not read exactly."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync_connectors.files.compressed import COMPRESSED, READ_BY_DUCKDB
from cdpsync_connectors.files.content import (
    is_openable,
    marked_encoding,
    read_blocks,
    read_text,
)
from cdpsync_connectors.files.header_lines import divided_record, with_one_line
from cdpsync_connectors.files.json_place import json_format
from cdpsync_connectors.files.records import RecordRules
from cdpsync_connectors.files.rejected import Rejected, rejected_path
from cdpsync_connectors.files.rewrite import write_json_records, write_standard
from cdpsync_connectors.files.sheets import SheetRules, write_sheet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cdpsync_connectors.files.discover import File
    from cdpsync_connectors.files.records import Record
    from cdpsync_connectors.files.sheets import Kinds

# The mark of UTF-32 may also be that of UTF-16, and a NUL.
_ENCODINGS_OF_MARK = {
    "utf-8-sig": ("utf-8",),
    "utf-16": ("utf-16",),
    "utf-32": ("utf-32", "utf-16"),
}
_UNMARKED = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}  # without a mark, as Windows writes
_LINE_END = re.compile(r"\r\n|\r|\n")
_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class TextSource:
    """The encoding of a source's text files, and what of them is no record.

    Without `encoding` a byte order mark tells it, or it is UTF-8. `skip` lines are above the
    header, which a CSV without `header` lacks; `first_rules` divide the first record. With `rules`
    all records of a CSV are read by them. With `rejects` a record that is broken is set aside.
    `sheets` are the rules of workbooks.
    """

    encoding: str | None = None
    skip: int = 0
    first_rules: RecordRules = field(default_factory=partial(RecordRules, ""))
    rules: RecordRules | None = None
    header: bool = True
    rejects: bool = False
    sheets: SheetRules = field(default_factory=SheetRules)


@dataclass(frozen=True, slots=True)
class _Origin:
    path: str
    skipped: int | None  # lines that the copy lacks; None where it has lines of its own
    skipped_after_first: int = 0  # and those behind its first line


@dataclass(slots=True)
class Copies:
    """Copies of one connector's files. Used from many threads."""

    source: TextSource
    kinds: dict[str, Kinds] = field(default_factory=dict)  # of the copies of sheets
    with_lines: set[str] = field(default_factory=set)  # copies of JSON with the lines of records
    _origins: dict[str, _Origin] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)

    def readable(self, files: Iterable[File], folder: Callable[[], Path]) -> tuple[File, ...]:
        """Return the files as DuckDB can read them: themselves, or copies in `folder`."""
        return tuple(self._readable(file, folder) for file in files)

    def renamed(self, message: str) -> str:
        """Return a message with the names and lines of the files in place of the copies'."""
        for path, origin in list(self._origins.items()):
            if path in message:
                message = re.sub(
                    re.escape(path) + r"(?:(, line )(\d+))?", partial(_place, origin), message
                )
        return message

    def _readable(self, file: File, folder: Callable[[], Path]) -> File:
        if file.format == "parquet" or not file.size:
            return file
        if file.format == "xlsx":
            return self._sheet(file, folder)
        encoding = self._encoding(file)
        rules = self.source.rules if file.format in {"csv", "tsv"} else None
        is_utf_8 = encoding == "utf-8" or (encoding == "utf-8-sig" and file.format != "jsonl")
        is_text = (
            not is_utf_8
            or self.source.skip
            or self.source.rejects
            or rules is not None
            or self._has_odd_start(file, encoding)
        )
        suffix = Path(file.path).suffix.lower()
        if not is_text and (suffix not in COMPRESSED or suffix in READ_BY_DUCKDB):
            return file
        copy = self._new_path(file, folder())
        if is_text:
            self._write_text(file, encoding, rules, copy)
        else:
            with copy.open("wb") as target:
                target.writelines(read_blocks(file.path))
        return replace(file, path=str(copy))

    def _has_odd_start(self, file: File, encoding: str) -> bool:
        """Whether DuckDB misreads the first record of a CSV: it has line ends, or a mark before."""
        if file.format == "jsonl" or not is_openable(file.path):
            return False

        def text() -> Iterator[str]:
            return read_text(file.path, encoding, keeps_bytes=True)

        start = next(text(), "")
        if encoding == "utf-8-sig" and start.startswith(self.source.first_rules.quote or "\n"):
            return True
        return divided_record(text, self.source.first_rules) is not None

    def _sheet(self, file: File, folder: Callable[[], Path]) -> File:
        """Return a sheet of a workbook as a CSV in the standard dialect."""
        copy = self._new_path(file, folder())
        self._origins[str(copy)] = _Origin(f"{file.path}, sheet {file.sheet}", None)
        with ExitStack() as stack:
            target = stack.enter_context(copy.open("w", encoding="utf-8", newline=""))
            rejected: Rejected | None = None
            if self.source.rejects:
                output = stack.enter_context(rejected_path(str(copy)).open("w", encoding="utf-8"))
                rejected = Rejected(output, file.path, 0)
            self.kinds[str(copy)] = write_sheet(file, self.source.sheets, target, rejected)
        return replace(file, path=str(copy))

    def _new_path(self, file: File, folder: Path) -> Path:
        parent = folder / f"copy-{next(self._numbers)}"
        parent.mkdir(parents=True)
        name = Path(file.path)
        copy = parent / (name.stem if name.suffix.lower() in COMPRESSED else name.name)
        self._origins[str(copy)] = _Origin(file.path, self.source.skip)
        return copy

    def _encoding(self, file: File) -> str:
        """Return the encoding of a file. Raises ReadError if its mark names another one."""
        encoding = self.source.encoding
        if not is_openable(file.path):
            return encoding or "utf-8"
        mark = marked_encoding(file.path)
        if mark is None or encoding is None:
            return mark or _UNMARKED.get(encoding or "utf-8", encoding or "utf-8")
        if not encoding.startswith(_ENCODINGS_OF_MARK[mark]):
            raise ReadError(
                f"{file.path}: begins with the byte order mark of {mark.removesuffix('-sig')}, and "
                f"encoding: {encoding} is set. Leave encoding out, or set that of the mark."
            )
        return mark if encoding.startswith(mark.removesuffix("-sig")) else encoding

    def _write_text(self, file: File, encoding: str, rules: RecordRules | None, copy: Path) -> None:
        skip, rejects = self.source.skip, self.source.rejects

        def text() -> Iterator[str]:
            return _without_lines(read_text(file.path, encoding, keeps_bytes=rejects), skip)

        with ExitStack() as stack:
            target = stack.enter_context(copy.open("w", encoding="utf-8", newline=""))
            rejected: Rejected | None = None
            if rejects:
                output = stack.enter_context(rejected_path(str(copy)).open("w", encoding="utf-8"))
                rejected = Rejected(output, file.path, skip)
            if rules is not None:
                on_fault = rejected.add if rejected else partial(_stop, copy)
                origin_after = skip if rejects else None
                header = self.source.header
                write_standard(
                    str(copy),
                    rules,
                    text,
                    target,
                    on_fault,
                    header=header,
                    origin_after=origin_after,
                )
            elif rejected:
                self.with_lines.add(str(copy))
                format_ = json_format(next(text(), "").encode(errors="surrogateescape"))
                write_json_records(str(copy), text(), format_, target, rejected)
            elif file.format == "jsonl":
                target.writelines(text())
            else:
                target.writelines(_with_mark_as_text(self._with_one_line(text, copy)))

    def _with_one_line(self, text: Callable[[], Iterator[str]], copy: Path) -> Iterator[str]:
        first = divided_record(text, self.source.first_rules)
        if first is None:
            return text()
        skipped = first.lines - 1 if self.source.header else -1
        origin = self._origins[str(copy)]
        self._origins[str(copy)] = replace(origin, skipped_after_first=skipped)
        return with_one_line(text(), first, header=self.source.header)


def _stop(copy: Path, record: Record) -> None:
    raise ReadError(
        f"{copy}, line {record.line}: {record.fault}. Nothing of the stream was kept; fix the line."
    )


def _place(origin: _Origin, match: re.Match[str]) -> str:
    if not match[1] or origin.skipped is None:
        return origin.path
    line = int(match[2])
    skipped = origin.skipped + (origin.skipped_after_first if line > 1 else 0)
    return f"{origin.path}{match[1]}{line + skipped}"


def _without_lines(blocks: Iterator[str], skip: int) -> Iterator[str]:
    """Yield a text without its first lines."""
    rest = ""
    while skip:
        block = next(blocks, None)
        if block is None:
            return
        rest += block
        while skip and (end := _LINE_END.search(rest)) and not _may_go_on(end, rest):
            rest, skip = rest[end.end() :], skip - 1
    if rest:
        yield rest
    yield from blocks


def _with_mark_as_text(blocks: Iterator[str]) -> Iterator[str]:
    """Yield a text behind a byte order mark if it begins with the sign of one, which is text."""
    start = next(filter(None, blocks), "")
    yield _MARK + start if start.startswith(_MARK) else start
    yield from blocks


def _may_go_on(end: re.Match[str], text: str) -> bool:
    """Whether a line end is the last character that was read, and LF may follow CR."""
    return end[0] == "\r" and end.end() == len(text)
