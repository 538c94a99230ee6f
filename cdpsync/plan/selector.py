"""SELECT patterns: the tables that a name or a glob means."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cdpsync.plan.configured import ConfiguredTable, Names


def matches_select(one: ConfiguredTable, pattern: str) -> bool:
    """Whether SELECT means this table: its source, `source.stream`, its table, or a glob of it."""
    return matches_name(*one.names, pattern)


def matches_name(source: str, stream: str, table: str, pattern: str) -> bool:
    """Whether SELECT means the table of this source, stream and name in the lake."""
    return any(fnmatchcase(name, pattern) for name in (source, f"{source}.{stream}", table))


def is_chosen(names: Names, select: Sequence[str], exclude: Sequence[str] = ()) -> bool:
    """Whether SELECT means a table, or there is none, and nothing that is excluded means it."""
    asked = not select or any(matches_name(*names, pattern) for pattern in select)
    return asked and not any(matches_name(*names, pattern) for pattern in exclude)


def concerns_source(source: str, patterns: Iterable[str]) -> bool:
    """Whether any of these SELECTs may mean a table of this source."""
    heads = [pattern.split(".", 1)[0] for pattern in patterns]
    return not heads or any(_may_mean(head, source) for head in heads)


def _may_mean(head: str, source: str) -> bool:
    plain = re.split(r"[*?\[]", head, maxsplit=1)[0]
    return head == source if plain == head else source.startswith(plain)


def means_all(source: str, pattern: str) -> bool:
    """Whether SELECT means every table of this source, whatever they are called."""
    name = "\0\0"  # as no table is called: only what takes every name takes this one
    return matches_name(source, name, f"{source}.{name}", pattern)
