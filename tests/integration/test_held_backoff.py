"""When a held change is tried again: after 10, 20, 40 … 300 seconds, unless it is by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.deliveries import FakeClock, destination, outbox, send, shape
from support.sending import Sending, sending

from cdpsync import destinations, project, run
from cdpsync.destinations.held import look_at_held
from cdpsync.engine import connect
from cdpsync.system import clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cdpsync.model.deliveries import DeliveryResult

BODY = {"id": "{{ id }}", "status": "{{ status }}"}


@dataclass
class Shop:
    """A project whose destination has started, in this process, with a clock of its own."""

    sending: Sending
    time: datetime

    def now(self) -> datetime:
        """Return a time that goes on only where a test says so, however slow the machine is."""
        return self.time

    def start(self, **keys: Any) -> None:
        """Start a destination whose endpoint is down from then on."""
        self.sending.configure(**{"body": BODY, "retry": {"attempts": 1}} | keys)
        self.send()
        self.sending.receiver.script(statuses=[503])

    def put(self, *rows: tuple[int, str]) -> None:
        """Change rows at the source and in the lake."""
        self.time += timedelta(seconds=1)
        self.sending.put(*((id_, "x", status, "1") for id_, status in rows))
        run(self.sending.folder / "cdpsync.yml", send=False)

    def send(self, *select: str, after: float = 0, **options: Any) -> DeliveryResult:
        """Send so many seconds later."""
        self.time += timedelta(seconds=1 + after)
        config = project.load(self.sending.folder / "cdpsync.yml")
        (result,) = destinations.send(config, select, **options).destinations
        return result

    def arrived(self) -> list[tuple[int, str]]:
        """Return what has arrived since the last look, taken or not."""
        requests = self.sending.receiver.requests()
        self.sending.receiver.forget()
        bodies = [json.loads(request["body"]) for request in requests]
        return [(body["id"], body["status"]) for body in bodies]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with sending(tmp_path) as made:
        project_ = Shop(made, datetime.now(UTC))
        monkeypatch.setattr(clock, "now", project_.now)
        run_file = made.folder / "cdpsync.yml"
        made.configure(body=BODY)
        run(run_file, send=False)
        yield project_


def test_waits_double_up_to_five_minutes(shop: Shop) -> None:
    """A cron that sends every few seconds makes no request before it is time."""
    shop.start()
    shop.put((7, "new"))
    failed = shop.send()
    assert failed.error is not None
    assert "1 change held (503" in failed.error.message
    assert f"the next attempt is due at {shop.now():%Y-%m-%d}" in failed.error.message
    for wait in (10, 20, 40, 80, 160, 300, 300):
        assert shop.arrived() == [(7, "new")]
        early = shop.send(after=wait - 5)
        assert (early.status, early.held, early.requests) == ("ok", 1, 0)
        assert "1 held change for later: the next attempt is due at" in early.notices[0]
        assert early.notices[0].endswith("at once: cdpsync send hook")
        assert shop.arrived() == []
        assert shop.send(after=6).status == "failed"
    shop.sending.receiver.script(statuses=[200])
    assert shop.send(after=301).succeeded == 1


def test_a_send_that_is_too_early_leaves_the_error_in_the_history(shop: Shop) -> None:
    """`status` is not green before the change has arrived."""
    shop.start()
    shop.put((7, "new"))
    shop.send()
    shop.put((7, "paid"))
    early = shop.send()
    assert (early.held, early.requests) == (1, 0)
    (line,) = destinations.overviews(project.load(shop.sending.folder / "cdpsync.yml"))
    assert (line.status, line.held) == ("failed", 1)
    assert line.error is not None


def test_by_hand_everything_is_tried_at_once(shop: Shop) -> None:
    """A destination that is named, or moved, does not wait; with `--due` it does."""
    shop.start()
    shop.put((7, "new"))
    shop.send()
    shop.arrived()
    assert shop.send("hook", due=True).requests == 0
    assert shop.send("hook").requests == 1
    assert shop.send(start="all", confirm=lambda _name, _rows: True).requests == 4
    assert shop.send().requests == 0


def test_newer_change_takes_the_place_and_waits_as_long(shop: Shop) -> None:
    """Other keys do not wait for it."""
    shop.start()
    shop.put((7, "new"))
    shop.send()
    shop.arrived()
    shop.sending.receiver.script(statuses=[200])
    shop.put((7, "paid"), (8, "new"))
    mixed = shop.send(after=5)
    assert (mixed.succeeded, mixed.held, mixed.status) == (1, 1, "ok")
    assert "1 held change for later" in mixed.notices[0]
    assert shop.arrived() == [(8, "new")]
    assert shop.send(after=6).succeeded == 1
    assert shop.arrived() == [(7, "paid")]


def test_each_change_waits_behind_the_first_of_its_key(shop: Shop) -> None:
    """`changes: each`: what was never sent waits too, and then all go in their order."""
    shop.start(changes="each")
    shop.put((7, "new"))
    shop.put((7, "paid"))
    shop.send()
    assert shop.arrived() == [(7, "new")]
    shop.sending.receiver.script(statuses=[200])
    shop.put((7, "sent"))
    shop.put((8, "new"))
    assert shop.send(after=5).held == 3
    assert shop.arrived() == [(8, "new")]
    assert shop.send(after=6).succeeded == 3
    assert shop.arrived() == [(7, "new"), (7, "paid"), (7, "sent")]


def test_limit_does_not_count_what_waits(shop: Shop) -> None:
    """What is due is sent, up to the limit."""
    shop.start()
    shop.put((7, "new"))
    shop.send()
    shop.arrived()
    shop.sending.receiver.script(statuses=[200])
    shop.put((8, "new"), (9, "new"))
    assert shop.send(limit=1).held == 2
    assert len(shop.arrived()) == 1
    assert shop.send(limit=1).held == 1
    assert shop.send(after=11, limit=1).held == 0


def test_long_pause_that_is_asked_for_wins(shop: Shop) -> None:
    """An hour by Retry-After is an hour, for all that was held with it."""
    shop.start(connections=1)
    shop.sending.receiver.script(statuses=[429], headers={"Retry-After": "3600"})
    shop.put((7, "new"), (8, "new"))
    stopped = shop.send()
    assert stopped.error is not None
    assert "asks to wait 3,600 s" in stopped.error.message
    shop.sending.receiver.script(statuses=[200])
    assert shop.send(after=3_000).requests == 0
    assert shop.send(after=601).succeeded == 2


def test_pause_that_is_asked_for_is_noted(tmp_path: Path, shop: Shop) -> None:
    """A shorter one, too: the failure says until when."""
    clock_ = FakeClock()
    shop.sending.receiver.script(statuses=[503], headers={"Retry-After": "120"})
    box = outbox(tmp_path / "box", 1)
    send(destination(), box, shape(shop.sending.receiver.url), clock=clock_)
    failure = box.settlements().failures[1]
    assert failure.retry_at is not None
    assert failure.last_at is not None
    asked = datetime.fromisoformat(failure.retry_at) - datetime.fromisoformat(failure.last_at)
    assert asked == timedelta(seconds=120)


def test_change_is_given_up_after_its_time(shop: Shop) -> None:
    """`within` counts from the first attempt, whatever the waits are."""
    shop.start(retry={"attempts": 1, "within": "1h"})
    shop.put((7, "new"))
    shop.send()
    assert shop.send(after=3_500).held == 1
    assert shop.send(after=10).requests == 0
    assert shop.send(after=100).dead == 1


def test_clock_that_goes_back_delays_nothing(shop: Shop) -> None:
    """A last attempt in the future is no reason to wait for days."""
    shop.start()
    shop.time += timedelta(days=3)
    shop.put((7, "new"))
    shop.send()
    shop.arrived()
    assert shop.send(after=-3 * 86_400).requests == 1


@pytest.mark.parametrize(("has_key", "waiting"), [(True, 2), (False, 1)])
def test_what_has_no_key_waits_on_its_own(tmp_path: Path, has_key: bool, waiting: int) -> None:
    """With a key, a change that was never tried waits behind one that was; else each is alone."""
    file = tmp_path / "held.parquet"
    con = connect(threads=1)
    con.execute(
        f"""copy (
            select 'k' as key, i as event_id, now() as changed_at,
                if(i = 1, now(), null) as last_at,
                if(i = 1, now() + interval 1 hour, null) as next_at
            from range(1, 3) as t (i)
        ) to '{file}' (format parquet)"""
    )
    con.close()
    held = look_at_held(file, has_key=has_key)
    assert (held.held, held.waiting, held.are_all) == (2, waiting, has_key)
    assert held.next_at is not None
