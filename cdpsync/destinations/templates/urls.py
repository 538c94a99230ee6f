"""Addresses and headers of requests, as text or, where a row is in them, as SQL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cdpsync.destinations.templates.bodies import (
    Member,
    Piece,
    Sql,
    is_absent,
    joined,
    key_of,
    text_or_sql,
    text_pieces,
)
from cdpsync.destinations.templates.forms import encoded, encoded_pieces, query_pieces
from cdpsync.destinations.templates.json_text import key_text
from cdpsync.destinations.templates.texts import Constant, Expression, parts_of
from cdpsync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdpsync.destinations.templates.scope import Scope
    from cdpsync.destinations.templates.texts import Part
    from cdpsync.model.destinations import Template

_CONTROL = r"[\x00-\x1f\x7f]"
_DOTS = r"'/\.\.?(/|$)'"
_HOST = r"'[A-Za-z0-9.-]+(:[0-9]+)?'"


@dataclass(frozen=True, slots=True)
class Url:
    """An address: its text, or SQL of it, and its host unless that comes from the row."""

    text: str | None
    sql: str
    host: str | None


def compile_url(url: Template, query: Mapping[str, Template], scope: Scope) -> Url:
    """Return an address with its query. What a row puts in is percent-encoded.

    An expression at the very beginning is the address itself, and is left as it is. The rows are
    told apart whose value is empty where a part of the path should be, or moves up in the path.
    """
    try:
        parts = parts_of(url)
    except ConfigError as error:
        scope.shared.note(error)
        return Url("", "''", None)
    pieces: list[Piece] = []
    for index in range(len(parts)):
        pieces += _part(index, parts, scope)
    pieces += _query(query, "&" if "?" in _filled(parts) else "?", scope)
    text, sql = text_or_sql(pieces)
    if text is not None:
        _refuse_control(text, f"{url.location}: the URL", scope)
    else:
        _note_faults(sql, parts, url.location, scope)
    return Url(text, sql, _host(parts))


def _note_faults(sql: str, parts: tuple[Part, ...], location: str, scope: Scope) -> None:
    path = f"regexp_replace({sql}, '[?#].*$', '', 's')"
    in_path = [part for part in _before_query(parts) if isinstance(part, Expression)]
    if in_path:
        scope.shared.fault(
            f"regexp_matches({path}, {_DOTS})",
            f"{location}: a part of the URL's path is `.` or `..`",
        )
    if isinstance(parts[0], Expression):
        scope.shared.fault(
            f"regexp_matches({sql}, '{_CONTROL}|\\s') "
            f"or not regexp_matches({sql}, '^https?://[^/?#]')",
            f"{location}: {parts[0]} is no URL that begins with https:// or http://",
        )


def _part(index: int, parts: tuple[Part, ...], scope: Scope) -> list[Piece]:
    part = parts[index]
    if isinstance(part, str):
        return [part]
    if isinstance(part, Constant):
        return [scope.shared.marks.of(part.value)]
    (piece,) = text_pieces(_alone(part), scope)
    if isinstance(piece, str):
        return [piece]
    if index == 0:
        return [piece]
    if _is_in_host(parts[:index]):
        scope.shared.fault(
            f"not regexp_full_match({piece.sql}, {_HOST})",
            f"{part.location}: {part} is no name of a host",
        )
        return [piece]
    if _is_whole_segment(index, parts):
        scope.shared.fault(
            f"{piece.sql} = ''",
            f"{part.location}: {part} is empty, and a part of the URL's path",
        )
    return [Sql(f"url_encode({piece.sql})")]


def _alone(expression: Expression) -> Template:
    """Return an expression as a text of its own."""
    from cdpsync.model.destinations import Template

    return Template("{{" + expression.source + "}}", expression.location)


def _filled(parts: tuple[Part, ...]) -> str:
    """Return the text of parts, with constants, and U+FFFD for expressions."""
    texts = (
        part if isinstance(part, str) else part.value if isinstance(part, Constant) else "\ufffd"
        for part in parts
    )
    return "".join(texts)


def _is_in_host(before: tuple[Part, ...]) -> bool:
    """Whether what follows these parts of an address stands in its host."""
    return re.fullmatch(r"https?://[^/?#]*", _filled(before)) is not None


def _is_whole_segment(index: int, parts: tuple[Part, ...]) -> bool:
    before, after = _filled(parts[:index]), _filled(parts[index + 1 :])
    return "?" not in before and before.endswith("/") and after[:1] in ("", "/", "?", "#")


def _before_query(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    for index, part in enumerate(parts):
        if isinstance(part, str) and re.search(r"[?#]", part):
            return parts[:index]
    return parts


def _host(parts: tuple[Part, ...]) -> str | None:
    """Return the host that the file names, or None if the row has a part in it."""
    match = re.match(r"(https?://[^/?#\ufffd]+)(?:[/?#]|$)", _filled(parts))
    return urlsplit(match[1]).hostname if match else None


def _query(query: Mapping[str, Template], first: str, scope: Scope) -> list[Piece]:
    """Return the query that goes behind an address; `first` is `?`, or `&` if it has one."""
    members = []
    for key, value in query.items():
        absent = is_absent(value, scope) if key.endswith("?") else ""
        if absent is not None:
            name = encoded(key_of(key))
            members.append(Member([f"{name}=", *encoded_pieces(value, scope)], absent))
    return query_pieces(first, members)


def compile_headers(
    headers: Mapping[str, Template], scope: Scope
) -> tuple[dict[str, str], str | None]:
    """Return the headers that are the same for all rows, and SQL of the others as a JSON object.

    A header whose value is NULL is left out. A row with a control character in one is told apart.
    """
    static: dict[str, str] = {}
    members: list[Piece] = []
    for name, template in headers.items():
        text, sql = text_or_sql(text_pieces(template, scope))
        if text is not None:
            _refuse_control(text, f"{template.location}: the header {name}", scope)
            static[name] = text
            continue
        scope.shared.fault(
            f"regexp_matches({sql}, '{_CONTROL}')",
            f"{template.location}: the header {name} would have a control character",
        )
        member = joined([f",{key_text(name)}:", Sql(f"to_json({sql})::varchar")])
        absent = is_absent(template, scope)
        members.append(Sql(f"case when {absent} then '' else {member} end" if absent else member))
    if not members:
        return static, None
    return static, f"concat('{{', substr({joined(members)}, 2), '}}')"


def _refuse_control(text: str, what: str, scope: Scope) -> None:
    if re.search(_CONTROL, text):
        scope.shared.note(ConfigError(f"{what} has a control character, such as a line break"))
