"""Processes that hold a lock until a test lets them go on.

They are functions of a module that a new process can import, because a test module is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.system import locks

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event
    from pathlib import Path


def hold_lock(folder: Path, locked: Event, done: Event) -> None:
    """Hold the lock of shop.orders as a run does."""
    with locks.hold(folder, ["shop.orders"], "run-1", "10:00"):
        locked.set()
        done.wait(30)


def hold_lock_for_upkeep(folder: Path, locked: Event, done: Event) -> None:
    """Hold the lock of shop.orders as a run does that has only its upkeep to do."""
    with locks.hold(folder, ["shop.orders"], "run-1", "10:00", upkeep=True):
        locked.set()
        done.wait(30)
