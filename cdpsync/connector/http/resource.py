"""A resource of an API: one list, or one object, that becomes a table."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync.model import BY_VALUES, Column, CursorType, Stream
from cdpsync.model.cursors import cursor_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdpsync.connector.http.pages import Paginator
    from cdpsync.connector.http.request import Json
    from cdpsync.model import Cursor

TIME = "TIMESTAMP WITH TIME ZONE"
EPOCHS = ("EPOCH", "EPOCH_MS")
"""Types of fields that are seconds, or milliseconds, since 1970: times in the lake."""

_FORMATS = ("iso", "date", "epoch", "epoch_ms")
_PLACEHOLDER = re.compile(r"\{(cursor|\+?parent\.[^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Parent:
    """The resource whose records a resource is read for, one by one.

    `{parent.PATH}` in its path, parameters, headers and body stands for a value of that record;
    `{+parent.PATH}` in the path keeps its slashes. `fields` are columns that each record gets from
    its parent: names to paths. `empty_on` are the statuses by which the API says that a parent has
    no records. With `join` the resource is read once, and `{parent.PATH}` is the list of all
    parents' values with commas between them.
    """

    resource: str
    fields: Mapping[str, str] = field(default_factory=dict)
    empty_on: tuple[int, ...] = ()
    join: bool = False


@dataclass(frozen=True, slots=True)
class Resource:
    """What to ask an API for, and what its records are.

    `records` is the path of the records in an answer; empty: the answer itself is the list. A
    single object there is one record. `errors` are names at the top of an answer that report an
    error where they have a value, also with status 200. `paginator`: None follows the header
    `Link`, and otherwise expects one page.

    `fields` are more columns: names to paths in the record. `types` are DuckDB types of fields, or
    EPOCH and EPOCH_MS. Others follow from the values.

    `cursor_field` is the field that a later read continues from, and `cursor_param` the parameter
    by which the API filters it (with `cursor_in_body` a path in the body); without one every page
    is read, and rows below the cursor are dropped. `cursor_format` is how the API wants it: `iso`,
    `date`, `epoch`, `epoch_ms` or a pattern of strftime. `cursor_initial` is sent where there is no
    cursor yet. With `cursor_exclusive` the API returns rows above the value only; `cursor_earlier`
    seconds less than a time are sent, for APIs that compare more coarsely. With `newest_first`
    pages are not read on below the cursor. `cursor_params` are sent where there is a cursor, beside
    or in place of `params`: another order, say. `{cursor}` in parameters and body stands for the
    cursor; what has it is left out where there is none. Members of the body that are named in
    `verbatim` have no placeholders: the `query` of GraphQL has braces of its own.

    With `items`, nothing is asked for: these texts are its records, each as a field `value`, for
    other resources that have it as their parent. It is no stream, and neither is a `hidden` one.
    `rate` limits its requests a second, beside the client's. `only_if_named` says why a source
    without a list of tables leaves it out. With `may_repeat` the API may give a record again on a
    later page; the first is kept.
    """

    name: str
    path: str
    method: str = "GET"
    params: Mapping[str, str | None] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Json = None
    verbatim: tuple[str, ...] = ()
    records: str = ""
    errors: tuple[str, ...] = ("error", "errors")
    paginator: Paginator | None = None
    primary_key: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    cursor_field: str | None = None
    cursor_param: str | None = None
    cursor_in_body: bool = False
    cursor_format: str = "iso"
    cursor_initial: str | None = None
    cursor_exclusive: bool = False
    cursor_earlier: float = 0.0
    cursor_params: Mapping[str, str | None] = field(default_factory=dict)
    newest_first: bool = False
    parent: Parent | None = None
    notices: tuple[str, ...] = ()
    items: tuple[str, ...] | None = None
    may_repeat: bool = False
    hidden: bool = False
    rate: float | None = None
    only_if_named: str | None = None

    @property
    def is_stream(self) -> bool:
        """Whether the resource is a stream, and not only the parent of others."""
        return self.items is None and not self.hidden

    def stream(self) -> Stream:
        """Return the stream; a field whose type is not known has the type of its values."""
        names = dict.fromkeys(self.primary_key)
        names |= dict.fromkeys((*(self.parent.fields if self.parent else ()), *self.fields))
        names |= dict.fromkeys((self.cursor_field,) if self.cursor_field else ())
        names |= dict.fromkeys(self.types)
        return Stream(
            self.name,
            self.name,
            tuple(self._column(name) for name in names),
            primary_key=self.primary_key,
            cursor_fields=(self.cursor_field,) if self.cursor_field else (),
            kind="list",
            open_schema=True,
            notices=self.notices,
            only_if_named=self.only_if_named,
        )

    def _column(self, name: str) -> Column:
        type_ = self.lake_type(name)
        return Column(name, type_) if type_ else Column(name, "VARCHAR", source_type=BY_VALUES)

    def lake_type(self, name: str) -> str | None:
        """Return the type of a field in the lake; None where the values decide."""
        type_ = self.types.get(name)
        if type_ is None:
            return TIME if name == self.cursor_field else None
        return TIME if type_ in EPOCHS else type_

    @property
    def open_body(self) -> Json:
        """The body without its verbatim members."""
        if not isinstance(self.body, dict):
            return self.body
        return {name: value for name, value in self.body.items() if name not in self.verbatim}

    def filled(self, text: str, parent: Mapping[str, str], cursor: str | None) -> str | None:
        """Return a text with its placeholders filled in; None if it needs a cursor that is not."""
        if cursor is None and "{cursor}" in text:
            return None
        return _PLACEHOLDER.sub(
            lambda match: cursor or "" if match[1] == "cursor" else _value(parent, match[1]), text
        )

    def parent_paths(self) -> frozenset[str]:
        """Return the paths of the parent's values that the request needs."""
        texts = [self.path, *self.headers.values(), *_texts(self.open_body)]
        texts += [value for value in self.params.values() if value is not None]
        found = (match[1] for text in texts for match in _PLACEHOLDER.finditer(text))
        paths = (name.removeprefix("+") for name in found if name != "cursor")
        return frozenset(path.removeprefix("parent.") for path in paths)

    def cursor_text(self, cursor: Cursor | None, where: str) -> str | None:
        """Return a cursor as the API wants it, or `cursor_initial` without one."""
        if cursor is None:
            return self.cursor_initial
        value = cursor.value
        if isinstance(value, datetime):
            moment = value if value.tzinfo else value.replace(tzinfo=UTC)
            moment -= timedelta(seconds=self.cursor_earlier)
            return self._time_text(moment - _SECOND if self.cursor_exclusive else moment)
        if isinstance(value, date):
            day = value - timedelta(days=1) if self.cursor_exclusive else value
            return self._time_text(datetime(day.year, day.month, day.day, tzinfo=UTC))
        if cursor.type is CursorType.INTEGER and self.cursor_exclusive:
            return str(int(value) - 1)
        text = cursor_json(cursor)
        if text is None:
            raise ReadError(f"{where}: a cursor of type {cursor.type} cannot be sent.")
        return str(text)

    def cursor_json(self, text: str) -> str | int:
        """Return the text of a cursor as a value of the body: seconds since 1970 are a number."""
        is_number = self.cursor_format in {"epoch", "epoch_ms"} and text.isdecimal()
        return int(text) if is_number else text

    def _time_text(self, moment: datetime) -> str:
        moment = moment.astimezone(UTC)
        if self.cursor_format == "iso":
            return moment.replace(microsecond=0).strftime("%Y-%m-%dT%H:%M:%SZ")
        if self.cursor_format == "date":
            return moment.date().isoformat()
        if self.cursor_format == "epoch":
            return str(int(moment.timestamp() // 1))
        if self.cursor_format == "epoch_ms":
            return str(int(moment.timestamp() // 1) * 1000)
        return moment.replace(microsecond=0).strftime(self.cursor_format)


def check_format(text: str) -> str:
    """Return the format of a cursor. Raises ValueError for one that is not known."""
    if text not in _FORMATS and "%" not in text:
        raise ValueError(f"write {', '.join(_FORMATS)}, or a pattern such as %Y-%m-%d")
    return text


_SECOND = timedelta(seconds=1)


def _value(parent: Mapping[str, str], name: str) -> str:
    return parent[name] if name in parent else parent[name.removeprefix("+")]


def _texts(value: Json) -> list[str]:
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in items for text in _texts(item)]
