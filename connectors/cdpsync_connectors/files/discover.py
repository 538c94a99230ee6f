"""Which files a path means: their formats, the streams they make, and whether they changed."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.errors import ConnectError, ReadError

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
_PACKED = (".gz", ".zst")
_KNOWN = ", ".join(_EXTENSIONS)


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was at one moment; an equal one has not changed since.

    `refused` says why it cannot be opened, and what to do.
    """

    path: str
    format: str
    size: int = 0
    modified: int = 0
    inode: int = 0
    refused: str | None = None


def find_files(path: str, format_: str | None) -> tuple[File, ...]:
    """Return the files that a file, folder or glob means, by name; hidden ones only if named.

    One that cannot be opened is among them, refused. Raises ConnectError, saying what to do, when
    there is none.
    """
    paths = _candidates(path, format_)
    found = [
        _found(one, kind) for one in sorted(set(paths)) if (kind := format_ or _known_format(one))
    ]
    if found:
        return tuple(found)
    if paths:
        raise ConnectError(
            f"{path}: the file extension names no format (known: {_KNOWN}; text also .gz, .zst). "
            'Set "format: csv", tsv, jsonl or parquet.'
        )
    raise ConnectError(f"{path}: {_why_nothing(path)}")


def _candidates(path: str, format_: str | None) -> list[str]:
    whole = Path(path)
    try:
        if whole.is_file():
            return [path]
        if whole.is_dir():
            return [
                str(one)
                for one in whole.iterdir()
                if not one.name.startswith(".")
                and (known := _known_format(one.name))
                and format_ in (None, known)
                and one.is_file()
            ]
    except OSError as error:
        raise _unreadable(path, error) from error
    # Not Path.glob: it takes no absolute pattern, and it does not pass over hidden files.
    return [one for one in glob.glob(path, recursive=True) if Path(one).is_file()]  # noqa: PTH207


def _known_format(path: str) -> str | None:
    name = Path(path)
    packed = name.suffix.lower() in _PACKED
    kind = _EXTENSIONS.get((name.with_suffix("") if packed else name).suffix.lower())
    return None if packed and kind == "parquet" else kind


def _why_nothing(path: str) -> str:
    if Path(path).is_dir():
        return f"no file in this folder is of a known format ({_KNOWN}). Name the files with a glob"
    if glob.has_magic(path):
        return "no file matches. Check the path; a relative one starts at the config file's folder."
    return "does not exist. Check the path; a relative one starts at the config file's folder."


def _found(path: str, format_: str) -> File:
    try:
        return _file(path, format_)
    except ConnectError as error:
        said = path.encode(errors="backslashreplace").decode()
        return File(said, format_, refused=error.message)


def _file(path: str, format_: str) -> File:
    if "\\" in path and any(sign in path for sign in "*?["):
        raise ConnectError(  # DuckDB 1.5.5 has no way to write it: another file may be meant
            f"{path}: a path with a backslash and one of * ? [ is always a pattern. Rename it."
        )
    try:
        path.encode()
        with Path(path).open("rb"):
            found = Path(path).stat()
    except UnicodeEncodeError:
        raise ConnectError(f"{path!r}: the file's name is not UTF-8. Rename it.") from None
    except OSError as error:
        raise _unreadable(path, error) from error
    return File(path, format_, found.st_size, found.st_mtime_ns, found.st_ino)


def _unreadable(path: str, error: OSError) -> ConnectError:
    reason = (error.strerror or str(error)).lower()
    return ConnectError(f"{path}: cannot be read ({reason}). Check that it is there and readable.")


def refuse_unopened(files: Iterable[File]) -> None:
    """Raise ConnectError when a file could not be opened."""
    for file in files:
        if file.refused is not None:
            raise ConnectError(file.refused)


def refuse_changed(files: Iterable[File]) -> None:
    """Raise ReadError when a file is no longer as it was."""
    for file in files:
        try:
            same = _file(file.path, file.format) == file
        except ConnectError:
            same = False
        if not same:
            raise ReadError(f"{file.path}: changed while it was read; run again.")


def by_stream(files: Sequence[File], stream: str | None) -> dict[str, tuple[File, ...]]:
    """Return the files of each stream: of the one named, or one stream per file stem."""
    streams: dict[str, list[File]] = {}
    for file in files:
        streams.setdefault(stream or _stem(file.path), []).append(file)
    return {name: tuple(of_one) for name, of_one in sorted(streams.items())}


def _stem(path: str) -> str:
    name = Path(path)
    if name.suffix.lower() in _PACKED:
        name = name.with_suffix("")
    return name.stem


def one_format(stream: str, files: Sequence[File]) -> str:
    """Return the format of a stream's files; raises ReadError when they are of several."""
    first = files[0]
    for file in files:
        if file.format != first.format:
            raise ReadError(
                f"{file.path}: is {file.format}, and {first.path} of the same stream {stream} is "
                f'{first.format}. Narrow "path" to one of them.'
            )
    return first.format


def table_name(stream: str) -> str:
    """Return a stream's name in the lake: every unusual sign becomes `_`."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", stream)
