"""Destinations, deliveries and dead letters as JSON: keys and their order are fixed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cdpsync.redact import redact
from cdpsync.serialize.results import Record, moment, of_delivery, of_failure
from cdpsync.serialize.text import duration

if TYPE_CHECKING:
    from cdpsync.model.deliveries import (
        DeadLetter,
        DestinationOverview,
        RenderedRequest,
        SendResult,
    )
    from cdpsync.model.destinations import PresetOverview

DESTINATION_KEYS = (
    "destination", "type", "source", "status", "state", "every", "last_run_at",
    "last_delivery_at", "next_due_at", "behind_rows", "behind_since", "held", "dead_letters",
    "reason", "error", "notices",
)  # fmt: skip
REQUEST_KEYS = (
    "destination", "key", "change", "method", "url", "headers", "body", "status", "response",
    "milliseconds", "error",
)  # fmt: skip
DEAD_LETTER_KEYS = (
    "id", "destination", "source", "key", "change", "snapshot_id", "event_id", "method", "url",
    "body", "status", "response", "error", "attempts", "first_at", "last_at",
)  # fmt: skip
TYPE_KEYS = ("type", "about", "docs", "needs", "inputs", "actions", "file")


def of_send(result: SendResult) -> Record:
    """Return a whole send."""
    return {
        "run_id": result.run_id,
        "status": result.status,
        "started_at": moment(result.started_at),
        "finished_at": moment(result.finished_at),
        "destinations": [of_delivery(delivery) for delivery in result.destinations],
    }


def of_destination(overview: DestinationOverview) -> Record:
    """Return one destination of `status`."""
    values: Record = {name: getattr(overview, name, None) for name in DESTINATION_KEYS}
    return values | {
        "destination": overview.name,
        "state": overview.state.value,
        "every": duration(overview.every),
        "last_run_at": moment(overview.last_run_at),
        "last_delivery_at": moment(overview.last_delivery_at),
        "next_due_at": moment(overview.next_due_at),
        "behind_since": moment(overview.behind_since),
        "error": of_failure(overview.error),
        "notices": list(overview.notices),
    }


def of_request(request: RenderedRequest) -> Record:
    """Return a request that was shown or tried. The key is a list of texts."""
    values: Record = {name: getattr(request, name) for name in REQUEST_KEYS}
    return values | {
        "key": _key(request.key),
        "headers": dict(request.headers),
        "body": request.body and redact(request.body),
    }


def of_dead_letter(letter: DeadLetter) -> Record:
    """Return a dead letter. The key is a list of texts."""
    values: Record = {name: getattr(letter, name) for name in DEAD_LETTER_KEYS}
    return values | {
        "key": _key(letter.key),
        "first_at": moment(letter.first_at),
        "last_at": moment(letter.last_at),
    }


def of_type(preset: PresetOverview) -> Record:
    """Return a type of destinations."""
    return {
        "type": preset.name,
        "about": preset.about,
        "docs": list(preset.docs),
        "needs": list(preset.needs),
        "inputs": list(preset.inputs),
        "actions": list(preset.actions),
        "file": preset.file,
    }


def _key(text: str | None) -> object:
    return None if text is None else json.loads(text)
