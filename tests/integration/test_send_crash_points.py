"""A send killed at each of its steps: the next one delivers what is left, and nothing is lost."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from support.crash_points import Mortals
from support.sending import Sending, sending

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.crash_points import Step

_EACH_STEP = "CDPSYNC_EACH_STEP" in os.environ  # all of them: `make crashes`
_SOME = 10  # steps of each kind of destination in `make test`
_ROWS = 6

SINGLE = {"body": {"order": "{{ id }}", "status": "{{ status }}", "key": "{{ event_id }}"}}
BATCHED = {
    "item": {"order": "{{ id }}", "status": "{{ status }}", "key": "{{ event_id }}"},
    "batch": {"rows": 2},
}
QUERY = {
    "from": None,
    "sql": "select id, status from shop.orders",
    "key": "id",
    "body": SINGLE["body"],
}


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    """Who begins the sends that die."""
    with Mortals() as process:
        yield process


@pytest.fixture
def shop(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Sending]:
    """A project whose six orders have been loaded, changed and loaded again, and not sent."""
    with sending(tmp_path) as project:
        project.put(*((i, "ada", "new", "1") for i in range(1, _ROWS + 1)))
        keys = {name: value for name, value in request.param.items() if value is not None}
        hook = {"type": "webhook", "from": "shop.orders", "url": f"{project.receiver.url}/orders"}
        if "sql" in keys:
            del hook["from"]
        project.configure({"hook": hook | keys | {"connections": 2}})
        project.cdpsync("run")
        project.put(*((i, "ada", "paid", "1") for i in range(1, _ROWS + 1)))
        project.cdpsync("run", "--no-send")
        yield project


@pytest.mark.parametrize(
    "shop", [SINGLE, BATCHED, QUERY], indirect=True, ids=["one", "batch", "sql"]
)
def test_send_killed_before_any_step_goes_on(shop: Sending, mortals: Mortals) -> None:
    """Each change arrives; one that arrives twice was under way, and has the same key again.

    After the second send nothing is left to send, no file is left behind, and the history is right.
    """
    before = shop.folder.parent / f"{shop.folder.name}-before"
    shutil.copytree(shop.folder / ".cdpsync", before)
    steps = _clean_send(shop, mortals)
    assert len(steps) > 100
    chosen = steps if _EACH_STEP else _spread(steps)
    for step in chosen:
        shutil.rmtree(shop.folder / ".cdpsync")
        shutil.copytree(before, shop.folder / ".cdpsync")
        seen = len(shop.receiver.requests())
        ended = mortals.run(shop.folder / "cdpsync.yml", at=step, act="send")
        assert ended.killed, step
        ended = mortals.run(shop.folder / "cdpsync.yml", act="send")
        assert (ended.killed, ended.error) == (False, ""), step
        _require_delivered(shop, seen, step)
    sent = len(shop.receiver.requests())
    mortals.run(shop.folder / "cdpsync.yml", act="send")
    assert len(shop.receiver.requests()) == sent


def _clean_send(shop: Sending, mortals: Mortals) -> list[Step]:
    ended = mortals.run(shop.folder / "cdpsync.yml", act="send")
    assert ended.error == ""
    return list(ended.steps)


def _spread(steps: list[Step]) -> list[Step]:
    """Return some steps, from the first to the last: most of them where files or requests are."""
    ours = [step for step in steps if "cdpsync.destinations" in step[0]]
    every = len(ours) // (_SOME - 2)
    return [*ours[::every], steps[len(steps) * 9 // 10], steps[-1]]


def _require_delivered(shop: Sending, seen: int, step: Step) -> None:
    changes = [change for body in _bodies(shop, seen) for change in body]
    arrived = Counter(change["order"] for change in changes)
    assert set(arrived) == set(range(1, _ROWS + 1)), step
    assert {change["status"] for change in changes} == {"paid"}, step
    assert len({change["key"] for change in changes}) == _ROWS, step
    assert sum(arrived.values()) - _ROWS <= 4, step  # two connections, of two changes at most
    outbox = shop.folder / ".cdpsync" / "outbox" / "hook"
    assert [path for path in outbox.iterdir() if path.is_dir()] == [], step
    assert {path.name.split("-")[0] for path in outbox.iterdir()} <= {"delivered"}, step


def _bodies(shop: Sending, seen: int) -> list[list[dict[str, Any]]]:
    import json

    bodies = [json.loads(request["body"]) for request in shop.receiver.requests()[seen:]]
    return [body if isinstance(body, list) else [body] for body in bodies]
