"""What databases have in common as sources: names of tables as streams, likely cursors, types."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cdpsync.errors import ConfigError, ReadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cdpsync.connector import ReadRequest

_PART = r'"(?:[^"]|"")+"|[^."]+'
_CHANGED = ("updated", "modified", "last_modified", "last_updated", "changed")
_CREATED = ("created", "inserted", "creation", "added")


def stream_name(parts: Iterable[str]) -> str:
    """Return how a person writes a table: `public.orders`; a part with a dot or quote is quoted."""
    return ".".join(_quoted(part) if re.search(r'[."]|^$', part) else part for part in parts)


def _quoted(part: str) -> str:
    return '"' + part.replace('"', '""') + '"'


def split_stream(name: str) -> tuple[str, ...]:
    """Return the parts of a name that `stream_name` wrote; none of what it never writes."""
    if not re.fullmatch(rf"(?:{_PART})(?:\.(?:{_PART}))*", name, re.DOTALL):
        return ()
    parts = re.findall(_PART, name, re.DOTALL)
    return tuple(part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts)


def split_pair(name: str, form: str) -> tuple[str, str]:
    """Return both parts of a name. Raises ReadError, saying the `form`, where it has not two."""
    parts = split_stream(name)
    if len(parts) != 2:
        raise ReadError(f'"{name}" is not the name of a table: write {form}.')
    return parts[0], parts[1]


def matches(name: str, globs: Iterable[str] | None) -> bool:
    """Whether a glob means a name; without globs, each is meant."""
    return globs is None or any(fnmatchcase(name, glob) for glob in globs)


def refuse_idle(
    place: str,
    kind: str,
    globs: Iterable[str],
    names: Sequence[str],
    *,
    matches: Callable[[str, tuple[str, ...]], bool] = matches,
) -> None:
    """Raise ConfigError for the first of `schemas:` that means none of the names there are."""
    for glob in globs:
        if not any(matches(name, (glob,)) for name in names):
            there = ", ".join(names[:8]) or "none"
            raise ConfigError(
                f'{place}: schemas: "{glob}" matches no {kind}. '
                f"There are: {there}{', …' if len(names) > 8 else ''}."
            )


def likely_cursors(
    able: Sequence[tuple[str, bool]], primary_key: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the columns that a cursor may follow, the likeliest first.

    `able` are those that have an order, and whether each is a time. Times of a change come before
    times of creation, then a key of a single number.
    """

    def rank(place: int) -> tuple[int, int]:
        column, is_time = able[place]
        name = column.lower()
        if is_time and name.startswith(_CHANGED):
            return 0, place
        if is_time and name.startswith(_CREATED):
            return 1, place
        return (2 if primary_key == (column,) else 3), place

    return tuple(able[place][0] for place in sorted(range(len(able)), key=rank))


def asked_type(name: str, request: ReadRequest, *, is_open: bool) -> str | None:
    """Return the type that binds a column: the user's, or the lake's where the source has none."""
    if name in request.types or not is_open:
        return request.types.get(name)
    landed = {column.lower(): type_ for column, type_ in request.lake_types.items()}
    return landed.get(name.lower())
