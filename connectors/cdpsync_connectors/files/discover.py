"""The files that a path matches: their formats, their streams, and their changes."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.errors import ConnectError, ReadError
from cdpsync_connectors.files.compressed import COMPRESSED
from cdpsync_connectors.files.content import name_in_archive

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_EXTENSIONS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "jsonl",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
# COMPRESSED: without an extension of ours in front, or with several files.
_OTHER_DATA = (".xlsx", ".xls", ".ods", ".avro", ".orc", ".xml", ".7z", ".rar", ".tar", ".tgz")
_DATA_OF_OTHERS = (*_OTHER_DATA, *COMPRESSED)
_KNOWN_EXTENSIONS = ", ".join(_EXTENSIONS)


@dataclass(frozen=True, slots=True)
class File:
    """A file at one moment; an equal value means that the file has not changed since.

    `unreadable_reason` tells why it cannot be opened, and what to do.
    """

    path: str
    format: str
    size: int = 0
    modified: int = 0
    inode: int = 0
    unreadable_reason: str | None = None


def find_files(path: str, format_: str | None) -> tuple[File, ...]:
    """Return the files of a path, folder or glob, by name; hidden ones only if named.

    A file that cannot be opened, or belongs to a table format, has its `unreadable_reason`. A file
    that is reached through links to folders too is returned once, by its shortest path. Raises
    ConnectError, with the next step, if there is no file.
    """
    candidates = _candidates(path, format_)
    files = tuple(
        _file_or_reason(candidate, format_of)
        for candidate in sorted(_once_each(candidates))
        if (format_of := format_ or _format_of_name(candidate))
    )
    if files:
        return files
    if candidates:
        raise ConnectError(
            f"{path}: the file extension names no format (known: {_KNOWN_EXTENSIONS}; "
            "text also .gz, .zst, .bz2, .xz, .zip). "
            'Set "format: csv", tsv, jsonl or parquet.'
        )
    raise ConnectError(f"{path}: {_reason_of_no_file(path)}")


def _candidates(path: str, format_: str | None) -> list[str]:
    literal = Path(path)
    try:
        if literal.is_file():
            return [path]
        if literal.is_dir():
            return [
                str(entry)
                for entry in literal.iterdir()
                if not entry.name.startswith(".")
                and (name_format := _format_of_name(str(entry)))
                and format_ in (None, name_format)
                and entry.is_file()
            ]
    except OSError as error:
        raise _unreadable(path, error) from error
    # Not Path.glob, because it refuses absolute patterns and returns hidden files.
    matches = glob.glob(path, recursive=True)  # noqa: PTH207 - see above
    return [match for match in matches if Path(match).is_file()]


def other_data(path: str) -> list[str]:
    """Return the names of a folder's files that look like data and are of no known format."""
    folder = Path(path)
    if not folder.is_dir():
        return []
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.suffix.lower() in _DATA_OF_OTHERS
        and not entry.name.startswith(".")
        and entry.is_file()
        and _format_of_name(str(entry)) is None
    )


def _once_each(paths: Iterable[str]) -> Iterable[str]:
    real_folders: dict[str, str] = {}
    shortest: dict[tuple[str, str], str] = {}
    for path in sorted(paths, key=lambda path: (path.count(os.sep), path)):
        folder, name = os.path.split(path)
        if folder not in real_folders:
            real_folders[folder] = os.path.realpath(folder)
        shortest.setdefault((real_folders[folder], name), path)
    return shortest.values()


def _table_format(folder: Path) -> str | None:
    """Return the table format to which a folder's Parquet files belong, by its own log of them."""
    if (folder / "_delta_log").is_dir():
        return "Delta"
    metadata = folder / "metadata"
    if metadata.is_dir() and any(metadata.glob("*.metadata.json")):
        return "Iceberg"
    if (folder / ".hoodie").is_dir():
        return "Hudi"
    return None if folder == folder.parent else _table_format(folder.parent)


def _format_of_name(path: str) -> str | None:
    name = Path(path)
    is_compressed = name.suffix.lower() in COMPRESSED
    inner_name = name.with_suffix("") if is_compressed else name
    format_ = _EXTENSIONS.get(inner_name.suffix.lower())
    if format_ is None and name.suffix.lower() == ".zip":
        format_ = _EXTENSIONS.get(Path(name_in_archive(path) or "").suffix.lower())
    return None if is_compressed and format_ == "parquet" else format_


def _reason_of_no_file(path: str) -> str:
    if Path(path).is_dir():
        return (
            f"no file in this folder is of a known format ({_KNOWN_EXTENSIONS}). "
            "Name the files with a glob."
        )
    if glob.has_magic(path):
        return "no file matches. Check the path; a relative one starts at the config file's folder."
    return "does not exist. Check the path; a relative one starts at the config file's folder."


def _file_or_reason(path: str, format_: str) -> File:
    try:
        if format_ == "parquet":
            _require_plain(path)
        return _file(path, format_)
    except ConnectError as error:
        printable = path.encode(errors="backslashreplace").decode()
        return File(printable, format_, unreadable_reason=error.message)


def _require_plain(path: str) -> None:
    table_format = _table_format(Path(path).parent)
    if table_format:
        raise ConnectError(
            f"{path}: is a part of a {table_format} table, whose log tells which files and rows "
            "are valid. Export the table to plain Parquet, and set path to that."
        )


def _file(path: str, format_: str) -> File:
    if "\\" in path and any(sign in path for sign in "*?["):
        raise ConnectError(  # because DuckDB 1.5.5 has no escape for it: it may read another file
            f"{path}: a path with a backslash and one of * ? [ is always a pattern. Rename it."
        )
    try:
        path.encode()
        with Path(path).open("rb"):
            status = Path(path).stat()
    except UnicodeEncodeError:
        raise ConnectError(f"{path!r}: the file's name is not UTF-8. Rename it.") from None
    except OSError as error:
        raise _unreadable(path, error) from error
    return File(path, format_, status.st_size, status.st_mtime_ns, status.st_ino)


def _unreadable(path: str, error: OSError) -> ConnectError:
    reason = (error.strerror or str(error)).lower()
    return ConnectError(f"{path}: cannot be read ({reason}). Check that it exists and is readable.")


def require_readable(files: Iterable[File]) -> None:
    """Raise ConnectError if a file could not be opened."""
    for file in files:
        if file.unreadable_reason is not None:
            raise ConnectError(file.unreadable_reason)


def require_unchanged(files: Iterable[File]) -> None:
    """Raise ReadError if a file has changed since it was found."""
    for file in files:
        try:
            is_unchanged = _file(file.path, file.format) == file
        except ConnectError:
            is_unchanged = False
        if not is_unchanged:
            raise ReadError(f"{file.path}: changed while it was read; run again.")


def group_by_stream(files: Sequence[File], stream: str | None) -> dict[str, tuple[File, ...]]:
    """Return the files of each stream: all of them under the name `stream`, or one per stem."""
    streams: dict[str, list[File]] = {}
    for file in files:
        streams.setdefault(stream or _stem(file.path), []).append(file)
    return {name: tuple(group) for name, group in sorted(streams.items())}


def _stem(path: str) -> str:
    name = Path(path)
    if name.suffix.lower() in COMPRESSED:
        name = name.with_suffix("")
    return name.stem


def common_format(stream: str, files: Sequence[File]) -> str:
    """Return the format of a stream's files; raises ReadError if they have several."""
    first = files[0]
    for file in files:
        if file.format != first.format:
            raise ReadError(
                f"{file.path}: is {file.format}, and {first.path} of the same stream {stream} is "
                f'{first.format}. Narrow "path" to one of them.'
            )
    return first.format


def table_name(stream: str) -> str:
    """Return a stream's name in the lake: ASCII letters, digits, `_` and `-`, else `_`."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", stream)
