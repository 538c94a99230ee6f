"""Names of folders: where the files of a table lie."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdpsync.model import TableName

_LONGEST_FOLDER = 100


def folder_of(table: TableName) -> str:
    """Return the folder of a table below the data path: its name, where that is a plain one.

    DuckLake keeps a table's files under the same name, and their paths relative, where the name
    has only letters, digits, `_` and `-`.
    """
    return f"{_plain(table.schema)}/{_plain(table.name)}"


def _plain(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_-]", lambda found: f"~{ord(found[0]):x}", name)
    if len(plain) <= _LONGEST_FOLDER:
        return plain
    return f"{plain[:60]}~{hashlib.sha256(name.encode()).hexdigest()[:20]}"
