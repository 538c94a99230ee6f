"""A CSV in any dialect, written anew in the one that DuckDB reads exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync_connectors.files.content import undecoded
from cdpsync_connectors.files.dialect import DELIMITERS, Dialect, delimiter_name
from cdpsync_connectors.files.header_lines import has_line_end, no_names, on_one_line
from cdpsync_connectors.files.json_documents import DocumentError, read_documents
from cdpsync_connectors.files.json_origin import with_line
from cdpsync_connectors.files.json_place import is_record
from cdpsync_connectors.files.records import Record, read_lines, read_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TextIO

    from cdpsync_connectors.files.records import RecordRules
    from cdpsync_connectors.files.rejected import Rejected

_NOT_DECODED = "not in the encoding of the file"
_NO_RECORD = "is not one JSON object, each key named once"

STANDARD = Dialect(",")
"""The dialect that is written: NULL is empty, every other field is in quotes."""


def write_standard(
    path: str,
    rules: RecordRules,
    text: Callable[[], Iterator[str]],
    target: TextIO,
    on_fault: Callable[[Record], None],
    *,
    header: bool = True,
    origin_after: int | None = None,
) -> None:
    """Write the records of a text to `target`; the first line has no line ends in its fields.

    With `origin_after`, each has its line, counted after so many others, and its text behind it.

    `on_fault` takes a record that has a fault or another number of fields than the first one.
    Raises ReadError for a first record with a fault, or a delimiter that cannot be told.
    """
    if not rules.delimiter:
        rules = replace(rules, delimiter=_delimiter_of_header(path, rules, text))
    width = 0
    for record in read_records(text(), rules):
        is_header = False
        if not width:
            record = _first_record(path, record, rules, header=header)
            width = len(record.fields)
            is_header = header
            if not header and has_line_end(record):
                origins = 0 if origin_after is None else 2
                target.write(",".join(no_names(width + origins)) + "\n")
        if record.is_blank and width > 1:
            continue
        if origin_after is not None and undecoded(record.text):
            on_fault(replace(record, fault=_NOT_DECODED))
        elif record.fault:
            on_fault(record)
        elif len(record.fields) != width:
            counts = f"{len(record.fields)} fields where there should be {width}"
            on_fault(replace(record, fault=counts))
        else:
            origin: tuple[str, ...] = ()
            if origin_after is not None:
                origin = (str(record.line + origin_after), record.without_end)
            fields = map(standard_field, (*record.fields, *origin))
            if is_header and has_line_end(record):
                fields = map(on_one_line, fields)
            target.write(",".join(fields) + "\n")


def write_json_records(
    path: str, blocks: Iterable[str], format_: str, target: TextIO, rejected: Rejected
) -> None:
    """Write the records of a JSON text to `target`, a line each, and what is none to `rejected`.

    Each record has its line in it. `format_` is DuckDB's name for how they stand in the text.
    Raises ReadError for a text that cannot be divided, because it is not in lines and no JSON.
    """
    is_lines = format_ == "newline_delimited"
    try:
        for number, text in (
            enumerate(read_lines(blocks), 1) if is_lines else read_documents(blocks)
        ):
            if undecoded(text):
                rejected.add(Record(number, text, fault=_NOT_DECODED))
            elif not text.strip():
                continue
            elif is_record(text.encode()):
                record = text.strip().replace("\n", " ").replace("\r", " ")
                target.write(with_line(record, number + rejected.skipped) + "\n")
            else:
                rejected.add(Record(number, text, fault=_NO_RECORD))
    except DocumentError as error:
        raise ReadError(
            f"{path}, line {error.line}: {error.fault}. Nothing of the stream was kept; fix the "
            "file. Only JSON Lines go on behind a text that is no JSON."
        ) from error


def standard_field(field: str | None) -> str:
    """Return a field as it is written: NULL is empty, every other is in quotes."""
    return "" if field is None else '"' + field.replace('"', '""') + '"'


def _first_record(path: str, record: Record, rules: RecordRules, *, header: bool) -> Record:
    """Return the first record, in which a name is a name, also where it is a text of `nulls`."""
    if record.is_blank or record.fault or undecoded(record.text):
        raise _bad_header(path, record)
    return next(read_records([record.text], replace(rules, nulls=()))) if header else record


def _bad_header(path: str, record: Record) -> ReadError:
    fault = record.fault or "is empty. Set skip: to the number of lines above the header"
    if undecoded(record.text):
        fault = _NOT_DECODED
    return ReadError(f"{path}, line {record.line}: {fault}. Fix the header.")


def _delimiter_of_header(path: str, rules: RecordRules, text: Callable[[], Iterator[str]]) -> str:
    """Return the only usual delimiter in the header; a comma if it has none."""
    candidates = []
    for delimiter in DELIMITERS:
        header = next(read_records(text(), replace(rules, delimiter=delimiter)), None)
        if header is not None and not header.fault and len(header.fields) > 1:
            candidates.append(delimiter)
    if len(candidates) > 1:
        choices = " or ".join(map(delimiter_name, candidates))
        raise ReadError(
            f"{path}, line 1: the header could be separated by {choices}. Set delimiter: of the "
            f'source, such as delimiter: ";".'
        )
    return candidates[0] if candidates else ","
