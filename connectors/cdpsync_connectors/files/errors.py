"""DuckDB's errors about files, as one line that names file and line."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync_connectors._shared.exact_sql import inexact
from cdpsync_connectors.files.compressed import damaged
from cdpsync_connectors.files.csv_scan import NOT_CLOSED, NOT_ENCODED, fault_error, scan
from cdpsync_connectors.files.jsonl import first_bad_line

if TYPE_CHECKING:
    from cdpsync_connectors.files.csv import Dialect

UNNAMED = "a file"
"""The begin of the message about a file that DuckDB's error does not name."""

_NOT_OF_A_FILE = ("No space left", "disk is full", "Out of Memory", "could not allocate")

_CSV_REASONS = (
    (r"Expected Number of Columns: (\d+) Found: (\d+)", r"\2 fields where there should be \1"),
    ("unterminated quote", NOT_CLOSED),
    ("Invalid unicode", NOT_ENCODED),
    ("Maximum line size", "longer than 16 MB"),
)


def translate(error: Exception, dialect: Dialect | None = None) -> ReadError | None:
    """Return the error of a file, or of a value in it, as a ReadError; None for any other.

    With the `dialect` of a CSV, its lines are read once more for the first fault.
    """
    import duckdb

    if not isinstance(error, duckdb.Error) or isinstance(error, duckdb.InterruptException):
        return None
    text = str(error)
    if any(part in text for part in _NOT_OF_A_FILE):
        return None
    try:
        of_line = _of_csv(text, dialect) or _of_json(text)
    except ReadError as read_error:  # the file can no longer be read for its line
        return read_error
    return inexact(error) or of_line or _of_file(text) or _of_value(error)


def describe_unknown(error: Exception) -> str:
    """Return type, text and place in the code of an error that no promise speaks of, as a line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}{place}"


def _of_csv(text: str, dialect: Dialect | None) -> ReadError | None:
    line = re.search(r"CSV Error on Line: (\d+)", text)
    file = re.search(r"^  file = (.+)$", text, re.MULTILINE)
    if not line and "The CSV Parser state machine" not in text:
        return None
    if file and dialect and (error := fault_error(file[1], scan(file[1], dialect))):
        return error
    path = file[1] if file else "a file"
    if not line:
        return ReadError(
            f"{path}: a line end or a quote is out of place. Use one kind of line end "
            "throughout (LF, or CR LF), and double a quote inside quotes."
        )
    return ReadError(
        f"{path}, line {line[1]}: {_csv_reason(text)}. "
        "Nothing of the stream was kept; fix the line."
    )


def _csv_reason(text: str) -> str:
    for pattern, reason in _CSV_REASONS:
        match = re.search(pattern, text)
        if match:
            return match.expand(reason)
    return " ".join(text.split("Possible", 1)[0].split()[:40])


def _of_json(text: str) -> ReadError | None:
    match = re.search(r'Malformed JSON in file "(.+)", at byte \d+ in line (\d+): (.+?)\.', text)
    if not match:
        return None
    path, counted_line, reason = match[1], int(match[2]), match[3]
    line = first_bad_line(path) or counted_line - 1
    return ReadError(f"{path}, line {line}: {reason}. Every line must be one JSON object.")


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

    of_value = (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.IOException)
    # The errors of Parquet's pages and footers have no class of their own.
    if isinstance(error, of_value) or type(error) is duckdb.Error:
        message = " ".join(str(error).split("\n\nLINE ")[0].split())
        return ReadError(f"{UNNAMED} cannot be read: {message[:400]}")
    return None


def translate_for_file(path: str, error: Exception, dialect: Dialect) -> ReadError | None:
    """Return the error of a read of this file alone, with the file's name in it."""
    text = str(error)
    if path.lower().endswith((".gz", ".zst")) and "IO Error" in text:
        return damaged(path, " ".join(text.split("\n\nLINE ")[0].split())[:200])
    if "encoded" in text and (fault := fault_error(path, scan(path, dialect))):
        return fault
    read_error = translate(error, dialect)
    if read_error is None or read_error.message.startswith(path):
        return read_error
    return ReadError(f"{path}: {read_error.message.removeprefix(f'{UNNAMED} ')}")
