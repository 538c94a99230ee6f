"""Destinations: what the project file says of one, its requests and its limits; their types."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cdpsync.model.plan import TableName


class ChangeKind(StrEnum):
    """What happened to a key between two moments."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


class ChangeOrder(StrEnum):
    """Which changes of a key are sent: the net one of all, or each, one after the other."""

    LAST = "last"
    EACH = "each"


# ---- what is sent: texts and bodies with `{{ expressions }}`


@dataclass(frozen=True, slots=True)
class Template:
    """A text with `{{ expressions }}`, and where it stands: `cdpsync.yml:14`.

    `constants` are the values from outside the file (`${…}`), in the order of the marks (U+0000)
    that stand for them in `text`. They are added after rendering, because they may be secret: no
    statement, no file and no log has them.
    """

    text: str
    location: str
    constants: tuple[str, ...] = field(default=(), repr=False)


Body: TypeAlias = "Template | int | float | bool | tuple[Body, ...] | Mapping[str, Body] | None"
"""A tree of a YAML file. A key that ends in `?` is left out where its value is NULL. Under the key
`...` stands an object whose members are added; those that are written out win."""


@dataclass(frozen=True, slots=True)
class OAuth:
    """How an access token is asked for: the grant `refresh_token` or `client_credentials`.

    `in_header`: the client's id and secret go into a header (HTTP Basic), and not into the body.
    """

    grant: str
    token_url: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    scope: str | None = None
    in_header: bool = False
    location: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """One HTTP request, for one change or for a batch of them.

    `item` is what a batch has of each change, and stands in `body` as `{{ items }}`; without a
    body the batch is the JSON array of its items. `basic` is user and password, `bearer` a token,
    `oauth` how one is got.
    """

    method: str
    url: Template
    headers: Mapping[str, Template] = field(default_factory=dict)
    query: Mapping[str, Template] = field(default_factory=dict)
    body: Body = None
    item: Body = None
    format: str = "json"  # json | form | text | ndjson
    gzip: bool = False
    basic: tuple[Template, Template] | None = None
    bearer: Template | None = None
    oauth: OAuth | None = field(default=None, repr=False)  # another one renders nothing anew
    sign: Template | None = None  # the secret of a Standard Webhooks signature


@dataclass(frozen=True, slots=True)
class FindTemplate:
    """A request that looks for a record, and the SQL over its `response` that gives the id.

    Where there is none (NULL), `create` is sent, or nothing if that is None; else `update`, in
    which `{{ found }}` is the id.
    """

    request: RequestTemplate
    id: str
    create: RequestTemplate | None
    update: RequestTemplate


@dataclass(frozen=True, slots=True)
class AnswerRules:
    """What an answer means, as SQL over `status`, `response`, `headers` and `method`.

    `response` and `headers` are JSON, `method` is that of the request.

    `ok`: whether all was taken; None: 200 to 299. `partial`: whether the answer names the items
    that were not taken; `failed` is then a list of JSON objects, in each of which `failed_by` is
    the path of the item's position (`index`), of its event's id, or of a text in its item, and
    `failed_error` that of the message. `unauthorized`: the credentials were refused, though the
    status is neither 401 nor 403. `failed_again` is the path of a boolean: the
    item may be taken another time. `others_again`: the items that are not named were not taken
    either, and are sent again without those.
    `retry_after`: seconds, besides the headers that all know. `done`: an error that means that the
    item has been taken before (409 at some).
    """

    ok: str | None = None
    partial: str | None = None
    failed: str | None = None
    failed_by: str = "index"
    failed_error: str | None = None
    failed_again: str | None = None
    others_again: bool = False
    retry_after: str | None = None
    done: str | None = None
    retry: str | None = None  # answers to try again, besides 408, 425, 429 and 5xx
    unauthorized: str | None = None
    drop: str | None = None  # answers that refuse the rows, though their status says otherwise


@dataclass(frozen=True, slots=True)
class Batch:
    """How many changes one request has, at most. `bytes` are those of the whole body."""

    rows: int
    bytes: int | None = None
    item_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many requests (or, with `of_rows`, changes) in an interval."""

    count: float
    per: timedelta
    of_rows: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """How long a change is tried: attempts within a run, time over runs, seconds per request."""

    attempts: int = 3
    within: timedelta = timedelta(hours=3)
    timeout: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Mask:
    """Of the changes with one value of `by`, only the first in each `every`, or each `after`-th."""

    by: Template
    every: timedelta | None = None
    after: int | None = None


# ---- a destination


@dataclass(frozen=True, slots=True)
class Destination:
    """One destination of the project file, its preset's keys filled in.

    It is fed from a `table` of the lake, or from a query (`sql`), whose rows `key` tells apart.
    `alias` is the name of the row in expressions (`from: shop.customers as Profile`). `inputs` are
    the destination's own values for its preset, which expressions of the preset name.
    `start` is "now", "all" or a time. `problem`: which value a variable or a file should have
    filled in; then there is no request. With
    `big_integers` "text", integers beyond 2^53 are sent as text.
    """

    name: str
    type: str
    location: str
    table: TableName | None = None
    sql: Template | None = None
    alias: str | None = None
    key: tuple[str, ...] | None = None
    on: frozenset[ChangeKind] = frozenset({ChangeKind.INSERT, ChangeKind.UPDATE})
    on_exit: bool = False
    where: Template | None = None
    mask: Mask | None = None
    order: ChangeOrder = ChangeOrder.LAST
    start: str | datetime = "now"
    every: timedelta | None = None
    hold: timedelta = timedelta(days=30)
    keep: bool = False
    inputs: Mapping[str, Body] = field(default_factory=dict)
    request: RequestTemplate | FindTemplate | None = None
    delete: RequestTemplate | FindTemplate | None = None
    answers: AnswerRules = field(default_factory=AnswerRules)
    batch: Batch | None = None
    delete_batch: Batch | None = None
    rate: tuple[Rate, ...] = ()
    connections: int = 8
    retry: Retry = field(default_factory=Retry)
    allow_hosts: tuple[str, ...] = ()
    big_integers: str = "number"  # or text: integers beyond 2^53
    idempotency: str | None = None  # the header that has the idempotency key
    enabled: bool = True
    problem: str = ""

    @property
    def source(self) -> str:
        """What feeds it, as people read it: `shop.orders`, or `sql`."""
        return str(self.table) if self.table else "sql"


def batch_of(destination: Destination, route: str) -> Batch | None:
    """Return the batch of a route, which is request or delete; None: one change a request."""
    return destination.delete_batch if route == "delete" else destination.batch


@dataclass(frozen=True, slots=True)
class PresetOverview:
    """A type of destinations: its preset's file, what it is, and what it needs and takes."""

    name: str
    about: str | None
    docs: tuple[str, ...]
    needs: tuple[str, ...]
    inputs: tuple[str, ...]
    actions: tuple[str, ...]
    file: str
