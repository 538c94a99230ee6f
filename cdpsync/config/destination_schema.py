"""Keys of a destination that are no templates, as pydantic models."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator

from cdpsync.config.durations import parse_duration, parse_every
from cdpsync.config.schema import Every, Names, StrictSection, Text, as_list, one_of
from cdpsync.config.sizes import parse_size
from cdpsync.model.destinations import AnswerRules, Batch, ChangeKind, ChangeOrder, Rate, Retry

MAX_CONNECTIONS = 256
"""More than so many sockets make `select` slow, and no API takes them."""

_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*/\s*([0-9]*)\s*(s|m|min|h|d)")
_FROM = re.compile(
    r"(?P<table>[^\s]+)(?:\s+as\s+(?P<alias>[A-Za-z_][A-Za-z0-9_]*))?", re.IGNORECASE
)
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}


def parse_rate(value: object, *, of_rows: bool = False) -> Rate:
    """Return the rate of `50/s`, `190/10s` or `3500/min`; else ValueError."""
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or float(match[1]) <= 0 or match[2] in {"0", "00"}:
        raise ValueError("must be a rate. Write 50/s, 190/10s or 3500/min")
    seconds = int(match[2] or 1) * _SECONDS[match[3]]
    return Rate(float(match[1]), timedelta(seconds=seconds), of_rows)


def _parse_rates(value: object) -> tuple[Rate, ...]:
    values = value if isinstance(value, list) else [value]
    rates = []
    for one_rate in values:
        if isinstance(one_rate, dict) and set(one_rate) == {"rows"}:
            rates.append(parse_rate(one_rate["rows"], of_rows=True))
        else:
            rates.append(parse_rate(one_rate))
    if not rates:
        raise ValueError("must name at least one rate, such as 50/s. Or remove the key")
    return tuple(rates)


def _parse_start(value: object) -> str | datetime:
    if value in {"now", "all"}:
        return str(value)
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError("must be now, all, or a time such as 2026-01-31T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_from(text: str) -> tuple[str, str | None]:
    """Return the table and the alias of `shop.orders as Orders`; ValueError if it is no table."""
    match = _FROM.fullmatch(text.strip())
    if match is None or "." not in match["table"].strip("."):
        raise ValueError("must be a table of the lake, such as shop.orders (as Orders)")
    return match["table"], match["alias"]


def _is_table(text: str) -> str:
    parse_from(text)
    return text


def _parse_kinds(value: object) -> tuple[ChangeKind, ...]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError("must not be empty. Name insert, update or delete")
    return tuple(one_of(ChangeKind)(kind) for kind in values)


class BatchSection(StrictSection):
    """`batch:`: how many changes one request has."""

    rows: Annotated[int, Field(ge=1)] | None = None
    bytes: Annotated[int, PlainValidator(parse_size)] | None = None
    item_bytes: Annotated[int, PlainValidator(parse_size)] | None = None

    def limits(self) -> Batch | None:
        """Return the limits; None: one change a request."""
        if self.rows is None and self.bytes is None:
            return None
        return Batch(self.rows or 1_000, self.bytes, self.item_bytes)


class DeleteSection(StrictSection):
    """`delete:` without its request."""

    batch: BatchSection | None = None


class RetrySection(StrictSection):
    """`retry:`: how long a change is tried."""

    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    within: Annotated[timedelta, PlainValidator(parse_duration)] = timedelta(hours=3)
    timeout: Annotated[timedelta, PlainValidator(parse_every)] = timedelta(seconds=30)
    when: Text | None = None


class PartialSection(StrictSection):
    """`partial:`: answers that name the items that were not taken."""

    when: Text
    failed: Text
    by: Text = "index"
    error: Text | None = None
    again: Text | None = None
    others: Literal["taken", "again"] = "taken"


class MaskSection(StrictSection):
    """`mask:` without its template `by`."""

    every: Every | None = None
    after: Annotated[int, Field(ge=2)] | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> "MaskSection":
        if self.every is None and self.after is None:
            raise ValueError('needs "every" (a duration) or "after" (a number). Add one')
        return self


def _as_retry(value: object) -> object:
    return {"when": value} if isinstance(value, str) else value


def _as_on_exit(value: object) -> bool:
    if value != "delete":
        raise ValueError("must be delete, or left out")
    return True


class DestinationSection(StrictSection):
    """A destination, its preset's keys filled in, without templates and inputs."""

    type: Text
    from_: Annotated[Text | None, AfterValidator(lambda v: v and _is_table(v))] = Field(
        None, alias="from"
    )
    key: Annotated[Names, BeforeValidator(as_list)] | None = None
    on: Annotated[tuple[ChangeKind, ...], PlainValidator(_parse_kinds)] = (
        ChangeKind.INSERT,
        ChangeKind.UPDATE,
    )
    on_exit: Annotated[bool, PlainValidator(_as_on_exit)] = False
    changes: Annotated[ChangeOrder, PlainValidator(one_of(ChangeOrder))] = ChangeOrder.LAST
    start: Annotated[str | datetime, PlainValidator(_parse_start)] = "now"
    every: Every | None = None
    hold: Annotated[timedelta, PlainValidator(parse_every)] = timedelta(days=30)
    keep: bool = False
    enabled: bool = True
    batch: BatchSection | None = None
    rate: Annotated[tuple[Rate, ...], PlainValidator(_parse_rates)] = ()
    connections: Annotated[int, Field(ge=1, le=MAX_CONNECTIONS)] = 8
    retry: Annotated[RetrySection | None, BeforeValidator(_as_retry)] = None
    mask: MaskSection | None = None
    allow_hosts: Annotated[Names, BeforeValidator(as_list)] | None = None
    big_integers: Literal["number", "text"] = "number"
    idempotency_header: Text | None = None
    ok: Text | None = None
    partial: PartialSection | None = None
    retry_after: Text | None = None
    done: Text | None = None
    drop: Text | None = None
    unauthorized: Text | None = None

    def answer_rules(self) -> AnswerRules:
        """Return what an answer means."""
        partial = self.partial
        return AnswerRules(
            ok=self.ok,
            partial=partial.when if partial else None,
            failed=partial.failed if partial else None,
            failed_by=partial.by if partial else "index",
            failed_error=partial.error if partial else None,
            failed_again=partial.again if partial else None,
            others_again=partial is not None and partial.others == "again",
            retry_after=self.retry_after,
            done=self.done,
            retry=self.retry.when if self.retry else None,
            drop=self.drop,
            unauthorized=self.unauthorized,
        )

    def batch_limits(self) -> Batch | None:
        """Return the limits of a batch; None: one change a request."""
        return self.batch.limits() if self.batch else None

    def retries(self) -> Retry:
        """Return how long a change is tried."""
        section = self.retry or RetrySection()
        return Retry(section.attempts, section.within, section.timeout)


class RequestSection(StrictSection):
    """The keys of a request that are no templates."""

    method: Annotated[str, Field(pattern=r"^[A-Za-z]{3,10}$")] = "POST"
    format: Literal["json", "form", "text", "ndjson"] = "json"
    gzip: bool = False


Credential = Annotated[
    Text, BeforeValidator(lambda value: str(value) if type(value) is int else value)
]


class OAuthSection(StrictSection):
    """`oauth:` under `auth:`: how an access token is got."""

    grant: Literal["refresh_token", "client_credentials"] | None = None
    token_url: Credential | None = None
    client_id: Credential | None = None
    client_secret: Credential | None = None
    refresh_token: Credential | None = None
    scope: Credential | None = None
    client: Literal["body", "header"] = "body"
