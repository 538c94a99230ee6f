"""Reports of the commands about destinations: the JSON, the CSV and the table of each result."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.cli.output.report import Heading, Part, Report
from cdpsync.serialize import deliveries as serialize
from cdpsync.serialize.results import DELIVERY_KEYS, STATUS_KEYS, flat, of_delivery
from cdpsync.serialize.text import ago, count, due, duration, seconds
from cdpsync.system import clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdpsync.model.deliveries import (
        DeadLetter,
        DeliveryResult,
        DestinationOverview,
        RenderedRequest,
        SendResult,
    )
    from cdpsync.model.destinations import PresetOverview
    from cdpsync.serialize.results import Record

_COUNTS = ("succeeded", "held", "dead", "retried", "filtered", "masked")
_LONGEST = 60  # characters of an error in a table; the JSON has all


def send_report(result: SendResult) -> Report:
    """Report what came of each destination."""
    records = [of_delivery(delivery) for delivery in result.destinations]
    keys, csv_records = flat(records, DELIVERY_KEYS)
    headings, rows = delivery_rows(result.destinations)
    return Report(serialize.of_send(result), keys, csv_records, headings, rows)


def delivery_rows(
    results: Sequence[DeliveryResult],
) -> tuple[list[Heading], list[tuple[str | None, ...]]]:
    """Return the table of what came of destinations."""
    headings = [
        *map(Heading, ("destination", "from", "status", "health")),
        *(Heading(name, number=True) for name in _COUNTS),
        Heading("p95", number=True),
        Heading("time", number=True),
    ]
    rows: list[tuple[str | None, ...]] = [
        (
            result.destination,
            result.source,
            result.status,
            result.state and result.state.value,
            *(count(getattr(result, name)) for name in _COUNTS),
            None if result.p95_ms is None else f"{result.p95_ms:.0f} ms",
            seconds(result.seconds),
        )
        for result in results
    ]
    return headings, rows


def destinations_report(overviews: Sequence[DestinationOverview]) -> Report:
    """Report the state of each destination."""
    records = [serialize.of_destination(overview) for overview in overviews]
    keys, csv_records = flat(records, serialize.DESTINATION_KEYS)
    headings, rows, notes = destination_rows(overviews)
    return Report(records, keys, csv_records, headings, rows, notes)


def destination_rows(
    overviews: Sequence[DestinationOverview],
) -> tuple[list[Heading], list[tuple[str | None, ...]], list[str]]:
    """Return the table of destinations, and the lines below it."""
    now = clock.now()
    headings = [
        *map(Heading, ("destination", "type", "from", "status", "health")),
        Heading("behind", number=True),
        *map(Heading, ("since", "last delivery")),
        Heading("dead", number=True),
        *map(Heading, ("every", "next due")),
    ]
    rows: list[tuple[str | None, ...]] = [
        (
            overview.name,
            overview.type,
            overview.source,
            overview.status,
            overview.state.value,
            count(overview.behind_rows),
            ago(overview.behind_since, now),
            ago(overview.last_delivery_at, now),
            count(overview.dead_letters),
            duration(overview.every),
            due(overview.next_due_at, now),
        )
        for overview in overviews
    ]
    notes = [
        f"{overview.name}: {overview.error.message}" for overview in overviews if overview.error
    ]
    notes += [
        f"{overview.name}: {overview.reason}"
        for overview in overviews
        if overview.reason and not overview.error
    ]
    notes += [f"{overview.name}: {notice}" for overview in overviews for notice in overview.notices]
    return headings, rows, notes


def with_destinations(
    report: Report, tables: Sequence[Record], overviews: Sequence[DestinationOverview]
) -> Report:
    """Return the report of tables with a part of its own for the destinations.

    A destination's record has the keys of a table, too, so that a script may read either.
    """
    new_keys = tuple(key for key in serialize.DESTINATION_KEYS if key not in STATUS_KEYS)
    no_table = dict.fromkeys(STATUS_KEYS)
    records = [no_table | serialize.of_destination(overview) for overview in overviews]
    all_keys = (*STATUS_KEYS, *new_keys)
    keys, csv_records = flat(
        [dict.fromkeys(all_keys) | record for record in (*tables, *records)], all_keys
    )
    headings, rows, notes = destination_rows(overviews)
    return replace(
        report,
        document=[*tables, *records],
        keys=keys,
        records=csv_records,
        more=Part(headings, rows, notes),
    )


def requests_report(requests: Sequence[RenderedRequest]) -> Report:
    """Report requests as they would be sent, or as one was; the table is a text per request."""
    records = [serialize.of_request(request) for request in requests]
    csv_records = [
        record | {"key": json.dumps(record["key"]), "headers": json.dumps(record["headers"])}
        for record in records
    ]
    headings = [Heading("destination"), Heading("change"), Heading("key"), Heading("request")]
    rows: list[tuple[str | None, ...]] = [
        (
            request.destination,
            request.change,
            request.key,
            f"{request.method} {request.url}" if request.url else None,
        )
        for request in requests
    ]
    notes = [line for request in requests for line in _request_lines(request)]
    return Report(records, serialize.REQUEST_KEYS, csv_records, headings, rows, notes)


def _request_lines(request: RenderedRequest) -> list[str]:
    """Return a request as people read it, and its answer."""
    record = serialize.of_request(request)
    lines = [""]
    if request.url:
        lines.append(f"> {request.method} {request.url}")
        lines += [f"> {name}: {value}" for name, value in request.headers.items()]
    if record["body"]:
        lines += [">", f"> {record['body']}"]
    if request.status is not None:
        lines.append(f"< {request.status} ({request.milliseconds or 0:.0f} ms)")
        lines += [f"< {line}" for line in (request.response or "").splitlines()]
    if request.error:
        lines.append(f"error: {request.error}")
    return lines


def dead_letters_report(letters: Sequence[DeadLetter]) -> Report:
    """Report changes that could not be delivered."""
    now = clock.now()
    records = [serialize.of_dead_letter(letter) for letter in letters]
    csv_records = [record | {"key": json.dumps(record["key"])} for record in records]
    headings = [
        *map(Heading, ("id", "destination", "key", "change")),
        Heading("status", number=True),
        Heading("attempts", number=True),
        *map(Heading, ("last", "error")),
    ]
    rows = [
        (
            letter.id,
            letter.destination,
            letter.key,
            letter.change,
            None if letter.status is None else str(letter.status),
            count(letter.attempts),
            ago(letter.last_at, now),
            letter.error if len(letter.error) <= _LONGEST else f"{letter.error[:_LONGEST]}…",
        )
        for letter in letters
    ]
    return Report(records, serialize.DEAD_LETTER_KEYS, csv_records, headings, rows)


def types_report(presets: Sequence[PresetOverview]) -> Report:
    """Report the types that destinations can have."""
    records = [serialize.of_type(preset) for preset in presets]
    csv_records = [
        record | {key: ", ".join(getattr(preset, key)) for key in _LISTS}
        for record, preset in zip(records, presets, strict=True)
    ]
    headings = [Heading(name) for name in ("type", "about", "needs", "actions")]
    rows = [
        (preset.name, preset.about, ", ".join(preset.needs), ", ".join(preset.actions))
        for preset in presets
    ]
    return Report(records, serialize.TYPE_KEYS, csv_records, headings, rows)


_LISTS = ("docs", "needs", "inputs", "actions")
