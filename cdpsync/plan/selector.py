"""SELECT patterns: names and globs that match sources, streams and tables."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cdpsync.plan.configured import ConfiguredTable, Names


def matches_select(table: ConfiguredTable, pattern: str) -> bool:
    """Whether SELECT matches a table: its source, `source.stream`, or its name in the lake."""
    return matches_name(*table.names, pattern)


def matches_name(source: str, stream: str, table: str, pattern: str) -> bool:
    """Whether SELECT matches the table of this source, stream and name in the lake."""
    return any(fnmatchcase(name, pattern) for name in (source, f"{source}.{stream}", table))


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
