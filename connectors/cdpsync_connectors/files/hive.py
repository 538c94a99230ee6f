"""Keys in the path of a file, as Hive and Spark write them: `year=2023/region=EU/part-0.parquet`.

A key is read from the folders that the source's path leaves open, as `year=*` and `**` do. One that
the path names itself (`data/year=2023/*.csv`) would be the same in each row, and is no column.
Values are percent-decoded: Hive and Spark write only ASCII so, PyArrow and DuckDB UTF-8 too.
"""

from __future__ import annotations

import glob
import os
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from cdpsync.connector.exact_types import UNKNOWN
from cdpsync.errors import ConnectError
from cdpsync.sql import fold_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cdpsync_connectors.files.discover import File
    from cdpsync_connectors.files.schema import FileSchema

Keys = tuple[tuple[str, str | None], ...]
"""The keys of a path in its order, each with its value as text; None is NULL."""

_NULL = "__HIVE_DEFAULT_PARTITION__"
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def keys_of(path: str, literal: int) -> Keys:
    """Return the keys of a file, from its folders behind those that the source's path names.

    Raises ConnectError for a path with a key twice, because it would be one column.
    """
    folders = Path(path).parts[literal:-1]
    pairs = [folder.split("=", 1) for folder in folders if folder.find("=") > 0]
    keys = [(_decoded(name), None if value == _NULL else _decoded(value)) for name, value in pairs]
    names_by_lower: dict[str, str] = {}
    for name, _ in keys:
        if fold_name(name) in names_by_lower:
            raise ConnectError(
                f'{path}: the key "{name}" is in this path twice. Rename a folder, or set hive: '
                "false."
            )
        names_by_lower[fold_name(name)] = name
    return tuple(keys)


def literal_parts(source_path: str) -> int:
    """Return how many parts of a path are names; all of them where it is no pattern."""
    parts = Path(source_path).parts
    if os.path.exists(source_path):  # noqa: PTH110 - it raises nothing where it may not look
        return len(parts)
    for number, part in enumerate(parts):
        if glob.has_magic(re.sub(r"\[[*?[]\]", "", part)):  # glob.escape writes them so
            return number
    return len(parts)


def _decoded(text: str) -> str:
    """Return a percent-decoded text, or the text itself where that is no text."""
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeError:
        return text
    return text if "\0" in decoded or not decoded else decoded


def with_keys(schema: FileSchema) -> FileSchema:
    """Return the schema with the keys of its files as columns, behind those in the files.

    A key that is a column of some file too has the type of that column.
    """
    types = dict(schema.types)
    for name, values in _values(layout.file for layout in schema.layouts).items():
        types[name] = types.get(name) or _type(values)
    return replace(schema, types=types)


def _values(files: Iterable[File]) -> dict[str, set[str]]:
    """Return the values of each key that are not NULL, in order of first appearance."""
    values: dict[str, set[str]] = {}
    for file in files:
        for name, value in file.keys:
            values.setdefault(name, set()).update(() if value is None else (value,))
    return values


def _type(values: set[str]) -> str:
    """Return BIGINT or DATE where each value is one as the lake would write it, else VARCHAR."""
    if not values:
        return UNKNOWN
    if all(_INTEGER.fullmatch(value) and -(2**63) <= int(value) < 2**63 for value in values):
        return "BIGINT"
    return "DATE" if all(map(_is_date, values)) else "VARCHAR"


def _is_date(text: str) -> bool:
    try:
        return bool(_DATE.fullmatch(text)) and bool(date.fromisoformat(text))
    except ValueError:
        return False


def notices(schema: FileSchema) -> tuple[str, ...]:
    """Return a sentence for each key that some files have neither in their path nor as a column."""
    sentences = []
    for name in _values(layout.file for layout in schema.layouts):
        without = [
            layout.file.path
            for layout in schema.layouts
            if name not in dict(layout.file.keys) and name not in dict(layout.columns)
        ]
        if without:
            others = f" and {len(without) - 1} more" if len(without) > 1 else ""
            sentences.append(
                f'the key "{name}" is not in the path of every file: it is NULL in the rows of '
                f"{without[0]}{others}"
            )
    return tuple(sentences)
