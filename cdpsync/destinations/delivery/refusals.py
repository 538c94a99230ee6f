"""Dead letters of an outbox: what was refused, as it was sent, without secrets."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from cdpsync.destinations.delivery.journal import DEAD
from cdpsync.destinations.delivery.outbox import STEPS, seq_list
from cdpsync.destinations.delivery.requests import FindShape, Marks
from cdpsync.engine import connect
from cdpsync.model.deliveries import DeadLetter
from cdpsync.redact import redact
from cdpsync.system import clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cdpsync.destinations.delivery.journal import Refusal, Settlements
    from cdpsync.destinations.delivery.outbox import Outbox
    from cdpsync.destinations.delivery.requests import RequestShape
    from cdpsync.model.destinations import Destination

_AT_A_TIME = 256
_LONGEST_BODY = 1 << 20  # characters of a dead letter
_DEAD = """
    select
        seq, event_id, key, change, snapshot_id, route,
        coalesce({urls}) as url,
        coalesce({bodies}) as body
    from {relation}
    where seq in ({dead})
"""


def dead_letters(
    outbox: Outbox,
    settlements: Settlements,
    *,
    destination: Destination,
    routes: Mapping[str, RequestShape | FindShape],
    marks: Mapping[str, str],
) -> Iterator[DeadLetter]:
    """Yield the dead letters of an outbox, with `***` in place of each mark.

    A route that is not among `routes` any more leaves the parts out that all its requests share.
    Their ids are the same whenever they are asked for: the outbox and the number of the change.
    """
    if not settlements.refusals:
        return
    hide = Marks(marks).hide
    con = connect(threads=1)
    try:
        con.execute(
            _DEAD.format(
                urls=", ".join(f"{step}url" for step in reversed(STEPS)),
                bodies=", ".join(f"{step}body" for step in reversed(STEPS)),
                relation=outbox.relation,
                dead=seq_list(settlements.ranges(DEAD)),
            )
        )
        while rows := con.fetchmany(_AT_A_TIME):
            for seq, event_id, key, change, snapshot_id, route, url, body in rows:
                shape = _last_shape(routes[route]) if route in routes else None
                shown_url = url or (shape.url if shape else None)
                shown_body = body or (shape.body if shape else None)
                yield DeadLetter(
                    id=f"{outbox.id}-{seq}",
                    destination=destination.name,
                    source=destination.source,
                    key=key,
                    change=change,
                    snapshot_id=snapshot_id,
                    event_id=event_id,
                    method=shape.method if shape else None,
                    url=None if shown_url is None else redact(hide(shown_url)),
                    body=None if shown_body is None else redact(hide(shown_body[:_LONGEST_BODY])),
                    **_fate(settlements.refusals[seq]),
                )
    finally:
        con.close()


def _last_shape(shapes: RequestShape | FindShape) -> RequestShape:
    return shapes.update if isinstance(shapes, FindShape) else shapes


def _fate(refusal: Refusal) -> dict[str, Any]:  # fields of several types
    """Return the fields of a dead letter that the journal has."""
    return {
        "status": refusal.status,
        "response": refusal.response,
        "error": refusal.error,
        "attempts": refusal.attempts,
        "first_at": _time(refusal.first_at),
        "last_at": _time(refusal.last_at),
    }


def _time(text: str | None) -> datetime:
    return datetime.fromisoformat(text) if text else clock.now()
