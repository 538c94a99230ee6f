"""SQL text: names and literals quoted, path patterns escaped."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def quote_name(name: str) -> str:
    """Return an identifier as SQL: every name of a user goes through here."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(value: str) -> str:
    """Return a string literal, for the few statements that take no parameters."""
    return "'" + value.replace("'", "''") + "'"


def glob_escaped(path: str) -> str:
    """Return a path as DuckDB's readers take it: a glob that means this file alone."""
    return re.sub(r"[*?\[]", r"[\g<0>]", path)


def quote_names(names: Iterable[str]) -> str:
    """Return identifiers as SQL, separated by commas."""
    return ", ".join(quote_name(name) for name in names)
