"""Forms, and the queries of addresses: `a=1&b%5Bc%5D=2`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from cdpsync.destinations.templates.bodies import (
    Member,
    Piece,
    Sql,
    is_absent,
    joined,
    key_of,
    text_pieces,
)
from cdpsync.errors import ConfigError
from cdpsync.model.destinations import Template
from cdpsync.sql import quote_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cdpsync.destinations.templates.scope import Scope
    from cdpsync.model.destinations import Body


def form_pieces(body: Body, scope: Scope, location: str) -> list[Piece]:
    """Return a form's pieces: `a=1&b%5Bc%5D=2`. Objects and lists in it have brackets."""
    if not isinstance(body, Mapping):
        scope.shared.note(ConfigError(f"{location}: the body of a form is a mapping of its keys"))
        return []
    return query_pieces("", _form_members("", body, scope))


def query_pieces(before: str, members: Iterable[Member]) -> list[Piece]:
    """Return members joined by `&`, with a text before the first if there is any."""
    pieces: list[Piece] = []
    listed = list(members)
    for member in listed:
        text: list[Piece] = ["&", *member.pieces]
        pieces += (
            [Sql(f"case when {member.absent} then '' else {joined(text)} end")]
            if (member.absent)
            else text
        )
    if listed and listed[0].absent:
        return [Sql(f"regexp_replace({joined(pieces)}, '^&', {quote_text(before)})")]
    return [before, *pieces[1:]] if pieces else []


def _form_members(prefix: str, body: Body, scope: Scope) -> Iterator[Member]:
    if isinstance(body, Mapping):
        for key, value in body.items():
            name = f"{prefix}[{key_of(key)}]" if prefix else key_of(key)
            absent = is_absent(value, scope) if key.endswith("?") else ""
            if absent is None:
                continue
            for member in _form_members(name, value, scope):
                yield Member(member.pieces, absent or member.absent)
    elif isinstance(body, tuple):
        for index, value in enumerate(body):
            yield from _form_members(f"{prefix}[{index}]", value, scope)
    else:
        yield Member([f"{encoded(prefix)}=", *encoded_pieces(body, scope)])


def encoded(text: str) -> str:
    """Return a text as an address or a form has it."""
    return quote(text, safe="~")


def encoded_pieces(body: Body, scope: Scope) -> list[Piece]:
    """Return a scalar's text, percent-encoded; marks are encoded when they are filled in."""
    if not isinstance(body, Template):
        return [encoded("" if body is None else json.dumps(body))]
    return [
        encoded(piece) if isinstance(piece, str) else Sql(f"url_encode({piece.sql})")
        for piece in text_pieces(body, scope)
    ]
