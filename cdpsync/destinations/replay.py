"""Replays dead letters: their rows as they are now, or as they were, are sent again."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.catalog import Lake
from cdpsync.catalog.delivery_tables import DeliveryTables
from cdpsync.catalog.transaction import transaction
from cdpsync.destinations.delivery.journal import DELIVERED, PENDING
from cdpsync.destinations.delivery.refusals import dead_letters as dead_letters_of
from cdpsync.destinations.delivery.tokens import Tokens
from cdpsync.destinations.operations import find_dead_letters
from cdpsync.destinations.overviews import LOCK
from cdpsync.destinations.places import Places
from cdpsync.destinations.runner import overall_status
from cdpsync.destinations.samples import letters_as_sample
from cdpsync.destinations.sendable import failed, require_health, require_sendable
from cdpsync.destinations.settling import dispatch, with_dispatch
from cdpsync.errors import CdpsyncError, ConfigError
from cdpsync.model.deliveries import DeliveryRecord, DeliveryResult, DestinationState, SendResult
from cdpsync.project import catalog_of, locks_folder
from cdpsync.project.journal import Run, start_run
from cdpsync.serialize.text import plural
from cdpsync.system import clock, locks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cdpsync.destinations.delivery.results import DispatchResult
    from cdpsync.destinations.samples import Sample
    from cdpsync.model import Config
    from cdpsync.model.deliveries import DeadLetter
    from cdpsync.model.destinations import Destination


def replay(
    config: Config,
    select: Sequence[str],
    where: str | None = None,
    *,
    as_it_was: bool = False,
    is_stopped: Callable[[], bool] = lambda: False,
) -> SendResult:
    """Send dead letters again; return what came of each destination.

    A letter that is taken is no dead letter any more; one that is refused again has the new answer.
    One whose row is gone, or no longer fulfils the conditions, stays. Health and rate are obeyed.
    """
    run = start_run(config)
    names = dict.fromkeys(letter.destination for letter in find_dead_letters(config, select, where))
    results = []
    for name in names:
        if is_stopped():
            raise KeyboardInterrupt
        destination = config.destinations.get(name)
        if destination is None:
            raise ConfigError(
                f'"{name}" is no longer in the project file, so its dead letters cannot be sent. '
                f"Drop them: cdpsync dead drop {name} -y."
            )
        results.append(_replay_one(config, destination, run, where, as_it_was=as_it_was))
    return SendResult(
        run.run_id, overall_status(results), run.started_at, clock.now(), tuple(results)
    )


def _replay_one(
    config: Config,
    destination: Destination,
    run: Run,
    where: str | None,
    *,
    as_it_was: bool,
) -> DeliveryResult:
    """Replay the letters that a destination has once nobody else sends to it."""
    since = run.started_at.isoformat(timespec="seconds")
    lock = LOCK.format(destination.name)
    try:
        require_sendable(destination)
        with locks.hold(locks_folder(config), [lock], run.run_id, since):
            letters = find_dead_letters(config, [destination.name], where)
            return _Replay(config, destination, run).send(letters, as_it_was=as_it_was)
    except CdpsyncError as error:
        return failed(destination, error)


class _Replay:
    """The replay of one destination's dead letters. The caller holds the destination's lock."""

    def __init__(self, config: Config, destination: Destination, run: Run) -> None:
        self._config, self._destination, self._run = config, destination, run
        self._catalog = catalog_of(config)
        self._tokens = Tokens(Places(config, destination.name).tokens, destination.name)
        self._start = time.monotonic()
        with self._catalog.reader(data=False) as con:
            self._state = (
                DeliveryTables(con)
                .states()
                .get(destination.name, DestinationState(destination.name, destination.source, None))
            )

    def send(self, letters: Sequence[DeadLetter], *, as_it_was: bool) -> DeliveryResult:
        """Send letters whose rows are there; those of one snapshot together, as they were."""
        require_health(self._destination, self._state.health)
        groups: dict[int | None, list[DeadLetter]] = defaultdict(list)
        for letter in letters:
            groups[letter.snapshot_id if as_it_was else None].append(letter)
        result = self._empty()
        for snapshot, group in groups.items():
            result = _sum(result, self._send_group(group, snapshot))
            if result.error is not None:
                break
        return result

    def _send_group(self, letters: Sequence[DeadLetter], snapshot: int | None) -> DeliveryResult:
        """Send the letters of a group, one per event; what was answered is saved in any case."""
        by_event: dict[str, list[DeadLetter]] = defaultdict(list)
        for letter in letters:
            by_event[letter.event_id].append(letter)
        newest = [group[-1] for group in by_event.values()]
        with letters_as_sample(self._config, self._destination, newest, snapshot) as rendered:
            dispatched = None
            try:
                dispatched = dispatch(
                    self._destination,
                    rendered.outbox,
                    rendered.rendering,
                    self._state.health,
                    self._tokens,
                )
            finally:
                result = self._commit(by_event, rendered, dispatched)
            return result

    def _commit(
        self,
        by_event: Mapping[str, Sequence[DeadLetter]],
        rendered: Sample,
        dispatched: DispatchResult | None,
    ) -> DeliveryResult:
        settlements, events = rendered.outbox.settlements(), rendered.event_ids()
        taken = [
            letter.id
            for first, last in settlements.ranges(DELIVERED)
            for seq in range(first, last + 1)
            for letter in by_event[events[seq]]
        ]
        refused = [
            (by_event[letter.event_id], letter)
            for letter in dead_letters_of(
                rendered.outbox,
                settlements,
                destination=self._destination,
                routes=rendered.rendering.routes,
                marks=rendered.rendering.marks,
            )
        ]
        count = sum(map(len, by_event.values()))
        missing = len(by_event) - rendered.outbox.rows
        notices = []
        if missing:
            notices.append(
                f"{plural(missing, 'dead letter')} left as they are: the row is gone, or does not "
                "fulfil the conditions now. Send it --as-it-was, or drop it"
            )
        result = replace(
            self._empty(),
            triggered=count,
            succeeded=len(taken),
            dead=len(refused),
            held=settlements.count(PENDING),
            notices=tuple(notices),
        )
        result = with_dispatch(result, dispatched)
        if dispatched is not None:
            self._state = replace(
                self._state,
                health=dispatched.health,
                last_delivery_at=clock.now() if taken else self._state.last_delivery_at,
            )
        self._save(
            result,
            taken,
            [letter.id for old, _ in refused for letter in old],
            [_refused_again(old[-1], new) for old, new in refused],
        )
        return result

    def _save(
        self,
        result: DeliveryResult,
        taken: Sequence[str],
        replaced: Sequence[str],
        refused: Sequence[DeadLetter],
    ) -> None:
        record = DeliveryRecord(self._run.run_id, self._run.started_at, clock.now(), result)
        with self._catalog.writer(data=False) as con:
            Lake(con).system_tables.prepare()
            tables = DeliveryTables(con)
            with transaction(con, f"{self._run.run_id}: replayed to {self._destination.name}"):
                tables.save(self._state)
                tables.record(record)
                tables.mark_replayed(taken, clock.now())
                tables.drop_dead_letters(replaced)
                tables.add_dead_letters(refused)

    def _empty(self) -> DeliveryResult:
        return DeliveryResult(
            self._destination.name,
            self._destination.source,
            "ok",
            self._state.health.state,
            seconds=time.monotonic() - self._start,
        )


def _refused_again(old: DeadLetter, new: DeadLetter) -> DeadLetter:
    return replace(
        new,
        id=old.id,
        change=old.change,
        first_at=old.first_at,
        attempts=old.attempts + new.attempts,
    )


def _sum(result: DeliveryResult, more: DeliveryResult) -> DeliveryResult:
    names = (
        "triggered", "filtered", "masked", "succeeded", "held", "dead", "retried", "requests",
        "bytes_sent",
    )  # fmt: skip
    return replace(
        more,
        notices=tuple(dict.fromkeys((*result.notices, *more.notices))),
        **{name: getattr(result, name) + getattr(more, name) for name in names},
    )
