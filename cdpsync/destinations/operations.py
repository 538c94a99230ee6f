"""What a person changes by hand: enables and disables destinations, looks at dead letters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.catalog import Lake
from cdpsync.catalog.delivery_tables import DeliveryTables
from cdpsync.catalog.transaction import transaction
from cdpsync.destinations.delivery import health as healths
from cdpsync.destinations.overviews import LOCK
from cdpsync.destinations.selection import chosen_names, selected
from cdpsync.engine import first_line
from cdpsync.errors import ConfigError
from cdpsync.model.deliveries import DestinationState, Health
from cdpsync.project import catalog_of, locks_folder
from cdpsync.project.journal import start_run
from cdpsync.system import clock, locks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from cdpsync.model import Config
    from cdpsync.model.deliveries import DeadLetter


def enable(config: Config, select: Sequence[str]) -> tuple[str, ...]:
    """Let destinations be sent to again; return their names."""
    return _set_health(config, select, lambda _, now: healths.enable(now))


def disable(config: Config, select: Sequence[str]) -> tuple[str, ...]:
    """Send nothing to destinations until they are enabled; return their names."""
    return _set_health(
        config, select, lambda health, now: healths.disable(health, now, "disabled by hand")
    )


def _set_health(
    config: Config, select: Sequence[str], change: Callable[[Health, datetime], Health]
) -> tuple[str, ...]:
    """Change the health of destinations. Raises LockHeldError while one of them is sent to."""
    destinations, run, catalog = selected(config, select), start_run(config), catalog_of(config)
    names = [LOCK.format(destination.name) for destination in destinations]
    since = run.started_at.isoformat(timespec="seconds")
    with (
        locks.hold(locks_folder(config), names, run.run_id, since),
        catalog.writer(data=False) as con,
    ):
        Lake(con).system_tables.prepare()
        tables = DeliveryTables(con)
        tables.prepare()
        states = tables.states()
        with transaction(con, f"{run.run_id}: health"):
            for destination in destinations:
                state = states.get(
                    destination.name, DestinationState(destination.name, destination.source, None)
                )
                tables.save(replace(state, health=change(state.health, clock.now())))
    return tuple(destination.name for destination in destinations)


def find_dead_letters(
    config: Config,
    select: Sequence[str] = (),
    where: str | None = None,
    limit: int | None = None,
) -> tuple[DeadLetter, ...]:
    """Return the dead letters of destinations, oldest first; also of those that left the file.

    `where` is SQL over the columns of `cdpsync.dead_letters`. Raises ConfigError where it is wrong.
    """
    import duckdb

    catalog = catalog_of(config)
    if not catalog.exists():
        chosen_names(config.destinations, select)
        return ()
    with catalog.reader(data=False) as con:
        tables = DeliveryTables(con)
        names = chosen_names({*config.destinations, *tables.dead_counts()}, select)
        try:
            return tables.dead_letters(sorted(names), where, limit)
        except duckdb.Error as error:
            raise ConfigError(f"--where: {first_line(error)}.") from error


def drop_dead_letters(config: Config, ids: Sequence[str]) -> None:
    """Delete dead letters."""
    if not ids:
        return
    with catalog_of(config).writer(data=False) as con:
        tables = DeliveryTables(con)
        with transaction(con, "dead letters dropped"):
            tables.drop_dead_letters(ids)
