"""Order per key: a change is sent once all earlier changes of its key are settled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdpsync.destinations.delivery.requests import Parcel


@dataclass(slots=True)
class _Entry:
    """A parcel that is not settled: how many others it waits for, and those that wait for it."""

    parcel: Parcel
    waits_for: int = 0
    followers: list[int] = field(default_factory=list)


class KeyOrder:
    """Knows which parcels wait for which. A parcel is known by its first change."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._last: dict[str, int] = {}  # key -> the newest parcel with it that is not settled
        self._held: set[str] = set()

    @property
    def waiting(self) -> int:
        """How many parcels are not settled."""
        return len(self._entries)

    def is_held(self, parcel: Parcel) -> bool:
        """Whether an earlier change of one of its keys is held, so that this one must be too."""
        return bool(self._held) and not self._held.isdisjoint(parcel.keys)

    def hold(self, parcel: Parcel) -> None:
        """Hold a parcel that was never added: what follows it is held as well."""
        self._held.update(parcel.keys)

    def add(self, parcel: Parcel) -> bool:
        """Add a parcel; return whether it waits for no other."""
        entry = self._entries[parcel.first] = _Entry(parcel)
        earlier = {self._last[key] for key in parcel.keys if key in self._last}
        for first in earlier:
            self._entries[first].followers.append(parcel.first)
        entry.waits_for = len(earlier)
        self._last.update(dict.fromkeys(parcel.keys, parcel.first))
        return not earlier

    def settle(self, parcel: Parcel) -> list[Parcel]:
        """Remove a parcel that is delivered or dead; return those that may be sent now."""
        ready = []
        for first in self._remove(parcel):
            entry = self._entries.get(first)
            if entry is not None:
                entry.waits_for -= 1
                if entry.waits_for == 0:
                    ready.append(entry.parcel)
        return ready

    def hold_all(self, parcel: Parcel) -> list[Parcel]:
        """Remove a parcel that is held, and return it with all that wait for it."""
        held, queue = [], [parcel]
        while queue:
            current = queue.pop()
            if current.first not in self._entries:
                continue
            self._held.update(current.keys)
            held.append(current)
            queue += [
                self._entries[first].parcel
                for first in self._remove(current)
                if first in self._entries
            ]
        return held

    def _remove(self, parcel: Parcel) -> list[int]:
        entry = self._entries.pop(parcel.first)
        for key in parcel.keys:
            if self._last.get(key) == parcel.first:
                del self._last[key]
        return entry.followers
