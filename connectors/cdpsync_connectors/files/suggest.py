"""Streams that look like parts of one table: output of Spark, and exports with a date or number.

They are only suggested as one stream, because the tables that a project has must not change.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.errors import ConnectError
from cdpsync_connectors.files.discover import find_files, stem, suffix

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cdpsync.model import Stream
    from cdpsync_connectors.files.discover import File

# part-00000-1f0e….c000.snappy, part-r-00000, part-0, part.0, data_0, 000000_0, 000000000000
_PART = re.compile(r"(part|data)[-_.]?([rm][-_])?[0-9]+([-_.].*)?|[0-9]{6,}(_[0-9]+)*")
_MONTH, _DAY = "(0[1-9]|1[0-2])", "(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([T_ -]?[0-9]{2}[-_:.h]?[0-9]{2}([-_:.m]?[0-9]{2}Z?)?)?"
_STAMPS = (
    rf"(19|20)[0-9]{{2}}[-_.]{_MONTH}[-_.]{_DAY}{_TIME}",
    rf"(19|20)[0-9]{{2}}{_MONTH}{_DAY}{_TIME}",
    rf"(19|20)[0-9]{{2}}[-_.]?{_MONTH}",
    r"(19|20)[0-9]{2}[-_.]?(Q[1-4]|W[0-5][0-9])",
    r"(19|20)[0-9]{2}",
    r"(?<=[-_.])[0-9]+$",
)
_SEPARATORS = "-_. "
_SHARED = 0.5  # of the columns, so that streams look like one table


@dataclass(frozen=True, slots=True)
class _Family:
    """A folder, and the name that files there share: `orders_*`; `*` for all parts of a table."""

    folder: str
    pattern: str
    suffix: str

    @property
    def table(self) -> str:
        """The name of the table that the files may be of."""
        name = self.pattern.replace("*", "").strip(_SEPARATORS)
        return name or stem(self.folder) or "table"


def suggestions(
    files_by_stream: Mapping[str, Sequence[File]], streams: Iterable[Stream], folder: Path | None
) -> list[str]:
    """Return a sentence for each set of streams that looks like one table.

    It has the keys of the project file that make them one. Paths are relative to `folder`, where
    that file is.
    """
    columns = {
        stream.name: {column.name for column in stream.columns}
        for stream in streams
        if stream.unreadable_reason is None and stream.columns
    }
    families: dict[_Family, dict[str, str]] = defaultdict(dict)
    for name, files in files_by_stream.items():
        for file in files if name in columns else ():
            family = None if file.is_named_by_sheet else _family_of(file)
            if family is not None:
                families[family][file.path] = name
    sentences = []
    for family, stream_of in families.items():
        names = sorted(set(stream_of.values()))
        own_files = sum(len(files_by_stream[name]) for name in names)
        is_one_stream = len(names) == 1 and own_files == len(stream_of)
        if not is_one_stream and _are_alike([columns[name] for name in names]):
            sentences.append(_sentence(family, stream_of, files_by_stream, folder))
    return [sentence for sentence in sentences if sentence]


def _family_of(file: File) -> _Family | None:
    folder, name = os.path.dirname(file.path), stem(file.path)  # noqa: PTH120 - as glob needs it
    keys = len(file.keys)
    table_folder = str(Path(folder).parents[keys - 1]) if keys else folder
    if _PART.fullmatch(name):
        return _Family(table_folder, "*", suffix(file.path))
    for stamp in _STAMPS:
        match = re.search(rf"(?<![0-9]){stamp}(?![0-9])", name)
        if match:
            pattern = f"{name[: match.start()]}*{name[match.end() :]}"
            return _Family(table_folder, pattern, suffix(file.path))
    return None


def _are_alike(columns: Sequence[set[str]]) -> bool:
    shared, every = set.intersection(*columns), set.union(*columns)
    return len(shared) >= _SHARED * len(every)


def _sentence(
    family: _Family,
    stream_of: Mapping[str, str],
    files_by_stream: Mapping[str, Sequence[File]],
    folder: Path | None,
) -> str | None:
    """Return the sentence about a family's files, given the stream of each; None without a glob."""
    names = sorted(set(stream_of.values()))
    shown_files = [Path(path).name for path in sorted(stream_of)]
    more = f" and {len(shown_files) - 2} more" if len(shown_files) > 2 else ""
    text = f"{', '.join(shown_files[:2])}{more} look like one table."
    if len(stream_of) == sum(map(len, files_by_stream.values())):
        return f"{text} To load them as one, add to the source: stream: {_yaml(family.table)}"
    path = _path_of_exactly(family, set(stream_of))
    if path is None:
        return None
    shown = os.path.relpath(path, folder) if folder and Path(path).is_relative_to(folder) else path
    source = f"{{type: files, path: {_yaml(shown)}, stream: {_yaml(family.table)}}}"
    pattern = _pattern_of_exactly(family, names, files_by_stream)
    keys = f", tables: {{{_yaml(pattern)}: {{enabled: false}}}}" if pattern else ""
    return (
        f"{text} To load them as one, make them a source of their own, {source}, and leave them "
        f"out of this one{keys}"
    )


def _pattern_of_exactly(
    family: _Family, names: Sequence[str], streams: Iterable[str]
) -> str | None:
    """Return a glob that matches the names of these streams and of no others, or None."""
    prefix = glob.escape(os.path.commonprefix(names))  # noqa: RUF071 - names, not paths
    for pattern in (family.pattern, family.pattern.replace("*", "[0-9]*"), f"{prefix}*"):
        if [name for name in streams if fnmatchcase(name, pattern)] == list(names):
            return pattern
    return None


def _path_of_exactly(family: _Family, paths: set[str]) -> str | None:
    """Return a glob that matches these files and no others, or None."""
    base = glob.escape(family.folder)
    depth = {path.count(os.sep) for path in paths} == {family.folder.count(os.sep) + 1}
    between = os.sep if depth else f"{os.sep}**{os.sep}"
    before, after = family.pattern.split("*", 1)
    for star in ("*", "[0-9]*"):
        pattern = f"{glob.escape(before)}{star}{glob.escape(after)}{family.suffix}"
        path = f"{base}{between}{pattern}"
        with contextlib.suppress(ConnectError):
            if {file.path for file in find_files(path, None)} == paths:
                return path
    return None


def _yaml(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z_][\w./-]*", text) else "'" + text.replace("'", "''") + "'"
