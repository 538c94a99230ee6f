"""Renders events as the rows of an outbox: the requests of a destination, compiled for its row."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cdpsync.destinations.delivery.requests import FindShape, RequestShape
from cdpsync.destinations.delivery.signature import signing_key
from cdpsync.destinations.templates.compile import Marks, compile_requests, names_used
from cdpsync.model.destinations import FindTemplate, batch_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdpsync.destinations.templates.compile import (
        CompiledRequest,
        CompiledRequests,
        NamesUsed,
        Row,
    )
    from cdpsync.model.destinations import Destination, RequestTemplate

_LOCATION = re.compile(r"location='(?:[^'\\]|\\.)*'")
_IDENTITY = """
    select *, '{route}' as route
    from ({select})
"""
_WITH_ATTEMPTS = """
    select r.*, e.attempts, e.first_at::varchar as first_at
    from ({rendered}) as r
    join {events} as e using (event_id)
"""


@dataclass(frozen=True, slots=True)
class Rendering:
    """How events become requests: a SELECT, what all requests share, and the values of marks."""

    select: str
    routes: Mapping[str, RequestShape | FindShape]
    marks: Mapping[str, str] = field(repr=False)
    nonce: str


def render(
    destination: Destination,
    row: Row,
    events: str,
    *,
    nonce: str | None = None,
    with_attempts: bool = True,
) -> Rendering:
    """Return how the events of a relation are rendered.

    With the `nonce` of an outbox, the marks are those of the outbox. Raises one ConfigError, with a
    line for each wrong expression.
    """
    marks = Marks(nonce) if nonce else Marks()
    templates = {"request": destination.request}
    if destination.delete is not None:
        templates["delete"] = destination.delete
    selects, routes = [], {}
    for route, template in templates.items():
        if template is None:
            continue
        compiled = compile_requests(
            row,
            template,
            destination.inputs,
            batched=batch_of(destination, route) is not None
            and not isinstance(template, FindTemplate),
            big_integers=destination.big_integers,
            where=destination.where,
            marks=marks,
        )
        condition = "change = 'delete'" if route == "delete" else "change <> 'delete'"
        if len(templates) == 1:
            condition = "true"
        relation = f"(from {events} where not is_deferred and {condition})"
        selects.append(_IDENTITY.format(route=route, select=compiled.select(relation)))
        routes[route] = _shape(compiled, template)
    select = " union all by name ".join(selects)
    if with_attempts:
        select = _WITH_ATTEMPTS.format(rendered=select, events=events)
    return Rendering(select, routes, marks.constants, marks.nonce)


def uses_of(destination: Destination) -> tuple[NamesUsed, NamesUsed]:
    """Return what the requests need of a change, and what that of deletes needs.

    Raises ConfigError for an expression that is no SQL.
    """
    conditions = [] if destination.where is None else [destination.where]
    mask = [] if destination.mask is None else [destination.mask.by]
    of_requests = names_used(
        [*([destination.request] if destination.request else []), *mask],
        destination.inputs,
        alias=destination.alias,
        conditions=conditions,
    )
    of_deletes = names_used(
        [destination.delete] if destination.delete else [],
        destination.inputs,
        alias=destination.alias,
        conditions=conditions,
    )
    return of_requests, of_deletes


def digest(destination: Destination) -> str:
    """Return a digest of all that a rendered request depends on, but for values from outside."""
    parts = (
        destination.request,
        destination.delete,
        sorted(destination.inputs.items()),
        destination.batch,
        destination.delete_batch,
        destination.big_integers,
        destination.alias,
    )
    text = _LOCATION.sub("", repr(parts))  # a line that moved is no other template
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def feed_digest(destination: Destination, key: tuple[str, ...]) -> str:
    """Return a digest of what feeds a destination: its table or query, and its key."""
    sql = destination.sql.text if destination.sql else None
    parts = (str(destination.table), sql, key)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _shape(
    compiled: CompiledRequests, template: RequestTemplate | FindTemplate
) -> RequestShape | FindShape:
    steps = compiled.steps
    if isinstance(template, FindTemplate):
        return FindShape(
            find=_request_shape(steps["find_"]),
            id=template.id,
            create=_request_shape(steps["create_"]) if "create_" in steps else None,
            update=_request_shape(steps["update_"]),
            mark=compiled.found,
        )
    return _request_shape(steps[""])


def _request_shape(compiled: CompiledRequest) -> RequestShape:
    return RequestShape(
        method=compiled.method,
        url=compiled.url,
        location=compiled.location,
        headers=compiled.headers,
        host=compiled.host,
        body=compiled.body,
        around=compiled.around,
        separator=compiled.separator,
        format=compiled.format,
        gzip=compiled.gzip,
        basic=compiled.basic,
        oauth=compiled.oauth,
        sign=signing_key(compiled.sign, compiled.location) if compiled.sign else None,
    )
