"""SELECT patterns: names and globs that match sources, streams and tables."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cdpsync.errors import ConfigError, suggest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cdpsync.plan.configured import ConfiguredTable, Names


def matches_select(table: ConfiguredTable, pattern: str) -> bool:
    """Whether SELECT matches a table: its source, `source.stream`, or its name in the lake."""
    return matches_name(*table.names, pattern)


def matches_name(source: str, stream: str, table: str, pattern: str) -> bool:
    """Whether SELECT matches the table of this source, stream and name in the lake."""
    return any(fnmatchcase(name, pattern) for name in (source, f"{source}.{stream}", table))


def resolved(
    patterns: Iterable[str], tables: Iterable[Names], sources: Iterable[str]
) -> tuple[str, ...]:
    """Return SELECTs with the full name of a table in the place of each short one.

    A short name, `orders`, is that of one table, in the lake or at its source, without the source's
    name; a source of this name comes first. Raises ConfigError if several tables have the name.
    """
    listed, names = list(tables), set(sources)
    return tuple(
        _full_name(pattern, listed) if is_short(pattern, names) else pattern for pattern in patterns
    )


def is_short(pattern: str, sources: Iterable[str]) -> bool:
    """Whether a SELECT can only be a table's name without its source: no glob, no source's name."""
    return not _is_glob(pattern) and pattern.split(".", 1)[0] not in sources


def _full_name(short: str, tables: Iterable[Names]) -> str:
    matches = {
        f"{source}.{stream}": table
        for source, stream, table in tables
        if short.casefold() in {stream.casefold(), table.partition(".")[2].casefold()}
    }
    if len(matches) > 1:
        raise ConfigError(
            f'"{short}" is the name of several tables: {", ".join(sorted(matches.values()))}. '
            "Name one of them."
        )
    return next(map(as_pattern, matches), short)


def as_pattern(name: str) -> str:
    """Return a name as a pattern that matches this name alone."""
    return re.sub(r"[*?[]", r"[\g<0>]", name)


def did_you_mean(pattern: str, tables: Iterable[Names], sources: Iterable[str]) -> str:
    """Return a sentence with the table or source that SELECT probably means, or an empty text."""
    names = {source: source for source in sources}
    for source, stream, table in tables:
        for name in (table, f"{source}.{stream}", stream, table.partition(".")[2]):
            names.setdefault(name, table)
    near = suggest(pattern, names)
    return f" Did you mean {names[near]}?" if near else ""


def _is_glob(pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[")


def is_chosen(names: Names, select: Sequence[str], exclude: Sequence[str] = ()) -> bool:
    """Whether a table is selected: a SELECT matches it or there is none, and no exclude does."""
    selected = not select or any(matches_name(*names, pattern) for pattern in select)
    return selected and not any(matches_name(*names, pattern) for pattern in exclude)


def concerns_source(source: str, patterns: Iterable[str]) -> bool:
    """Whether any of these SELECTs can match a table of this source; true if there is none."""
    heads = [pattern.split(".", 1)[0] for pattern in patterns]
    return not heads or any(_can_match_source(head, source) for head in heads)


def _can_match_source(head: str, source: str) -> bool:
    literal_prefix = re.split(r"[*?\[]", head, maxsplit=1)[0]
    return head == source if literal_prefix == head else source.startswith(literal_prefix)


def means_all(source: str, pattern: str) -> bool:
    """Whether SELECT matches every table of this source, whatever their names."""
    name = "\0\0"  # no table has this name, so only a pattern for all names matches it
    return matches_name(source, name, f"{source}.{name}", pattern)
