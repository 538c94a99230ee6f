"""Transactions of many sizes that commit in any order, while a test reads their table."""

from __future__ import annotations

import random
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


@contextmanager
def busy_writers(
    connect: Callable[[], AbstractContextManager[Any]], insert: str, count: int = 4
) -> Iterator[None]:
    """Insert rows from several connections, which do not commit by themselves, until the end.

    `insert` is a statement with `{v}` for a value.
    """
    stop = threading.Event()

    def write(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - how long to wait, no secret
        with connect() as con:
            cursor = con.cursor()
            while not stop.is_set():
                for number in range(chance.randint(1, 3)):
                    cursor.execute(insert.format(v=number))
                    stop.wait(chance.random() / 10)
                con.commit()

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(count)]
    for writer in writers:
        writer.start()
    try:
        yield
    finally:
        stop.set()
        for writer in writers:
            writer.join()
