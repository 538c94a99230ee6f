"""The line of a JSON record in its file, as the first key of the record in a copy."""

from __future__ import annotations

import re
import secrets

from cdpsync.sql import quote_text

KEY = f"line-{secrets.token_hex(16)}"
"""The name of the key. It is random, so that no record of a file has it."""

_START = rf'^\{{"{KEY}":([0-9]+),?'
_EMPTY = re.compile(r"\{[ \t\r\n]*\}")


def with_line(record: str, line: int) -> str:
    """Return an object with its line; white space before it is left out."""
    text = record.lstrip()
    comma = "" if _EMPTY.match(text) else ","
    return f'{{"{KEY}":{line}{comma}{text[1:]}'


def line_of(json: str) -> str:
    """Return SQL of the line of an object, whose text is the SQL `json`."""
    return f"regexp_extract({json}, {quote_text(_START)}, 1)"


def text_of(json: str) -> str:
    """Return SQL of the object's text as it is in the file."""
    return f"regexp_replace({json}, {quote_text(_START)}, '{{')"
