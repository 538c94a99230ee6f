"""Compares a field of a record with a cursor: for lists with their newest records first."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from cdpsync.connector.http.paths import as_text

if TYPE_CHECKING:
    from cdpsync.model import Cursor


def is_below(value: bytes, low: Cursor, type_: str | None) -> bool:
    """Whether a JSON value is below a cursor; False where that cannot be told."""
    text = as_text(value)
    bound = low.value
    try:
        if isinstance(bound, datetime):
            moment = _moment(text, type_)
            aware = bound if bound.tzinfo else bound.replace(tzinfo=UTC)
            return moment < aware
        if isinstance(bound, date):
            return date.fromisoformat(text[:10]) < bound
        return isinstance(bound, int | Decimal) and Decimal(text) < bound
    except (ValueError, InvalidOperation, OverflowError):
        return False


def _moment(text: str, type_: str | None) -> datetime:
    if type_ in {"EPOCH", "EPOCH_MS"}:
        return datetime.fromtimestamp(float(text) / (1000 if type_ == "EPOCH_MS" else 1), UTC)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
