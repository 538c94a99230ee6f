"""The ledger of a dispatch: settles changes in memory and in the journal, and counts them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from cdpsync.destinations.delivery.journal import DELIVERED, PENDING
from cdpsync.destinations.delivery.results import Tally

if TYPE_CHECKING:
    from cdpsync.destinations.delivery.journal import Journal, Refusal, Settlements
    from cdpsync.destinations.delivery.requests import Parcel
    from cdpsync.model.destinations import Retry


class Ledger:
    """Notes what came of parcels; the journal is written by `write`, and synced by `sync`."""

    def __init__(self, journal: Journal, settlements: Settlements, retry: Retry) -> None:
        self._journal, self._settlements, self._retry = journal, settlements, retry
        self.tally = Tally()

    def deliver(self, parcel: Parcel) -> None:
        """Note that all changes of a parcel were taken, but those that are settled already."""
        self.deliver_range(parcel.first, parcel.last)

    def deliver_range(self, first: int, last: int) -> None:
        """Note that the changes of a range were taken, but those that are settled already."""
        self._journal.deliver(first, last)
        if first == last:
            self._settlements.states[first] = DELIVERED
            self.tally.delivered += 1
        else:
            self.tally.delivered += self._settlements.states.count(PENDING, first, last + 1)
            self._settlements.deliver(first, last)

    def bury(self, seq: int, refusal: Refusal) -> None:
        """Note a dead letter."""
        self._settlements.bury(seq, refusal)
        self._journal.bury(seq, refusal)
        self.tally.dead += 1

    def fail(self, parcel: Parcel, failure: Refusal) -> None:
        """Note an attempt that failed and may be repeated; its answer only a dead letter has."""
        failure = replace(failure, response=None)
        self._journal.fail(parcel.first, parcel.last, failure)
        self._settlements.fail(parcel.first, parcel.last, failure)

    def is_given_up(self, failure: Refusal) -> bool:
        """Whether a change has been tried for long enough, over all runs, to be a dead letter."""
        if failure.attempts < self._retry.attempts or not (failure.first_at and failure.last_at):
            return False
        age = datetime.fromisoformat(failure.last_at) - datetime.fromisoformat(failure.first_at)
        return age > self._retry.within

    def flush(self) -> None:
        """Write and sync what was noted, before a time without answers."""
        self._journal.flush()

    def write(self, now: float) -> None:
        """Write what was noted, and sync it to the disk if it is time."""
        self._journal.write()
        self._journal.sync(now)
