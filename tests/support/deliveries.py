"""Outboxes and destinations for the tests of deliveries, and a clock that waits for nobody."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cdpsync.destinations.delivery.dispatch import Dispatcher
from cdpsync.destinations.delivery.outbox import Outbox
from cdpsync.destinations.delivery.requests import RequestShape
from cdpsync.engine import connect
from cdpsync.model.deliveries import Health
from cdpsync.model.destinations import Destination

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from cdpsync.destinations.delivery.requests import FindShape
    from cdpsync.destinations.delivery.results import DispatchResult

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
CHANGES = """
    select
        md5(i::varchar)::uuid::varchar as event_id,
        json_array(i % {keys})::varchar as key,
        'insert' as change,
        7 as snapshot_id,
        timestamptz '2026-11-28 11:00:00+00' as changed_at,
        i as ord,
        '{{"id":' || i || ',"key":' || i % {keys} || '}}' as body
        {more}
    from range(1, {rows} + 1) as t (i)
"""


@dataclass
class FakeClock:
    """A clock that goes on only when a dispatch waits with no request under way."""

    seconds: float = 1_000.0
    start: datetime = NOW
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds - 1_000.0)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


def changes(rows: int, keys: int | None = None, more: str = "") -> str:
    """Return a SELECT of so many changes; `more` are further columns, each after a comma."""
    return CHANGES.format(rows=rows, keys=keys or rows + 1, more=more)


def outbox(folder: Path, select: str | int, **options: Any) -> Outbox:
    """Write an outbox with the rows of a SELECT, or with so many changes."""
    con = connect(threads=1)
    try:
        text = changes(select) if isinstance(select, int) else select
        return Outbox.create(con, text, folder / "20261128-1", nonce="n0nce", **options)
    finally:
        con.close()


def destination(**values: Any) -> Destination:
    return Destination(**{"name": "hook", "type": "webhook", "location": "cdpsync.yml:3", **values})


def shape(url: str | None, **values: Any) -> RequestShape:
    return RequestShape(**{"method": "POST", "url": url, "location": "cdpsync.yml:4", **values})


def send(
    to: Destination,
    box: Outbox,
    routes: RequestShape | FindShape | Mapping[str, RequestShape | FindShape],
    *,
    marks: Mapping[str, str] | None = None,
    health: Health | None = None,
    clock: FakeClock | None = None,
    **options: Any,
) -> DispatchResult:
    """Send an outbox, with a clock of its own unless one is given."""
    return Dispatcher(
        to,
        box,
        routes if isinstance(routes, dict) else {"request": routes},  # type: ignore[dict-item]
        marks=marks or {},
        health=health or Health(),
        clock=clock or FakeClock(),
        **options,
    ).send()


def ids(bodies: Iterable[str]) -> list[int]:
    """Return the ids of the changes in some bodies, of single requests or of arrays."""
    found: list[int] = []
    for body in bodies:
        document = json.loads(body)
        items = document if isinstance(document, list) else document.get("items", [document])
        found += [item["id"] for item in items]
    return found
