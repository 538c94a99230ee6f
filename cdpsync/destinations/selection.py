"""Selects destinations by name or glob, and those that are due."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cdpsync.errors import ConfigError, suggest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from cdpsync.model import Config
    from cdpsync.model.deliveries import DeliveryRecord
    from cdpsync.model.destinations import Destination


def selected(
    config: Config, select: Sequence[str], known: Iterable[str] = ()
) -> tuple[Destination, ...]:
    """Return the destinations that SELECT matches, in the order of the file; all without one.

    Raises ConfigError for a pattern that matches none. `known` are names that have left the file.
    """
    names = chosen_names([*config.destinations, *known], select)
    return tuple(d for name, d in config.destinations.items() if name in names)


def chosen_names(names: Iterable[str], select: Sequence[str]) -> set[str]:
    """Return the names that SELECT matches. Raises ConfigError for a pattern that matches none."""
    names = list(names)
    if not select:
        return set(names)
    chosen = set()
    for pattern in select:
        matches = [name for name in names if fnmatchcase(name, pattern)]
        if not matches:
            near = suggest(pattern, names)
            hint = f' Did you mean "{near}"?' if near else ""
            listed = ", ".join(names) or "none"
            raise ConfigError(f'"{pattern}" matches no destination.{hint} Destinations: {listed}.')
        chosen.update(matches)
    return chosen


def is_due(destination: Destination, last: Mapping[str, DeliveryRecord], now: datetime) -> bool:
    """Whether the interval of a destination has passed since its last send; True without one."""
    record = last.get(destination.name)
    if destination.every is None or record is None:
        return True
    return now >= record.started_at + destination.every


def split_patterns(
    config: Config, select: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the patterns of SELECT that match a destination, and the others, of tables."""
    matching = [
        pattern
        for pattern in select
        if any(fnmatchcase(name, pattern) for name in config.destinations)
    ]
    return tuple(matching), tuple(pattern for pattern in select if pattern not in matching)
