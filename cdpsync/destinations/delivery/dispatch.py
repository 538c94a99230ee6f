"""Sends an outbox: requests side by side, within limits, with retries, and a journal of answers."""

from __future__ import annotations

import random
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.destinations.delivery import answers, health
from cdpsync.destinations.delivery.answers import TAKEN, Outcome, Verdict
from cdpsync.destinations.delivery.clock import Interruption, SystemClock
from cdpsync.destinations.delivery.connections import HttpAnswer, connect
from cdpsync.destinations.delivery.journal import PENDING, Journal, Refusal
from cdpsync.destinations.delivery.judges import Judges
from cdpsync.destinations.delivery.key_order import KeyOrder
from cdpsync.destinations.delivery.ledger import Ledger
from cdpsync.destinations.delivery.limits import RateLimiter
from cdpsync.destinations.delivery.logins import Logins
from cdpsync.destinations.delivery.parcel_queue import NEVER, ParcelQueue
from cdpsync.destinations.delivery.request_log import RequestLog
from cdpsync.destinations.delivery.requests import FindShape, Marks, Parcel, RequestShape
from cdpsync.destinations.delivery.routes import composers, parcel_reader
from cdpsync.destinations.delivery.supervisor import LONGEST_WAIT, Supervisor, later
from cdpsync.model.deliveries import HealthState
from cdpsync.model.destinations import ChangeOrder
from cdpsync.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cdpsync.destinations.delivery.clock import Clock
    from cdpsync.destinations.delivery.outbox import Outbox
    from cdpsync.destinations.delivery.results import DispatchResult
    from cdpsync.destinations.delivery.tokens import Tokens
    from cdpsync.model.deliveries import Health
    from cdpsync.model.destinations import Destination

_LONGEST_BACKOFF = 30.0  # seconds
_LONGEST_SLEEP = 0.5  # seconds until the next look whether it is interrupted
_LONGEST_LOOK = 0.1  # seconds between two looks at the journal and the health
_NOT_FOUND = 404
_TOO_MANY = 429
_ABSENT = (_NOT_FOUND, 410)  # of a record that is to be deleted


class Dispatcher:
    """Sends what an outbox has not settled to one destination. Use it once."""

    def __init__(
        self,
        destination: Destination,
        outbox: Outbox,
        routes: Mapping[str, RequestShape | FindShape],
        *,
        marks: Mapping[str, str],
        health: Health,
        tokens: Tokens | None = None,
        is_stopped: Callable[[], bool] = lambda: False,
        clock: Clock | None = None,
        retry_seconds: float = 1.0,
    ) -> None:
        """Prepare the requests of the routes `request` and `delete`.

        `marks` are the marks in texts, with the values from outside the file. `tokens` are those of
        OAuth. Raises ConfigError if pycurl is missing, or a value does not fit a header or a URL.
        """
        self._destination, self._outbox, self._routes = destination, outbox, routes
        self._supervisor = Supervisor(destination.name, health)
        self._clock: Clock = clock or SystemClock()
        self._retry_seconds, self._interruption = retry_seconds, Interruption(is_stopped)
        self._random = random.Random(outbox.id)  # noqa: S311 - it only spreads retries
        self._composers = composers(destination, routes, Marks(marks))
        self._log = RequestLog(destination.name, outbox.id)
        self._judges = Judges(destination, routes)
        self._logins = Logins(
            destination,
            self._composers.values(),
            tokens,
            self._supervisor,
            clock=self._clock,
            backoff=self._backoff,
            log=self._log,
        )
        self._settlements = outbox.settlements()
        self._left_failures = dict(self._settlements.failures)  # of a run that died

    def send(self) -> DispatchResult:
        """Send all that may be sent now, and return what came of it.

        What was taken or refused is in the journal when this returns, and also if it raises:
        KeyboardInterrupt once `is_stopped`, after a moment for what is under way.
        """
        start = self._clock.monotonic()
        with ExitStack() as stack:
            self._open(stack)
            self._begin()
            self._loop()
        return self._result(self._clock.monotonic() - start)

    def _open(self, stack: ExitStack) -> None:
        """Open the journal, the outbox and the connections, until the stack closes them."""
        journal = stack.enter_context(closing(Journal(self._outbox.journal_file)))
        self._ledger = Ledger(journal, self._settlements, self._destination.retry)
        reader = parcel_reader(self._destination, self._outbox, self._routes, self._settlements)
        self._reader = stack.enter_context(closing(reader))
        self._connections = stack.enter_context(
            closing(connect(self._destination, reads_answers=self._judges.reads_answers))
        )
        stack.enter_context(closing(self._judges))
        stack.enter_context(closing(self._logins))
        order = KeyOrder() if self._outbox.meta.order is ChangeOrder.EACH else None
        limiter = RateLimiter(self._destination.rate)
        self._queue = ParcelQueue(
            self._parcels(), limiter, order, has_batches=self._destination.batch is not None
        )

    # ---- what is sent

    def _begin(self) -> None:
        """Look at the health, and settle the changes that cannot be rendered."""
        now = self._clock.now()
        self._supervisor.begin(now)
        if self._supervisor.stop is not None:
            return
        errors = [(seq, text) for seq, text in self._reader.errors() if self._is_pending(seq)]
        if errors:
            pending = self._settlements.count(PENDING)
            self._supervisor.stop_if_most(len(errors), pending, errors[0][1])
        if self._supervisor.stop is not None:
            return
        for seq, text in errors:
            self._ledger.bury(seq, Refusal(text, first_at=now.isoformat(), last_at=now.isoformat()))

    def _is_pending(self, seq: int) -> bool:
        return self._settlements.states[seq] == PENDING

    def _parcels(self) -> Iterator[Parcel]:
        """Yield the parcels of the outbox; of a probe, first one with a single change."""
        for parcel in self._reader.read():
            parcel.step = self._judges.first_step(parcel.route)
            if self._supervisor.is_probe and parcel.rows > 1:
                seqs = self._reader.seqs(parcel)
                yield self._reader.parcel_of(seqs[:1])
                yield self._reader.parcel_of(seqs[1:])
            else:
                yield parcel

    def _loop(self) -> None:
        """Send and settle, until nothing is left that may be sent in this run."""
        while True:
            now = self._clock.monotonic()
            is_over = self._interruption.has_come(now, self._connections.in_flight)
            stop = self._supervisor.stop
            wakes_at = None if stop or is_over else self._start_requests(now)
            if self._connections.in_flight:
                look_at = now + _LONGEST_LOOK if wakes_at is None else wakes_at
                self._settle_all(self._connections.wait(min(max(look_at - now, 0), _LONGEST_LOOK)))
                self._ledger.write(self._clock.monotonic())
            elif wakes_at is None:
                return
            else:
                self._ledger.flush()
                self._clock.sleep(min(max(wakes_at - now, 0.0), _LONGEST_SLEEP))

    def _start_requests(self, now: float) -> float | None:
        """Start requests on free connections; return when to go on, None: after an answer."""
        connections = self._connections
        if (waits_until := self._logins.waits_until(connections, now)) is not None:
            return None if waits_until == NEVER else waits_until
        limit = self._supervisor.most_requests(connections.count)
        while connections.in_flight < limit:
            parcel = self._queue.next(now)
            if parcel is None:
                return None if self._queue.wakes_at == NEVER else self._queue.wakes_at
            if parcel.rows > self._reader.rows:  # because batches became smaller meanwhile
                self._queue.put_halves(parcel, self._reader.halves(parcel))
                continue
            composer = self._composers[parcel.route, parcel.step]
            seconds = int(self._clock.now().timestamp()) if composer.is_signed else 0
            request = composer.compose(parcel, seconds)
            if isinstance(request, str):
                self._refuse(parcel, None, request)
                continue
            tally = self._ledger.tally
            tally.requests += 1
            tally.bytes_sent += len(request.body or b"")
            connections.start(request, parcel)
        return None

    # ---- what came of it

    def _settle_all(self, arrived: list[tuple[object, HttpAnswer]]) -> None:
        """Settle the parcels of some answers, and charge the health once for all of them."""
        arrived = self._logins.settled(arrived)
        now = self._clock.now()
        faults, slowness, reason = 0, 0.0, ""
        for parcel, answer, verdict in self._judges.judged(arrived, now):
            self._ledger.tally.answer(answer.seconds)
            if self._supervisor.is_probe:
                failed = verdict.outcome is Outcome.RETRY
                self._supervisor.end_probe(verdict.error if failed else None, now)
            if verdict is TAKEN and not parcel.step:
                self._deliver(parcel)
                self._log.note_some(parcel, answer, self._ledger.tally.answers)
            else:
                self._settle(parcel, answer, verdict)
            if verdict.is_fault:
                faults, reason = faults + 1, verdict.error
            elif answer.seconds > health.FAST:
                slowness += health.slowness_cost(answer.seconds)
        if faults or slowness or self._supervisor.health.state is HealthState.DEGRADED:
            self._supervisor.charge(faults, slowness, now, reason)

    def _deliver(self, parcel: Parcel) -> None:
        self._ledger.deliver(parcel)
        self._queue.settle(parcel)
        self._supervisor.count_delivery()

    def _settle(self, parcel: Parcel, answer: HttpAnswer, verdict: Verdict) -> None:
        """Settle a parcel, or decide when it is sent again."""
        outcome = verdict.outcome
        if parcel.step == "find_" and (outcome is Outcome.TAKEN or answer.status == _NOT_FOUND):
            parcel.record_id = verdict.found
            parcel.step = "create_" if verdict.found is None else "update_"
            if (parcel.route, parcel.step) in self._composers:
                self._queue.put_first(parcel)
                return
            self._deliver(parcel)  # nothing was found, so there is nothing to do
            return
        composer = self._composers[parcel.route, parcel.step]
        if outcome is Outcome.TAKEN or (composer.deletes and answer.status in _ABSENT):
            self._deliver(parcel)
            return
        if outcome is Outcome.GONE and not composer.is_one_url:
            outcome = Outcome.REFUSED  # because what is gone is what the row's own URL names
        self._note_fault(parcel, answer, verdict)
        is_unauthorized = outcome is Outcome.UNAUTHORIZED
        if is_unauthorized and self._logins.renews(parcel, composer, answer):
            self._queue.put_first(parcel)
            return
        holds_all = self._supervisor.count_login(verdict.error if is_unauthorized else None)
        match outcome:
            case Outcome.PARTIAL:
                self._settle_items(parcel, answer, verdict)
            case Outcome.REFUSED | Outcome.TOO_LARGE:
                self._refuse(parcel, answer, verdict.error, outcome)
            case Outcome.GONE:
                self._supervisor.disable(verdict.error, self._clock.now())
                self._queue.hold(parcel)
            case Outcome.UNAUTHORIZED if holds_all:
                self._queue.hold(parcel)
            case _:
                self._retry(parcel, answer, verdict)

    def _retry(self, parcel: Parcel, answer: HttpAnswer, verdict: Verdict) -> None:
        """Send a parcel again later; after its last attempt hold it, or give it up."""
        parcel.attempts += 1
        now = self._clock.monotonic()
        failure = self._refusal(parcel, answer, verdict.error, verdict.delay)
        self._ledger.fail(parcel, failure)
        if verdict.delay is not None and verdict.delay > LONGEST_WAIT:
            self._supervisor.wait_for_later_run(verdict.delay, self._clock.now(), verdict.error)
        elif verdict.delay is not None or answer.status == _TOO_MANY:
            asked = verdict.delay
            delay = self._backoff(parcel.attempts) if asked is None else asked
            self._queue.pause(now + delay)
            self._supervisor.pause(now + delay, now, verdict.error)
        goes_on = self._supervisor.stop is None
        if goes_on and parcel.attempts < self._destination.retry.attempts:
            self._ledger.tally.retried += 1
            self._queue.put_later(parcel, now + self._backoff(parcel.attempts))
        elif verdict.outcome is Outcome.UNAUTHORIZED and goes_on:
            parcel.attempts -= 1  # because it counts as refused
            self._refuse(parcel, answer, verdict.error)
        else:
            self._give_up(parcel, failure)

    def _give_up(self, parcel: Parcel, failure: Refusal) -> None:
        """Bury the changes that were tried for long enough, each by its own age; hold others."""
        for seq, attempts, first_at in self._reader.ages(parcel):
            left = self._left_failures.get(seq)
            own = replace(
                failure,
                attempts=max(attempts, left.attempts if left else 0) + parcel.attempts,
                first_at=first_at or (left.first_at if left else None) or failure.last_at,
            )
            if self._ledger.is_given_up(own):
                self._ledger.bury(seq, own)
        if self._reader.seqs(parcel):
            self._queue.hold(parcel)
        else:
            self._queue.settle(parcel)

    def _backoff(self, attempts: int) -> float:
        spread = 0.75 + self._random.random() / 2
        return min(self._retry_seconds * attempts * spread, _LONGEST_BACKOFF)

    def _refuse(
        self,
        parcel: Parcel,
        answer: HttpAnswer | None,
        error: str,
        outcome: Outcome = Outcome.REFUSED,
    ) -> None:
        """Bury a refused change; cut a refused batch in halves, until bad changes stand alone."""
        if parcel.rows > 1:
            if outcome is Outcome.TOO_LARGE:
                self._reader.rows = max(min(self._reader.rows, parcel.rows // 2), 1)
            self._ledger.tally.retried += 1
            self._queue.put_halves(parcel, self._reader.halves(parcel))
            return
        parcel.attempts += 1
        self._ledger.bury(parcel.first, self._refusal(parcel, answer, error))
        self._queue.settle(parcel)
        self._supervisor.look_at_dead_letters(self._ledger.tally, error)

    def _settle_items(self, parcel: Parcel, answer: HttpAnswer, verdict: Verdict) -> None:
        """Bury the items that an answer names, and deliver the others; else cut the batch.

        What may be taken another time is a parcel of its own, which is sent again.
        """
        items = self._reader.failed_by_change(parcel, verdict.failed)
        if not items:
            self._refuse(parcel, answer, verdict.error)
            return
        parcel.attempts += 1
        dead = {seq: item.error for seq, item in items.items() if not item.again}
        for seq, error in dead.items():
            self._ledger.bury(seq, self._refusal(parcel, answer, error))
        pending = self._reader.seqs(parcel)
        others_again = self._destination.answers.others_again
        again = [seq for seq in pending if others_again or seq in items]
        for seq in sorted(set(pending).difference(again)) if again else ():
            self._ledger.deliver_range(seq, seq)
        if not again:
            self._ledger.deliver(parcel)
            self._queue.settle(parcel)
        else:
            self._send_again(parcel, self._reader.parcel_of(again), answer, verdict, bool(dead))
        if dead:
            error = next(iter(dead.values()))
            self._supervisor.look_at_dead_letters(self._ledger.tally, error)

    def _send_again(
        self, parcel: Parcel, rest: Parcel, answer: HttpAnswer, verdict: Verdict, is_less: bool
    ) -> None:
        """Send what is left of a batch again: at once if others of it were to blame, else later."""
        rest.whole, rest.then, rest.first_at = parcel.whole or parcel, parcel.then, parcel.first_at
        if is_less and self._destination.answers.others_again:
            rest.attempts, rest.earlier = 0, parcel.earlier
            rest.step = parcel.step
            self._queue.put_first(rest)
            return
        rest.attempts, rest.earlier, rest.step = parcel.attempts - 1, parcel.earlier, parcel.step
        self._retry(rest, answer, verdict)

    def _refusal(
        self, parcel: Parcel, answer: HttpAnswer | None, error: str, delay: float | None = None
    ) -> Refusal:
        moment = self._clock.now()
        now = moment.isoformat()
        if parcel.first_at is None:
            parcel.first_at = now
        return Refusal(
            redact(error),
            (answer.status or None) if answer else None,
            redact(answers.kept_text(answer)) if answer and answer.body else None,
            parcel.earlier + parcel.attempts,
            parcel.first_at,
            now,
            None if delay is None else later(moment, delay).isoformat(),
        )

    def _note_fault(self, parcel: Parcel, answer: HttpAnswer, verdict: Verdict) -> None:
        """Count and log a request that was not taken."""
        error = redact(verdict.error)
        self._ledger.tally.fault(error)
        self._log.note(parcel, answer, verdict.outcome, error)

    def _result(self, seconds: float) -> DispatchResult:
        pending = self._settlements.count(PENDING)
        tried = sum(self._is_pending(seq) for seq in self._settlements.failures)
        supervisor = self._supervisor
        return self._ledger.tally.result(
            held=pending,
            untried=pending - tried,
            seconds=seconds,
            health=supervisor.health,
            transitions=tuple(supervisor.transitions),
            stop=supervisor.stop,
        )
