"""Shows requests as they would be sent, and tries one of them."""

from __future__ import annotations

import gzip
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from cdpsync.destinations.delivery import answers
from cdpsync.destinations.delivery.answers import Judge, Outcome
from cdpsync.destinations.delivery.clock import SystemClock
from cdpsync.destinations.delivery.connections import connect
from cdpsync.destinations.delivery.judges import finders
from cdpsync.destinations.delivery.logins import log_in
from cdpsync.destinations.delivery.requests import Marks
from cdpsync.destinations.delivery.routes import composers, parcel_reader
from cdpsync.destinations.delivery.tokens import Tokens
from cdpsync.destinations.places import Places
from cdpsync.destinations.samples import sample
from cdpsync.destinations.selection import selected
from cdpsync.errors import CdpsyncError, ConfigError
from cdpsync.model.deliveries import RenderedRequest
from cdpsync.redact import HIDDEN, redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cdpsync.destinations.delivery.connections import HttpAnswer, HttpRequest
    from cdpsync.destinations.delivery.parcels import ParcelReader
    from cdpsync.destinations.delivery.requests import Parcel
    from cdpsync.destinations.samples import Sample
    from cdpsync.model import Config
    from cdpsync.model.destinations import Destination

_SHOWN = 4_096  # bytes of an answer


def preview(
    config: Config, select: Sequence[str] = (), *, count: int = 3, row: str | None = None
) -> tuple[RenderedRequest, ...]:
    """Return at most `count` requests of each destination as they would be sent, secrets starred.

    Nothing is sent and no position moves. A destination that is wrong has its error.
    """
    requests: list[RenderedRequest] = []
    for destination in selected(config, select):
        try:
            with sample(config, destination, count, row) as rendered:
                requests += _shown(destination, rendered, count)
        except CdpsyncError as error:
            requests.append(_failed(destination, error))
    return tuple(requests)


def try_one(config: Config, name: str, *, row: str | None = None) -> RenderedRequest:
    """Send one real row to a destination; return the request and its answer, secrets starred.

    It moves no position, writes no dead letter and costs no health. Raises ConfigError for an
    unknown name, or where no row can be sent.
    """
    destination = selected(config, [name])[0]
    with sample(config, destination, 1, row) as rendered:
        (request,) = _shown(destination, rendered, 1)
        if request.error is not None:
            return request
        with closing(_reader(destination, rendered)) as reader:
            parcel = next(reader.read())
            tokens = Tokens(Places(config, name).tokens, name)
            return _tried(destination, rendered, parcel, request, tokens)


def _tried(
    destination: Destination,
    rendered: Sample,
    parcel: Parcel,
    shown: RenderedRequest,
    tokens: Tokens,
) -> RenderedRequest:
    """Send a parcel; that of a search, and then the request that creates or updates."""
    rendering, clock = rendered.rendering, SystemClock()
    by_step = composers(destination, rendering.routes, Marks(rendering.marks))
    with closing(connect(destination, count=1)) as connections:
        log_in(destination, by_step.values(), tokens, clock, connections)
    judges = finders(destination, rendering.routes)
    judge = Judge(destination.answers, destination.location)
    parcel.step = "find_" if parcel.route in judges else ""
    answer = _answer(destination, by_step[parcel.route, parcel.step].compose(parcel, _now(clock)))
    if parcel.step:
        found = judges[parcel.route].judge([answer], clock.now())[0]
        if found.outcome is not Outcome.TAKEN and answer.status != 404:
            return _with_answer(shown, answer, found.error)
        parcel.record_id = found.found
        parcel.step = "create_" if found.found is None else "update_"
        if (parcel.route, parcel.step) not in by_step:
            return _with_answer(shown, answer, None)  # nothing was found: nothing to do
        composer = by_step[parcel.route, parcel.step]
        answer = _answer(destination, composer.compose(parcel, _now(clock)))
    verdict = judge.judge([answer], clock.now())[0]
    error = None if verdict.outcome is Outcome.TAKEN else verdict.error
    return _with_answer(shown, answer, error)


def _answer(destination: Destination, request: HttpRequest | str) -> HttpAnswer:
    if isinstance(request, str):
        raise ConfigError(f"{destination.name}: {request}.")
    with closing(connect(destination, count=1)) as connections:
        connections.start(request, None)
        while True:
            for _, answer in connections.wait(0.1):
                return answer


def _shown(destination: Destination, rendered: Sample, count: int) -> Iterator[RenderedRequest]:
    """Yield the requests of a sample, with stars for values from outside."""
    rendering = rendered.rendering
    starred = Marks(dict.fromkeys(rendering.marks, HIDDEN))
    by_step = composers(destination, rendering.routes, starred)
    for composer in by_step.values():
        if composer.oauth is not None:
            composer.log_in(HIDDEN, 1)
    judges = finders(destination, rendering.routes)
    with closing(_reader(destination, rendered)) as reader:
        errors = dict(reader.errors())
        for error in islice(errors.values(), count):
            yield RenderedRequest(destination.name, None, None, None, None, error=error)
        for parcel in islice(reader.read(), count):
            if parcel.route in judges:
                has_create = (parcel.route, "create_") in by_step
                parcel.step = "create_" if has_create else "update_"
            request = by_step[parcel.route, parcel.step].compose(parcel, _now(SystemClock()))
            key, change = rendered.of(parcel.first)
            if isinstance(request, str):
                yield RenderedRequest(destination.name, key, change, None, None, error=request)
            else:
                yield _rendered(destination, request, key, change)


def _rendered(
    destination: Destination, request: HttpRequest, key: str, change: str
) -> RenderedRequest:
    headers = dict(line.split(": ", 1) for line in request.headers if ": " in line)
    body = request.body
    if body is not None and headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    return RenderedRequest(
        destination.name,
        key,
        change,
        request.method,
        redact(request.url),
        {name: _starred(name, value) for name, value in headers.items()},
        None if body is None else redact(body.decode(errors="replace")),
    )


def _starred(name: str, value: str) -> str:
    """Return a header's value; that of a login is a secret, also where it is a plain text."""
    if name.lower() == "authorization":
        return f"{value.split(' ', 1)[0]} {HIDDEN}"
    return redact(value)


def _with_answer(shown: RenderedRequest, answer: HttpAnswer, error: str | None) -> RenderedRequest:
    return replace(
        shown,
        status=answer.status or None,
        response=redact(answers.kept_text(answer)[:_SHOWN]),
        milliseconds=round(answer.seconds * 1000, 1),
        error=error and redact(error),
    )


def _failed(destination: Destination, error: CdpsyncError) -> RenderedRequest:
    return RenderedRequest(destination.name, None, None, None, None, error=error.message)


def _reader(destination: Destination, rendered: Sample) -> ParcelReader:
    outbox = rendered.outbox
    return parcel_reader(destination, outbox, rendered.rendering.routes, outbox.settlements())


def _now(clock: SystemClock) -> int:
    return int(clock.now().timestamp())
