"""What a local server of some system's API has in common with the others: rows, pages, refusals."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from support.api_server import ApiRequest, ApiServer, Number, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Rows = list[dict[str, Any]]

T0 = datetime(2026, 1, 1, tzinfo=UTC)
BIG = Number("12345678901234567890.1234567")
"""More digits than a float has."""


def at(number: int) -> datetime:
    """Return the time of a row's last change; two rows of each ten share one."""
    return T0 + timedelta(hours=number - (number % 10 == 1))


def iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def milliseconds(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def epoch(moment: datetime) -> int:
    return int(moment.timestamp())


@dataclass
class Changes:
    """A table that is read from a cursor on: its field, and what the request asks for.

    `asked` returns the value that a request asks for, `sent` what is documented for a time. Without
    `asked` the API has no filter.
    """

    field: str
    time_of: Callable[[Mapping[str, Any]], datetime]
    asked: Callable[[ApiRequest], Any] | None = None
    sent: Callable[[datetime], Any] = iso


@dataclass
class System:
    """An API with its data, and how a source reaches it.

    `rows` are the records of each table as the API has them. `limited` is its answer to too many
    requests; `limit_passes` is False where waiting does not help. `repeating` are the tables whose
    records may come again on a later page; a merge keeps the last. `secret` is the name of the
    option with the token, `refusal` what it says of a wrong one.
    """

    type: str
    server: ApiServer
    options: Callable[[], dict[str, Any]]
    secret: str
    refusal: str
    limited: Callable[[], Reply]
    rows: dict[str, Rows]
    keys: dict[str, Sequence[str]] = field(default_factory=dict)
    changes: dict[str, Changes] = field(default_factory=dict)
    limit_passes: bool = True
    repeating: Sequence[str] = ()

    def key_of(self, table: str) -> Sequence[str]:
        return self.keys.get(table, ("id",))


def unknown(request: ApiRequest, known: Iterable[str]) -> list[str]:
    """Return the parameters that an endpoint does not have."""
    return sorted(set(request.query) - set(known))


def paged(rows: Rows, start: int, size: int) -> tuple[Rows, int | None]:
    """Return a page, and where the next one starts; None after the last."""
    end = start + size
    return rows[start:end], end if end < len(rows) else None
