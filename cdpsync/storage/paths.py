"""The folder names of tables in the storage."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdpsync.model import TableName

_LONGEST_FOLDER = 100


def folder_of(table: TableName) -> str:
    """Return the folder of a table below the data path: its name, other characters encoded.

    For a name of letters, digits, `_` and `-` DuckLake uses the same folder, and relative paths.
    """
    return f"{_plain(table.schema)}/{_plain(table.name)}"


def _plain(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_-]", lambda match: f"~{ord(match[0]):x}", name)
    if len(plain) <= _LONGEST_FOLDER:
        return plain
    return f"{plain[:60]}~{hashlib.sha256(name.encode()).hexdigest()[:20]}"
