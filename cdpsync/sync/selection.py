"""The selection of a run's tables: its options, the full names of tables, and which are due."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cdpsync import project
from cdpsync.errors import ConfigError
from cdpsync.plan.configured import table_options
from cdpsync.plan.schedule import counts_from, is_due, last_run
from cdpsync.plan.selector import did_you_mean, is_short, resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from cdpsync.model import Config
    from cdpsync.model.state import ProjectState
    from cdpsync.plan.configured import ConfiguredTable, Names


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The selection of a run's tables, and the options that hold for all of them."""

    select: Sequence[str] = ()
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    due: bool = False
    full_refresh: bool = False
    allow_shrink: bool = False
    accept_changes: bool = False
    limit: int | None = None
    accept_source: bool = False

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns that select tables: SELECT and -s."""
        return (*self.select, *self.include)


def with_full_names(
    options: RunOptions,
    config: Config,
    names: Sequence[Names],
    *,
    unreachable: Sequence[str],
    missing: Callable[[], Sequence[Names]],
) -> RunOptions:
    """Return the options with full names.

    An unknown name may be of an unreachable source, or of a table that is missing at its source;
    these are asked for only if a short name has no other meaning.
    """
    sources = config.sources
    known = resolved(options.patterns, names, sources)
    if any(is_short(pattern, sources) for pattern in known):
        names = [*names, *missing()]

    def full(patterns: Sequence[str]) -> tuple[str, ...]:
        return tuple(
            name
            for pattern in resolved(patterns, names, sources)
            for name in (
                [f"{source}.{pattern}" for source in unreachable]
                if unreachable and "." not in pattern and is_short(pattern, sources)
                else [pattern]
            )
        )

    return replace(
        options,
        select=full(options.select),
        include=full(options.include),
        exclude=resolved(options.exclude, names, sources),
    )


def no_match(pattern: str, config: Config, tables: Sequence[ConfiguredTable]) -> ConfigError:
    """Return the error of a SELECT that matches no table, with the name that it probably means."""
    names = [table.names for table in tables]
    hint = did_you_mean(pattern, names, config.sources)
    listed = ", ".join(table for *_, table in names[:10]) or "none"
    listed += ", …" if len(names) > 10 else ""
    if is_short(pattern, config.sources):
        sources = ", ".join(config.sources) or "none"
        head = pattern.split(".", 1)[0]
        return ConfigError(
            f'"{pattern}": there is no source "{head}", and no table of this name.{hint} '
            f"This project has: {sources}. Tables: {listed}."
        )
    return ConfigError(f'"{pattern}" matches no enabled table.{hint} Tables: {listed}.')


def not_due_check(config: Config, state: ProjectState, now: datetime) -> Callable[[str, str], bool]:
    """Return a function that says whether a stream of a source is not due yet."""
    records = project.records_by_table(state)

    def is_not_due(source: str, stream: str) -> bool:
        options = table_options(config.sources[source], stream)
        since = counts_from(last_run(records[source, stream]))
        return options is not None and not is_due(options.every, since, now)

    return is_not_due


def never(_source: str, _stream: str) -> bool:
    """Return that a stream is due, because the run does not ask."""
    return False
