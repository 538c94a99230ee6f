"""SQL text: names and literals quoted, path patterns escaped."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def fold_name(name: str) -> str:
    """Return a name as DuckDB compares it: without the case of a to z, and of no other letter."""
    return name.translate(_LOWER)


def quote_name(name: str) -> str:
    """Return a quoted identifier, for each name in SQL that comes from a user."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(value: str) -> str:
    """Return a string literal, for statements that allow no parameters."""
    return "'" + value.replace("'", "''") + "'"


def plain_number(text: str) -> str:
    """Return SQL of a number's text without zeros at the end of its fraction."""
    return f"case when contains({text}, '.') then rtrim(rtrim({text}, '0'), '.') else {text} end"


def glob_escaped(path: str) -> str:
    """Return a path as a glob that matches this file only, for DuckDB's readers."""
    return re.sub(r"[*?\[]", r"[\g<0>]", path)


def quote_names(names: Iterable[str]) -> str:
    """Return quoted identifiers, separated by commas."""
    return ", ".join(quote_name(name) for name in names)
