"""The files that a path matches: their formats, their streams, and their changes."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.errors import ConnectError, ReadError
from cdpsync_connectors.files.compressed import COMPRESSED
from cdpsync_connectors.files.content import name_in_archive
from cdpsync_connectors.files.hive import keys_of, literal_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cdpsync_connectors.files.hive import Keys

_EXTENSIONS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "jsonl",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
}
_NEVER_COMPRESSED = ("parquet", "xlsx")
_MARK = re.compile(r"_SUCCESS|_metadata|_common_metadata|_(committed|started)_[0-9]+")
# COMPRESSED: without an extension of ours in front, or with several files.
_OTHER_DATA = (".xls", ".xlsb", ".ods", ".avro", ".orc", ".xml", ".7z", ".rar", ".tar", ".tgz")
_DATA_OF_OTHERS = (*_OTHER_DATA, *COMPRESSED)
_KNOWN_EXTENSIONS = ", ".join(_EXTENSIONS)


@dataclass(frozen=True, slots=True)
class File:
    """A file at one moment; an equal value means that the file has not changed since.

    `unreadable_reason` tells why it cannot be opened, and what to do. `keys` are those of its path.
    Of a workbook it is one `sheet`, which `is_named_by_sheet` if its stream is not the only one.
    """

    path: str
    format: str
    size: int = 0
    modified: int = 0
    inode: int = 0
    unreadable_reason: str | None = None
    keys: Keys = ()
    sheet: str = ""
    is_named_by_sheet: bool = False

    @property
    def stream(self) -> str:
        """The name of the stream that the file is of, unless the source names one."""
        return f"{stem(self.path)}.{self.sheet}" if self.is_named_by_sheet else stem(self.path)


def find_files(path: str, format_: str | None, *, hive: bool = True) -> tuple[File, ...]:
    """Return the files of a path, folder or glob, by name; hidden ones only if named.

    A file that cannot be opened, or belongs to a table format, has its `unreadable_reason`; so has
    one with a compressed or plain copy beside it. A file that is reached through links to folders
    too is returned once, by its shortest path. With `hive`, files have the keys of their paths.
    Raises ConnectError, with the next step, if there is no file.
    """
    literal = literal_parts(path)
    candidates = [match for match in _candidates(path, format_) if not _is_mark(match, literal)]
    files = tuple(
        _file_or_reason(candidate, format_of, literal if hive else None)
        for candidate in sorted(_once_each(candidates))
        if (format_of := format_ or _format_of_name(candidate))
    )
    if files:
        return _without_copies(files)
    if candidates:
        raise ConnectError(
            f"{path}: the file extension names no format (known: {_KNOWN_EXTENSIONS}; "
            "text also .gz, .zst, .bz2, .xz, .zip). "
            'Set "format: csv", tsv, jsonl, parquet or xlsx.'
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


def _is_mark(path: str, literal: int) -> bool:
    """Whether a file is none of the rows that Hadoop and Spark write: a mark, or not committed.

    In a folder of their output, they themselves read no name that begins with `_`. `~$` begins the
    name of the file by which Excel tells that a workbook is open. `literal` is how many parts of
    the path the source names itself: what is named in full is no mark.
    """
    parts = Path(path).parts[literal:]
    if parts and parts[-1].startswith("~$"):
        return True
    if "_temporary" in parts[:-1]:
        return True
    if not parts or not parts[-1].startswith("_"):
        return False
    return bool(_MARK.fullmatch(parts[-1])) or Path(path).with_name("_SUCCESS").is_file()


def _without_copies(files: tuple[File, ...]) -> tuple[File, ...]:
    """Return the files; those that differ only in their compression cannot be read.

    Nobody can tell whether they are two copies of the same rows.
    """
    copies: dict[str, list[File]] = {}
    for file in files:
        copies.setdefault(_without_compression(file.path), []).append(file)
    return tuple(
        _as_copy(file, group) if len(group := copies[_without_compression(file.path)]) > 1 else file
        for file in files
    )


def _as_copy(file: File, group: Sequence[File]) -> File:
    if file.unreadable_reason is not None:
        return file
    other = next(other for other in group if other is not file)
    reason = (
        f"{file.path}: {Path(other.path).name} is beside it, and if one is a copy of the other, "
        "each row would arrive twice. Remove or rename one of them, or narrow path to "
        f"*{''.join(Path(file.path).suffixes[-2:])}."
    )
    return replace(file, unreadable_reason=reason)


def _without_compression(path: str) -> str:
    root, extension = os.path.splitext(path)  # noqa: PTH122 - a path as DuckDB gets it
    return root if extension.lower() in COMPRESSED else path


def other_data(path: str) -> list[str]:
    """Return the names of files of a folder or glob that look like data of no known format."""
    if Path(path).is_dir():
        entries: Iterable[Path] = Path(path).iterdir()
    else:
        entries = map(Path, glob.iglob(path, recursive=True))  # noqa: PTH207 - as in _candidates
    return sorted(
        entry.name
        for entry in entries
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
    return None if is_compressed and format_ in _NEVER_COMPRESSED else format_


def _reason_of_no_file(path: str) -> str:
    if Path(path).is_dir():
        return (
            f"no file in this folder is of a known format ({_KNOWN_EXTENSIONS}). "
            "Name the files with a glob; one that begins with **/ searches subfolders too."
        )
    if glob.has_magic(path):
        return "no file matches. Check the path; a relative one starts at the config file's folder."
    return "does not exist. Check the path; a relative one starts at the config file's folder."


def _file_or_reason(path: str, format_: str, keys_behind: int | None) -> File:
    try:
        if format_ == "parquet":
            _require_plain(path)
        file = _file(path, format_)
        return file if keys_behind is None else replace(file, keys=keys_of(path, keys_behind))
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
            is_unchanged = _as_of_now(file) == file
        except ConnectError:
            is_unchanged = False
        if not is_unchanged:
            raise ReadError(f"{file.path}: changed while it was read; run again.")


def _as_of_now(file: File) -> File:
    now = _file(file.path, file.format)
    return replace(file, size=now.size, modified=now.modified, inode=now.inode)


def group_by_stream(files: Sequence[File], stream: str | None) -> dict[str, tuple[File, ...]]:
    """Return the files of each stream: all of them as `stream`, or by their own names.

    Of a file and links to it, as of a day's export and `latest.csv`, a stream has one.
    """
    streams: dict[str, list[File]] = {}
    for file in files:
        streams.setdefault(stream or file.stream, []).append(file)
    return {name: _without_links(group) for name, group in sorted(streams.items())}


def _without_links(files: Sequence[File]) -> tuple[File, ...]:
    links = {file.path for file in files if os.path.islink(file.path)}  # noqa: PTH114 - as found
    if len(files) == 1 or not links:
        return tuple(files)
    kept: dict[tuple[object, ...], File] = {}
    for file in sorted(files, key=lambda file: (file.path in links, file.path)):
        real_path = os.path.realpath(file.path)
        kept.setdefault((real_path, file.sheet, file.keys), file)
    chosen = set(map(id, kept.values()))
    return tuple(file for file in files if id(file) in chosen)


def stem(path: str) -> str:
    """Return the name of a file without its extensions."""
    return Path(_without_compression(path)).stem


def suffix(path: str) -> str:
    """Return the extensions of a file, such as `.csv.gz`."""
    return Path(path).name.removeprefix(stem(path))


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
    """Return a stream's name in the lake: its letters, digits, `_` and `-`; else `_`.

    Letters and digits are those of any script, with their marks, in Unicode's composed form: the
    same name has other code points on a Mac.
    """
    composed = unicodedata.normalize("NFC", stream)
    return "".join(sign if _is_kept(sign) else "_" for sign in composed)


def _is_kept(sign: str) -> bool:
    return sign in "_-" or unicodedata.category(sign)[0] in "LMN"


def former_table_name(stream: str) -> str:
    """Return the name that a stream's table had before letters beyond ASCII were kept."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", stream)
