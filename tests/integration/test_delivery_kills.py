"""Sends that die at any moment: nothing is lost, little is sent twice, the order of keys is kept.

The receiver answers every tenth request with 503 and every twentieth with 429. Each send is killed
some times, wherever it is after a random share of its work, and then ends by itself.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from support.deliveries import ids
from support.delivery_process import Job, Sender, sender
from support.receiver import receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.receiver import Receiver

SEEDS = int(os.environ.get("CDPSYNC_KILLS", "40"))  # more of them: `make kills`
KINDS = [("last", None), ("last", 20), ("each", None), ("each", 20)]
ROWS = {None: 300, 20: 3_000}
CONNECTIONS = 8
KEYS = 37


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with receiver(tmp_path_factory.mktemp("receiver")) as running:
        yield running


@pytest.fixture(scope="module")
def process() -> Iterator[Sender]:
    with sender() as running:
        yield running


@pytest.mark.timeout(3_000)
@pytest.mark.parametrize(
    ("order", "batch"), KINDS, ids=[f"{o}-{'batch' if b else 'single'}" for o, b in KINDS]
)
def test_killed_sends_lose_nothing(
    tmp_path: Path, server: Receiver, process: Sender, order: str, batch: int | None
) -> None:
    """What is sent twice were the requests under way, and those alone."""
    first = KINDS.index((order, batch))
    server.script()
    job = Job(str(tmp_path / "whole"), server.url, ROWS[batch], KEYS, order, batch, CONNECTIONS)
    whole = process.send(job)
    assert (whole.delivered, whole.held) == (ROWS[batch], 0)
    total = 0
    for seed in range(first, SEEDS, len(KINDS)):
        server.forget()
        server.script(errors=0.1, limits=0.05, seed=seed)
        job = Job(str(tmp_path / str(seed)), server.url, ROWS[batch], KEYS, order, batch)
        kills = _send_with_kills(process, job, seed, whole.cpu)
        total += kills
        server.script()
        rest = process.send(job)
        assert rest.held == 0, f"seed {seed}"
        _check(server, job, kills, seed)
    assert total >= SEEDS // len(KINDS), "the processes ended before they could be killed"


def _send_with_kills(process: Sender, job: Job, seed: int, cpu: float) -> int:
    """Send three times, each killed after a share of its work; return how many were."""
    chance = random.Random(seed)  # noqa: S311 - reproducible
    ends = [
        process.send(Job(**{**vars(job), "dies_after": chance.uniform(0.01, 1.1) * cpu}))
        for _ in range(3)
    ]
    return sum(end.was_killed for end in ends)


def _check(server: Receiver, job: Job, kills: int, seed: int) -> None:
    taken = [request for request in server.requests() if request["status"] == 200]
    changes = ids(request["body"] for request in taken)
    assert set(changes) == set(range(1, job.rows + 1)), f"seed {seed}: changes were lost"
    twice = sum(count - 1 for count in Counter(changes).values())
    assert twice <= kills * job.connections * (job.batch or 1), f"seed {seed}: {twice} twice"
    if job.order == "each":
        for key in range(KEYS):
            own = [change for change in changes if change % KEYS == key]
            assert own == sorted(own), f"seed {seed}: key {key} out of order"
    if job.batch is None:
        by_change = {}
        for request in taken:
            (change,) = ids([request["body"]])
            by_change.setdefault(change, set()).add(request["headers"]["webhook-id"])
        assert all(len(keys) == 1 for keys in by_change.values()), f"seed {seed}: another id"
