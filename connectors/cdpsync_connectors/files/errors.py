"""DuckDB's errors about files, as one line that names file and line."""

from __future__ import annotations

import re

from cdpsync.errors import ReadError
from cdpsync_connectors._shared.exact_sql import inexact
from cdpsync_connectors.files.json_place import first_bad_line
from cdpsync_connectors.files.line_ends import mixed_line_ends

_NOT_OF_A_FILE = ("No space left", "disk is full", "Out of Memory", "could not allocate")

_UNCLOSED = "unterminated quote"
_CSV_REASONS = (
    (r"Expected Number of Columns: (\d+) Found: (\d+)", r"\2 fields where there should be \1"),
    (_UNCLOSED, "a quote is not closed, or text follows a closing quote"),
    ("Invalid unicode", "not in the encoding that was set (without encoding: it is UTF-8)"),
    ("Maximum line size", "longer than 16 MB"),
)


def translate(error: Exception) -> ReadError | None:
    """Return the error of a file, or of a value in it, as a ReadError; None for any other."""
    import duckdb

    if not isinstance(error, duckdb.Error) or isinstance(error, duckdb.InterruptException):
        return None
    text = str(error)
    if any(part in text for part in _NOT_OF_A_FILE):
        return None
    return inexact(error) or _of_csv(text) or _of_json(text) or _of_file(text) or _of_value(error)


def _of_csv(text: str) -> ReadError | None:
    file = re.search(r"^  file = (.+)$", text, re.MULTILINE)
    line = re.search(r"CSV Error on Line: (\d+)", text)
    is_of_line_ends = "The CSV Parser state machine" in text or _UNCLOSED in text
    if file and is_of_line_ends and (mixed := mixed_line_ends(file[1])):
        return ReadError(
            f"{file[1]}, {mixed}. Use one kind of line end for all records; inside quotes, any is "
            "a part of the value."
        )
    if "The CSV Parser state machine" in text and file:
        return ReadError(
            f"{file[1]}: a line end or a quote is out of place. Use one kind of line end "
            "throughout (LF, or CR LF), and double a quote inside quotes."
        )
    if not line:
        return None
    return ReadError(
        f"{file[1] if file else 'a file'}, line {line[1]}: {_csv_reason(text)}. "
        "Nothing of the stream was kept; fix the line."
    )


def _csv_reason(text: str) -> str:
    for pattern, reason in _CSV_REASONS:
        match = re.search(pattern, text)
        if match:
            return match.expand(reason)
    return " ".join(text.split("Possible", 1)[0].split()[:40])


def _of_json(text: str) -> ReadError | None:
    match = re.search(
        r'Malformed JSON in file "(.+)", at byte \d+ in (line|record/value) (\d+): (.+?)\.', text
    )
    if not match:
        return None
    path, unit, number, reason = match[1], match[2].split("/")[0], int(match[3]) - 1, match[4]
    line = first_bad_line(path)
    place = f"line {line}" if line else f"{unit} {number}"
    if reason == "input length is 0":
        reason = "a value is missing beside a comma"
    if "surrogate" in reason:
        reason += ", so it is no text"
    return ReadError(f"{path}, {place}: {reason}. Every line must be one JSON object.")


def _of_file(text: str) -> ReadError | None:
    match = re.search(
        r'No files found that match the pattern "(.+)"|[Cc]annot open file "(.+?)"', text
    )
    if match:
        path = match[1] or match[2]
        return ReadError(f"{path}: no longer exists, or is no longer readable. Run again.")
    return None


def _of_value(error: Exception) -> ReadError | None:
    import duckdb

    if isinstance(
        error, (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.IOException)
    ):
        message = " ".join(str(error).split("\n\nLINE ")[0].split())
        return ReadError(f"a file cannot be read: {message[:400]}")
    return None


def translate_for_file(path: str, error: Exception) -> ReadError | None:
    """Return the error of a read of this file alone, with the file's name in it."""
    read_error = translate(error)
    if read_error is None or path in read_error.message:
        return read_error
    return ReadError(f"{path}: {read_error.message}")
