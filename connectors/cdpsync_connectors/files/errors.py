"""DuckDB's errors about files, as one line that names file and line."""

from __future__ import annotations

import contextlib
import re

from cdpsync.connector.exact_sql import inexact
from cdpsync.errors import ReadError
from cdpsync_connectors.files.compressed import damaged
from cdpsync_connectors.files.csv_scan import NOT_ENCODED, first_fault
from cdpsync_connectors.files.json_place import (
    array_without_end,
    first_bad_line,
    text_behind_array,
)

UNNAMED = "a file"
"""The begin of the message about a file that DuckDB's error does not name."""

_NOT_OF_A_FILE = ("No space left", "disk is full", "Out of Memory", "could not allocate")

_CSV_REASONS = (
    (r"Expected Number of Columns: (\d+) Found: (\d+)", r"\2 fields where there should be \1"),
    ("unterminated quote", "a quote is not closed, or text follows a closing quote"),
    ("Invalid unicode", NOT_ENCODED),
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
    line = re.search(r"CSV Error on Line: (\d+)", text)
    if not line and "The CSV Parser state machine" not in text:
        return None
    path, fault = _setting(text, "file") or UNNAMED, None
    with contextlib.suppress(ReadError, OSError):  # the file can no longer be read for its line
        delimiter = _setting(text, "delimiter")
        fault = delimiter and first_fault(path, delimiter, _setting(text, "quote"))
    if fault:
        return fault
    if not line:
        return ReadError(
            f"{path}: a line end or a quote is out of place. Use one kind of line end "
            "throughout (LF, or CR LF), and double a quote inside quotes."
        )
    return ReadError(
        f"{path}, line {line[1]}: {_csv_reason(text)}. "
        "Nothing of the stream was kept; fix the line."
    )


def _setting(text: str, name: str) -> str:
    """Return a setting of the read that DuckDB's error tells; empty if it has none."""
    match = re.search(rf"^  {name} = (.+?)(?: \((?:Set By User|Auto-Detected)\))?$", text, re.M)
    return match[1] if match and match[1] != "(empty)" else ""


def _csv_reason(text: str) -> str:
    for pattern, reason in _CSV_REASONS:
        match = re.search(pattern, text)
        if match:
            return match.expand(reason)
    return " ".join(text.split("Possible", 1)[0].split()[:40])


def _of_json(text: str) -> ReadError | None:
    match = re.search(r'Missing .+ in JSON array.* in file "(.+)"', text)
    if match:
        return array_without_end(match[1], first_bad_line(match[1]) or 1)
    match = re.search(r'Empty array with trailing data .* in file "(.+)"', text)
    if match:
        return text_behind_array(match[1])
    match = re.search(
        r'Malformed JSON in file "(.+)", at byte \d+ in (line|record/value) (\d+): (.+?)\.', text
    )
    if not match:
        return None
    path, unit, number, reason = match[1], match[2].split("/")[0], int(match[3]) - 1, match[4]
    line = first_bad_line(path)
    place = f"line {line}" if line else f"{unit} {number}"
    if reason == "input length is 0":
        reason = "a comma or a bracket is out of place"
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

    of_value = (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.IOException)
    # The errors of Parquet's pages and footers have no class of their own.
    if isinstance(error, of_value) or type(error) is duckdb.Error:
        message = " ".join(str(error).split("\n\nLINE ")[0].split())
        return ReadError(f"{UNNAMED} cannot be read: {message[:400]}")
    return None


def translate_for_file(path: str, error: Exception) -> ReadError | None:
    """Return the error of a read of this file alone, with the file's name in it."""
    text = str(error)
    if path.lower().endswith((".gz", ".zst")) and "IO Error" in text:
        return damaged(path, " ".join(text.split("\n\nLINE ")[0].split())[:200])
    read_error = translate(error)
    if read_error is None or read_error.message.startswith(path):
        return read_error
    return ReadError(f"{path}: {read_error.message.removeprefix(f'{UNNAMED} ')}")
