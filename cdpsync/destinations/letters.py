"""Makes dead letters of the changes that an outbox could not deliver."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING

from cdpsync.destinations.outbox import seq_list
from cdpsync.destinations.requests import FindShape, Marks
from cdpsync.engine import connect
from cdpsync.model.destinations import DeadLetter
from cdpsync.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cdpsync.destinations.journal import Refusal
    from cdpsync.destinations.outbox import Outbox
    from cdpsync.destinations.rendering import Rendering
    from cdpsync.model.destinations import Destination

_LONGEST_BODY = 1 << 20  # bytes of a dead letter's body

_ROWS = """
    select
        seq, event_id, key, change, snapshot_id, route,
        coalesce(url, create_url, update_url) as url,
        coalesce(body, create_body, update_body) as body
    from {relation}
    where seq in ({seqs})
    order by seq
"""


def dead_letters_of(
    destination: Destination, outbox: Outbox, refusals: Mapping[int, Refusal], rendering: Rendering
) -> Iterator[DeadLetter]:
    """Yield a dead letter for each refused change, with its request, without secrets."""
    if not refusals:
        return
    marks = Marks(rendering.marks)
    con = connect(threads=1)
    try:
        seqs = seq_list((seq, seq) for seq in refusals)
        rows = con.execute(_ROWS.format(relation=outbox.relation, seqs=seqs)).fetchall()
    finally:
        con.close()
    for seq, event_id, key, change, snapshot_id, route, url, body in rows:
        refusal, shape = refusals[seq], rendering.routes[route]
        request = (shape.create or shape.update) if isinstance(shape, FindShape) else shape
        yield DeadLetter(
            id=hashlib.sha256(f"{outbox.id} {event_id}".encode()).hexdigest()[:12],
            destination=destination.name,
            source=destination.source,
            key=key,
            change=change,
            snapshot_id=snapshot_id,
            event_id=event_id,
            method=request.method,
            url=_shown(url or request.url, marks),
            body=_shown(request.body if body is None else body, marks),
            status=refusal.status,
            response=refusal.response,
            error=refusal.error,
            attempts=refusal.attempts,
            first_at=_moment(refusal.first_at),
            last_at=_moment(refusal.last_at),
        )


def _shown(text: str | None, marks: Marks) -> str | None:
    return None if text is None else redact(marks.hide(text[:_LONGEST_BODY]))


def _moment(text: str | None) -> datetime:
    return datetime.fromisoformat(text or "1970-01-01T00:00:00+00:00")
