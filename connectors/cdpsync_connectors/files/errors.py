"""What DuckDB says of a file it cannot read, as one line that names file and line."""

from __future__ import annotations

import re

from cdpsync.errors import ReadError
from cdpsync_connectors._shared.exact_sql import inexact
from cdpsync_connectors.files.jsonl import first_bad_line

_NOT_OURS = ("No space left", "disk is full", "Out of Memory", "could not allocate")

_CSV_REASONS = (
    (r"Expected Number of Columns: (\d+) Found: (\d+)", r"\2 fields where there should be \1"),
    ("unterminated quote", "a quote is not closed, or text follows a closing quote"),
    ("Invalid unicode", "not in the encoding that was set (encoding: utf-8, utf-16, latin-1)"),
    ("Maximum line size", "longer than 16 MB"),
)


def translate(error: Exception) -> ReadError | None:
    """Name an error of DuckDB that came from a file or a value in it; None for any other."""
    import duckdb

    if not isinstance(error, duckdb.Error) or isinstance(error, duckdb.InterruptException):
        return None
    text = str(error)
    if any(sign in text for sign in _NOT_OURS):
        return None
    return inexact(error) or _of_csv(text) or _of_json(text) or _of_file(text) or _of_value(error)


def _of_csv(text: str) -> ReadError | None:
    file = re.search(r"^  file = (.+)$", text, re.MULTILINE)
    if "The CSV Parser state machine" in text and file:
        return ReadError(
            f"{file[1]}: a line end or a quote is out of place. Use one kind of line end "
            "throughout (LF, or CR LF), and double a quote inside quotes."
        )
    line = re.search(r"CSV Error on Line: (\d+)", text)
    if not line:
        return None
    return ReadError(
        f"{file[1] if file else 'a file'}, line {line[1]}: {_csv_reason(text)}. "
        "Nothing of the stream was kept; mend the line."
    )


def _csv_reason(text: str) -> str:
    for pattern, reason in _CSV_REASONS:
        found = re.search(pattern, text)
        if found:
            return found.expand(reason)
    return " ".join(text.split("Possible", 1)[0].split()[:40])


def _of_json(text: str) -> ReadError | None:
    found = re.search(r'Malformed JSON in file "(.+)", at byte \d+ in line (\d+): (.+?)\.', text)
    if not found:
        return None
    path, counted, reason = found[1], int(found[2]), found[3]
    line = first_bad_line(path) or counted - 1
    return ReadError(f"{path}, line {line}: {reason}. Every line must be one JSON object.")


def _of_file(text: str) -> ReadError | None:
    gone = re.search(
        r'No files found that match the pattern "(.+)"|[Cc]annot open file "(.+?)"', text
    )
    if gone:
        return ReadError(f"{gone[1] or gone[2]}: is gone, or cannot be read any more. Run again.")
    return None


def _of_value(error: Exception) -> ReadError | None:
    import duckdb

    if isinstance(
        error, (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.IOException)
    ):
        said = " ".join(str(error).split("\n\nLINE ")[0].split())
        return ReadError(f"a file cannot be read: {said[:400]}")
    return None


def of_file(path: str, error: Exception) -> ReadError | None:
    """Name an error that came when only this file was read."""
    known = translate(error)
    return (
        known if known is None or path in known.message else ReadError(f"{path}: {known.message}")
    )
