"""Compiles the requests of a destination to one SELECT over the relation `changes`.

The SELECT has what is each row's own; what all rows share is text. Values from outside the file are
in neither: marks stand for them until a request is sent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from cdpsync.destinations.templates.bodies import (
    Piece,
    joined,
    json_pieces,
    text_or_sql,
    text_pieces,
    text_sql,
)
from cdpsync.destinations.templates.expressions import Computed, compile_expression, guarded
from cdpsync.destinations.templates.forms import form_pieces
from cdpsync.destinations.templates.rows import (
    CHANGE_COLUMNS,
    RELATION,
    Names,
    Row,
    open_binder,
    row_of,
)
from cdpsync.destinations.templates.scope import Marks, Scope, Shared
from cdpsync.destinations.templates.texts import Constant, expression_of, parts_of
from cdpsync.destinations.templates.urls import Url, compile_headers, compile_url
from cdpsync.destinations.templates.used import NamesUsed, names_used
from cdpsync.errors import ConfigError
from cdpsync.model.destinations import FindTemplate, RequestTemplate, Template
from cdpsync.sql import quote_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdpsync.model.destinations import Body, OAuth

__all__ = [
    "CompiledRequest",
    "CompiledRequests",
    "Marks",
    "NamesUsed",
    "Row",
    "compile_condition",
    "compile_requests",
    "compile_text",
    "names_used",
    "row_of",
]

Request: TypeAlias = RequestTemplate | FindTemplate

_ONE_ROW = f"(select 1) as {RELATION}"
_SEPARATORS = {"json": ",", "ndjson": "\n", "text": "\n"}


@dataclass(frozen=True, slots=True)
class CompiledRequest:
    """A request: what all rows share. What they do not is in columns of the SELECT.

    Texts may have marks. `url` None: the column `url` has it; `host` is the host that the file
    names, or None if the row has a part in it. `headers` are those of all rows; a column `headers`
    may have more. `body` None: the column `body` has it, or there is none. In a batch that column
    has the item, and `around` is the text before the first and after the last. `basic` are texts
    with marks; `sign` is the secret itself.
    """

    method: str
    location: str
    url: str | None
    host: str | None
    headers: Mapping[str, str]
    body: str | None
    format: str
    gzip: bool
    around: tuple[str, str] | None = None
    separator: str = ","
    basic: tuple[str, str] | None = None
    oauth: OAuth | None = field(default=None, repr=False)
    sign: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class CompiledRequests:
    """The requests of a destination, and the SELECT that renders its changes.

    `steps` has one request under "", or those of a search under `find_`, `create_` and `update_`;
    the names of their columns in `columns` begin so. `marks` are the marks with the values that
    they stand for, and `found` is the mark of the id that a search finds.
    """

    steps: Mapping[str, CompiledRequest]
    columns: tuple[str, ...]
    marks: Mapping[str, str] = field(repr=False)
    nonce: str
    found: str
    _select: str = field(repr=False)
    _computed: Computed = field(repr=False)

    def select(self, relation: str = RELATION) -> str:
        """Return the SELECT over a relation of changes: a table's name, or a query in brackets.

        It has event_id, key, change, snapshot_id, changed_at, ord, the `columns`, and `error`: why
        the row cannot be sent, or NULL.
        """
        return f"{self._select} from {self._computed.over(f'{relation} as {RELATION}')}"


def compile_requests(
    row: Row,
    request: Request,
    inputs: Mapping[str, Body] | None = None,
    *,
    batched: bool = False,
    big_integers: str = "number",
    where: Template | None = None,
    marks: Marks | None = None,
) -> CompiledRequests:
    """Compile a request, or a search and what follows it, for rows of this shape.

    `batched`: a request has many rows; one that has an `item` is so in any case. `big_integers`
    "text": integers beyond 2^53 are strings. `where`: the condition, so that rows in which it fails
    get an error. `marks`: those of another compilation for the same outbox. Raises one ConfigError,
    with a line for each wrong expression.
    """
    with open_binder(row) as binder:
        shared = Shared(binder, marks or Marks(), big_integers == "text")
        compiler = _Compiler(row, inputs or {}, shared)
        if isinstance(request, FindTemplate):
            compiler.add_search(request)
        elif batched or request.item is not None:
            compiler.add_batch(request)
        else:
            compiler.add("", request)
        if where is not None:
            compiler.add_condition(where)
        shared.raise_errors()
    return CompiledRequests(
        steps=compiler.steps,
        columns=tuple(compiler.columns),
        marks=shared.marks.constants,
        nonce=shared.marks.nonce,
        found=shared.marks.found,
        _select=_select(compiler.columns, shared),
        _computed=shared.columns,
    )


def _select(columns: Mapping[str, str], shared: Shared) -> str:
    faults = " ".join(
        f"when {fault.condition} then {quote_text(fault.message)}" for fault in shared.faults
    )
    listed = [f"{RELATION}.{name}" for name in CHANGE_COLUMNS]
    listed += [f"{sql} as {name}" for name, sql in columns.items()]
    listed.append(f"{f'case {faults} end' if faults else 'null'}::varchar as error")
    return "select " + ", ".join(listed)


class _Compiler:
    """Compiles the steps of a destination's requests, and collects their columns."""

    def __init__(self, row: Row, inputs: Mapping[str, Body], shared: Shared) -> None:
        self.steps: dict[str, CompiledRequest] = {}
        self.columns: dict[str, str] = {}
        self._row, self._inputs, self._shared = row, inputs, shared

    def add_search(self, template: FindTemplate) -> None:
        """Add a search, and the requests that create or update."""
        self.add("find_", template.request)
        if template.create is not None:
            self.add("create_", template.create)
        self.add("update_", template.update, {"found": self._shared.marks.found})

    def add(
        self, step: str, template: RequestTemplate, specials: Mapping[str, str] | None = None
    ) -> None:
        """Add a request for one row."""
        scope = Scope(self._shared, self._row, self._inputs, specials)
        url = compile_url(template.url, template.query, scope)
        headers, headers_sql = compile_headers(template.headers, scope)
        text, sql = None, ""
        if template.body is not None:
            text, sql = text_or_sql(_body_pieces(template.body, template, scope))
        columns = {"url": url.sql, "headers": headers_sql, "body": sql}
        self.columns.update({f"{step}{name}": part for name, part in columns.items() if part})
        self.steps[step] = self._step(template, url, headers, text)

    def add_batch(self, template: RequestTemplate) -> None:
        """Add a request for many rows: its items, and what is the same for all of them."""
        scope = Scope(self._shared, self._row, self._inputs)
        item = template.body if template.item is None else template.item
        sql = joined(_body_pieces(item, template, scope))
        if template.format == "ndjson":  # a line break in JSON is a blank, or written as \\n
            sql = f"replace(replace({sql}, chr(13), ' '), chr(10), ' ')"
        if template.format == "form":
            self._note(template, "a form has no items: remove `batch`, or use format: json")
        self.columns["body"] = sql
        with open_binder(self._row) as binder:
            shared = Shared(binder, self._shared.marks, errors=self._shared.errors)
            self.steps[""] = self._batch(template, shared)

    def _batch(self, template: RequestTemplate, shared: Shared) -> CompiledRequest:
        """Return the request of a batch. Its expressions are computed here and now."""
        scope = self._without_row(shared, "URL and set of headers")
        url = compile_url(template.url, template.query, scope)
        headers, headers_sql = compile_headers(template.headers, scope)
        around = self._around(template, shared)
        if shared.errors:
            return self._step(template, url, headers, None)
        if url.text is None:
            url = replace(url, text=_value_of(url.sql, shared))
        if headers_sql is not None:
            headers |= json.loads(_value_of(headers_sql, shared))
        return self._step(template, url, headers, None, around)

    def _without_row(
        self, shared: Shared, part: str, specials: Mapping[str, str] | None = None
    ) -> Scope:
        reason = f"a batch has one {part} for many rows, so this goes into `item`, or `batch` goes"
        return Scope(shared, self._row, self._inputs, specials, no_row=reason)

    def add_condition(self, where: Template) -> None:
        """Add the fault of the rows in which a condition fails."""
        try:
            condition = expression_of(where)
            names = Names(self._row, self._row.alias)
            value = compile_expression(condition, names, self._shared.binder)
        except ConfigError as error:
            self._shared.note(error)
            return
        failed = f"{guarded(value.sql)} is null"
        self._shared.fault(failed, f"{where.location}: where: it fails for this row")

    def _step(
        self,
        template: RequestTemplate,
        url: Url,
        headers: dict[str, str],
        body: str | None,
        around: tuple[str, str] | None = None,
    ) -> CompiledRequest:
        if template.bearer is not None:
            headers["Authorization"] = "Bearer " + self._fixed(template.bearer)
        basic = template.basic
        return CompiledRequest(
            method=template.method,
            location=template.url.location,
            url=url.text,
            host=url.host,
            headers=headers,
            body=body,
            format=template.format,
            gzip=template.gzip,
            around=around,
            separator=_SEPARATORS.get(template.format, ","),
            basic=None if basic is None else (self._fixed(basic[0]), self._fixed(basic[1])),
            oauth=template.oauth,
            sign=None if template.sign is None else self._secret(template.sign),
        )

    def _around(self, template: RequestTemplate, shared: Shared) -> tuple[str, str]:
        """Return the text before and after a batch's items."""
        if template.item is None or template.body is None:
            bare = {"json": ("[", "]"), "ndjson": ("", "\n")}
            return bare.get(template.format, ("", ""))
        items = shared.marks.items
        scope = self._without_row(shared, "body", {"items": items})
        sql = joined(_body_pieces(template.body, template, scope))
        if shared.errors:
            return "", ""
        before, mark, after = _value_of(sql, shared).partition(items)
        if not mark or items in after:
            self._note(template, "the body of a batch has its items once, as {{ items }}")
        if template.format == "json":
            before, after = before + "[", "]" + after
        return before, after

    def _fixed(self, template: Template) -> str:
        """Return a text that all rows share, with marks."""
        parts = parts_of(template)
        if not all(isinstance(part, str | Constant) for part in parts):
            self._shared.note(
                ConfigError(f"{template.location}: credentials are the same for all rows")
            )
        marks = self._shared.marks
        return "".join(
            marks.of(part.value) if isinstance(part, Constant) else str(part) for part in parts
        )

    def _secret(self, template: Template) -> str:
        """Return a text that all rows share, with its values from outside."""
        text = self._fixed(template)
        for mark, value in self._shared.marks.constants.items():
            text = text.replace(mark, value)
        return text

    def _note(self, template: RequestTemplate, text: str) -> None:
        self._shared.note(ConfigError(f"{template.url.location}: {text}"))


def _value_of(sql: str, shared: Shared) -> str:
    """Return the text that SQL gives which names no row."""
    return str(shared.binder.value_of(f"select {sql} from {shared.columns.over(_ONE_ROW)}"))


def _body_pieces(body: Body, template: RequestTemplate, scope: Scope) -> list[Piece]:
    """Return the pieces of a body in the request's format."""
    if template.format == "form":
        return form_pieces(body, scope, template.url.location)
    if template.format != "text":
        return json_pieces(body, scope)
    if isinstance(body, Template):
        return text_pieces(body, scope)
    scope.shared.note(ConfigError(f"{template.url.location}: the body of format: text is a text"))
    return []


def compile_condition(row: Row, where: Template, *, image: str = "row") -> str:
    """Return a condition as SQL over `changes` that is true or false, and never NULL.

    It is true for a row in which it fails, so that the row is not lost in silence: given to
    `compile_requests` as `where`, it makes such a row one that cannot be sent. `image` is the image
    whose columns bare names are: `row` or `old`. Raises ConfigError.
    """
    expression = expression_of(where)
    with open_binder(row) as binder:
        names = Names(row, row.alias, image=image)
        value = compile_expression(expression, names, binder)
        if value.type.id not in ("boolean", "null") and value.sql.lower() != "null":
            raise expression.error(f"a condition is true or false, and this is {value.type}")
        guard = guarded(f"coalesce({value.sql}, false)")
    return f"coalesce(({guard}).v, true)"


def compile_text(row: Row, text: Template) -> str:
    """Return a text with expressions as SQL over `changes`; NULL for a row in which one fails.

    Raises ConfigError, also for a value from outside.
    """
    if text.constants:
        raise ConfigError(f"{text.location}: a value from outside (${{…}}) does not belong here")
    with open_binder(row) as binder:
        shared = Shared(binder, Marks(), is_inline=True)
        sql = text_sql(text, Scope(shared, row, {}))
        shared.raise_errors()
        return f"({guarded(sql)}).v"
