"""Sends to the destinations of a project side by side, each under a lock of its own."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.catalog.delivery_tables import DeliveryTables
from cdpsync.destinations.overviews import LOCK
from cdpsync.destinations.quiet import quiet_results
from cdpsync.destinations.selection import is_due, selected
from cdpsync.destinations.sendable import failed
from cdpsync.destinations.sender import Sender, SendOptions
from cdpsync.errors import CdpsyncError, LockHeldError
from cdpsync.model.deliveries import DeliveryResult, SendResult
from cdpsync.project import catalog_of, locks_folder
from cdpsync.project.journal import start_run
from cdpsync.system import clock, locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cdpsync.model import Config, TableName
    from cdpsync.model.deliveries import DeliveryRecord
    from cdpsync.model.destinations import Destination

log = logging.getLogger("cdpsync.destinations")

_AT_ONCE = 8
"""Destinations that are sent to side by side; each has a loop and a few connections."""


def send(
    config: Config,
    select: Sequence[str] = (),
    *,
    due: bool = False,
    start: str | None = None,
    limit: int | None = None,
    confirm: Callable[[str, int], bool] = lambda _name, _rows: False,
    is_stopped: Callable[[], bool] = lambda: False,
    on_result: Callable[[DeliveryResult], None] = lambda _: None,
) -> SendResult:
    """Send the changes since the last send to the selected destinations.

    One that fails does not stop the others. `start` moves the position first: "now", "all" or a
    time. `limit` is of changes, for each destination; the others are held. `confirm` is asked
    before a first send of many rows. Held changes wait for their next attempt; where destinations
    are selected (without `due`), or `start` is given, all are tried at once. An interrupt is raised
    once nothing is sent any more. Raises ConfigError for a wrong selection, LockHeldError when
    other processes send to all of them.
    """
    return _send(
        config,
        selected(config, select),
        due=due,
        options=SendOptions(
            start=start,
            limit=limit,
            tries_held=bool(select and not due) or start is not None,
            confirm=confirm,
            is_stopped=is_stopped,
        ),
        on_result=on_result,
    )


def send_after_run(
    config: Config,
    tables: Sequence[TableName] | None,
    *,
    is_stopped: Callable[[], bool],
    on_result: Callable[[DeliveryResult], None] = lambda _: None,
) -> tuple[DeliveryResult, ...]:
    """Send what a run has changed, to the destinations that are due; return what came of each.

    `tables` are those of the run; None: all. A destination that another process sends to is left
    to it.
    """
    chosen = [
        destination
        for destination in config.destinations.values()
        if (tables is None or destination.table is None or destination.table in tables)
    ]
    if not chosen:
        return ()
    try:
        return _send(
            config,
            chosen,
            due=True,
            options=SendOptions(is_stopped=is_stopped),
            on_result=on_result,
        ).destinations
    except LockHeldError as error:
        log.warning("%s", error.message)
        return ()
    except CdpsyncError as error:  # what the run has committed is well
        return tuple(failed(destination, error) for destination in chosen)


def _send(
    config: Config,
    destinations: Sequence[Destination],
    *,
    due: bool,
    options: SendOptions,
    on_result: Callable[[DeliveryResult], None],
) -> SendResult:
    run = start_run(config)
    waiting = {destination.name for destination in destinations if not destination.enabled}
    if due:
        waiting |= _not_due(config, destinations)
    results = [skipped(destination) for destination in destinations if destination.name in waiting]
    names = {
        LOCK.format(destination.name): destination
        for destination in destinations
        if destination.name not in waiting
    }
    since = run.started_at.isoformat(timespec="seconds")
    with locks.hold_free(locks_folder(config), names, run.run_id, since) as acquired:
        if names and not acquired.files:
            name, holder = next(iter(acquired.taken.items()))
            raise locks.lock_error([name], holder)
        left_out = [skipped(names[name], str(holder)) for name, holder in acquired.taken.items()]
        results += left_out
        free = [destination for name, destination in names.items() if name in acquired.files]
        quiet = quiet_results(config, free) if options.start is None else []
        results += quiet
        done = {result.destination for result in quiet}
        busy = [destination for destination in free if destination.name not in done]
        senders = _Senders(config, run.run_id, busy, options)
        try:
            for destination, result in senders.results():
                acquired.release([LOCK.format(destination.name)])
                results.append(result)
                on_result(result)
        finally:
            try:
                senders.stop()
            except KeyboardInterrupt:  # a second one does not wait, but nobody else may send yet
                acquired.keep()
                raise
    places = {destination.name: place for place, destination in enumerate(destinations)}
    results.sort(key=lambda result: places[result.destination])
    return SendResult(
        run.run_id,
        overall_status(results, is_partial=bool(left_out)),
        run.started_at,
        clock.now(),
        tuple(results),
    )


class _Senders:
    """Sends to destinations side by side, in threads. Stop it, also where it is interrupted."""

    def __init__(
        self, config: Config, run_id: str, destinations: Sequence[Destination], options: SendOptions
    ) -> None:
        self._stopped = threading.Event()
        self._is_interrupted = options.is_stopped
        self._options = replace(options, is_stopped=self._is_stopped)
        self._pool = ThreadPoolExecutor(_AT_ONCE, "cdpsync-send")
        self._futures = {
            self._pool.submit(_send_one, config, run_id, destination, self._options): destination
            for destination in destinations
        }

    def _is_stopped(self) -> bool:
        return self._stopped.is_set() or self._is_interrupted()

    def results(self) -> Iterator[tuple[Destination, DeliveryResult]]:
        """Yield what came of each destination, as it ends."""
        while self._futures:
            finished, _ = wait(self._futures, return_when=FIRST_COMPLETED, timeout=0.5)
            if self._is_interrupted() and not finished:
                raise KeyboardInterrupt
            for future in finished:
                yield self._futures.pop(future), future.result()

    def stop(self) -> None:
        """Return once nothing is sent any more; what was answered until then is in the journals."""
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)


def _send_one(
    config: Config, run_id: str, destination: Destination, options: SendOptions
) -> DeliveryResult:
    try:
        return Sender(config, destination, run_id, options).send()
    except Exception as error:  # noqa: BLE001 - not even the history could be written
        return failed(destination, error)


def _not_due(config: Config, destinations: Sequence[Destination]) -> set[str]:
    catalog = catalog_of(config)
    if not any(destination.every for destination in destinations) or not catalog.exists():
        return set()
    with catalog.reader(data=False) as con:
        latest: dict[str, DeliveryRecord] = DeliveryTables(con).latest_deliveries()
    now = clock.now()
    return {
        destination.name for destination in destinations if not is_due(destination, latest, now)
    }


def skipped(destination: Destination, holder: str | None = None) -> DeliveryResult:
    """Return the result of one that was left out: off, not due, or sent to by another process."""
    notices = (f"left out, because {holder} sends to it",) if holder else ()
    return DeliveryResult(
        destination.name, destination.source, "skipped", state=None, notices=notices
    )


def overall_status(results: Sequence[DeliveryResult], *, is_partial: bool = False) -> str:
    """Return ok, partial or failed. `is_partial`: some destinations were left out."""
    tried = [result.status for result in results if result.status != "skipped"]
    if tried and all(status == "failed" for status in tried) and not is_partial:
        return "failed"
    return "partial" if is_partial or "failed" in tried else "ok"
