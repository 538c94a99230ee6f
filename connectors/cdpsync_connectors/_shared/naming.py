"""Names of a database's tables as streams, globs over names, and likely cursor columns."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cdpsync.connector import UnmatchedPattern
from cdpsync.errors import ConfigError, ReadError
from cdpsync.sql import quote_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_PART = r'"(?:[^"]|"")+"|[^."]+'
_CHANGED = ("updated", "modified", "last_modified", "last_updated", "changed")
_CREATED = ("created", "inserted", "creation", "added")


def stream_name(parts: Iterable[str]) -> str:
    """Return a table's name as a stream: `public.orders`; a part with a dot or quote is quoted."""
    return ".".join(quote_name(part) if re.search(r'[."]|^$', part) else part for part in parts)


def split_stream(name: str) -> tuple[str, ...]:
    """Return the parts of a name that `stream_name` made; an empty tuple for any other text."""
    if not re.fullmatch(rf"(?:{_PART})(?:\.(?:{_PART}))*", name, re.DOTALL):
        return ()
    parts = re.findall(_PART, name, re.DOTALL)
    return tuple(part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts)


def split_pair(name: str, form: str) -> tuple[str, str]:
    """Return both parts of a name. Raises ReadError, naming the `form`, if it has not two parts."""
    parts = split_stream(name)
    if len(parts) != 2:
        raise ReadError(f'"{name}" is not the name of a table: write {form}.')
    return parts[0], parts[1]


def matches(name: str, globs: Iterable[str] | None) -> bool:
    """Whether one of the globs matches a name; without globs, every name matches."""
    return globs is None or any(fnmatchcase(name, glob) for glob in globs)


def unmatched_schemas(
    location: str,
    kind: str,
    globs: Iterable[str],
    names: Sequence[str],
    *,
    matches: Callable[[str, tuple[str, ...]], bool] = matches,
    streams: str = "{}.*",
) -> tuple[UnmatchedPattern, ...]:
    """Return the globs of `schemas:` that match none of the names.

    `streams` is the form of a glob of the streams in such a schema.
    """
    listed = ", ".join(names[:8]) or "none"
    there_are = f"There are: {listed}{', …' if len(names) > 8 else ''}."
    return tuple(
        UnmatchedPattern(
            streams.format(glob), f'{location}: schemas: "{glob}" matches no {kind}. {there_are}'
        )
        for glob in globs
        if not any(matches(name, (glob,)) for name in names)
    )


def require_matches(patterns: Iterable[UnmatchedPattern]) -> None:
    """Raise ConfigError for the first pattern that matched nothing, because a check reports it."""
    for pattern in patterns:
        raise ConfigError(pattern.message)


def table_of(stream: str, omitted_schema: str | None) -> str:
    """Return the name in the lake of the table of a stream `schema.table`."""
    parts = split_stream(stream) or (stream,)
    return parts[-1] if parts[:-1] in {(), (omitted_schema,)} else "_".join(parts)


def likely_cursors(
    ordered: Sequence[tuple[str, bool]], primary_key: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the columns that a cursor may follow, the likeliest first.

    `ordered` are the columns that have an order, and whether each is a time. Times of a change come
    before times of creation, then a primary key of one column.
    """

    def rank(column: tuple[str, bool]) -> int:
        name, is_time = column
        if is_time and name.lower().startswith(_CHANGED):
            return 0
        if is_time and name.lower().startswith(_CREATED):
            return 1
        return 2 if primary_key == (name,) else 3

    return tuple(name for name, _ in sorted(ordered, key=rank))
