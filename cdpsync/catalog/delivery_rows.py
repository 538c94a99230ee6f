"""Values of deliveries as rows of the lake's tables, and back."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import timedelta
from typing import Any

from cdpsync.model.deliveries import (
    DeadLetter,
    DeliveryRecord,
    DeliveryResult,
    DestinationState,
    Health,
    HealthState,
    Position,
)
from cdpsync.model.results import Failure

DESTINATION_COLUMNS = {
    "name": "varchar",
    "source": "varchar",
    "table_uuid": "varchar",
    "snapshot_id": "bigint",
    "snapshot_time": "timestamptz",
    "outbox": "varchar",
    "state": "varchar",
    "tokens": "double",
    "state_at": "timestamptz",
    "counted_at": "timestamptz",
    "probes": "integer",
    "reason": "varchar",
    "config": "varchar",
    "held": "bigint",
    "held_since": "timestamptz",
    "last_delivery_at": "timestamptz",
    "hold_seconds": "double",
}
DELIVERY_COLUMNS = {
    "run_id": "varchar",
    "started_at": "timestamptz",
    "finished_at": "timestamptz",
    "destination": "varchar",
    "table_name": "varchar",
    "status": "varchar",
    "state": "varchar",
    "triggered": "bigint",
    "filtered": "bigint",
    "masked": "bigint",
    "succeeded": "bigint",
    "held": "bigint",
    "dead": "bigint",
    "retried": "bigint",
    "requests": "bigint",
    "bytes_sent": "bigint",
    "p50_ms": "double",
    "p95_ms": "double",
    "seconds": "double",
    "error_type": "varchar",
    "error_message": "varchar",
    "notices": "varchar",
}
DEAD_LETTER_COLUMNS = {
    "id": "varchar",
    "destination": "varchar",
    "table_name": "varchar",
    "key": "varchar",
    "change": "varchar",
    "snapshot_id": "bigint",
    "event_id": "varchar",
    "method": "varchar",
    "url": "varchar",
    "body": "varchar",
    "status": "integer",
    "response": "varchar",
    "error": "varchar",
    "attempts": "integer",
    "first_at": "timestamptz",
    "last_at": "timestamptz",
    "replayed_at": "timestamptz",
}
MASK_COLUMNS = {
    "destination": "varchar",
    "hash": "varchar",
    "window_start": "timestamptz",
    "seen": "bigint",
}

_RESULT_FIELDS = [field.name for field in fields(DeliveryResult) if field.name in DELIVERY_COLUMNS]


def state_row(state: DestinationState) -> dict[str, object]:
    """Return the state of a destination as a row."""
    position, health = state.position, state.health
    return {
        "name": state.name,
        "source": state.source,
        "table_uuid": position and position.table_uuid,
        "snapshot_id": position and position.snapshot_id,
        "snapshot_time": position and position.snapshot_time,
        "outbox": state.outbox,
        "state": health.state.value,
        "tokens": health.tokens,
        "state_at": health.since,
        "counted_at": health.counted_at,
        "probes": health.probes,
        "reason": health.reason,
        "config": state.config,
        "held": state.held,
        "held_since": state.held_since,
        "last_delivery_at": state.last_delivery_at,
        "hold_seconds": state.hold.total_seconds(),
    }


def state_of(row: dict[str, Any]) -> DestinationState:  # Any: a row of the database
    """Return the state of a destination that a row has."""
    position = None
    if row["snapshot_id"] is not None:
        position = Position(
            row["name"], row["source"], row["table_uuid"], row["snapshot_id"], row["snapshot_time"]
        )
    return DestinationState(
        name=row["name"],
        source=row["source"],
        position=position,
        health=Health(
            HealthState(row["state"]),
            row["tokens"],
            row["state_at"],
            row["probes"],
            row["reason"],
            row["counted_at"],
        ),
        outbox=row["outbox"],
        config=row["config"],
        held=row["held"],
        held_since=row["held_since"],
        last_delivery_at=row["last_delivery_at"],
        hold=timedelta(seconds=row["hold_seconds"]),
    )


def record_row(record: DeliveryRecord) -> dict[str, object]:
    """Return what came of a send as a row."""
    result = record.result
    return {name: getattr(result, name) for name in _RESULT_FIELDS} | {
        "run_id": record.run_id,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "table_name": result.source,
        "state": result.state and result.state.value,
        "error_type": result.error and result.error.type,
        "error_message": result.error and result.error.message,
        "notices": json.dumps(result.notices) if result.notices else None,
    }


def record_of(row: dict[str, Any]) -> DeliveryRecord:  # Any: a row of the database
    """Return what came of a send, as a row has it."""
    values: dict[str, Any] = {name: row[name] for name in _RESULT_FIELDS}
    error = None
    if row["error_type"] is not None:
        error = Failure(row["error_type"], row["error_message"])
    values |= {
        "source": row["table_name"],
        "state": HealthState(row["state"]) if row["state"] else None,
        "error": error,
        "notices": tuple(json.loads(row["notices"])) if row["notices"] else (),
    }
    return DeliveryRecord(
        row["run_id"], row["started_at"], row["finished_at"], DeliveryResult(**values)
    )


def letter_row(letter: DeadLetter) -> dict[str, object]:
    """Return a dead letter as a row."""
    row: dict[str, object] = {field.name: getattr(letter, field.name) for field in fields(letter)}
    return row | {"table_name": letter.source}


def letter_of(row: dict[str, Any]) -> DeadLetter:  # Any: a row of the database
    """Return the dead letter that a row has."""
    names = [field.name for field in fields(DeadLetter) if field.name != "source"]
    return DeadLetter(source=row["table_name"], **{name: row[name] for name in names})
