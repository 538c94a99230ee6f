"""Bodies of requests as SQL: a tree of a YAML file, and what a row puts into it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from cdpsync.destinations.templates.expressions import reference
from cdpsync.destinations.templates.json_text import (
    children,
    faults,
    field_sql,
    json_sql,
    key_text,
    map_sql,
    numbers_as_text,
    text_as_numbers,
)
from cdpsync.destinations.templates.texts import Constant, Expression, parts_of
from cdpsync.errors import ConfigError
from cdpsync.model.destinations import Template
from cdpsync.sql import fold_name, quote_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cdpsync.destinations.templates.filters import Typed
    from cdpsync.destinations.templates.scope import Input, Scope
    from cdpsync.destinations.templates.texts import Part
    from cdpsync.model.destinations import Body

SPREAD = "..."
"""The key under which stands an object whose members are added."""


class Sql(NamedTuple):
    """SQL of a part of a text; it is never NULL."""

    sql: str


Piece: TypeAlias = str | Sql
"""A part of a text: as it is, or as SQL."""


def joined(pieces: Iterable[Piece]) -> str:
    """Return pieces of a text as one SQL expression, which is never NULL."""
    merged: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        elif piece:
            merged.append(piece)
    parts = [quote_text(part) if isinstance(part, str) else part.sql for part in merged]
    if len(parts) == 1:
        return parts[0]
    return f"concat({', '.join(parts)})" if parts else "''"


def text_or_sql(pieces: list[Piece]) -> tuple[str | None, str]:
    """Return the text that all rows have in common, or the SQL of each row's own."""
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(str(piece) for piece in pieces), ""
    return None, joined(pieces)


def lone(body: Body) -> Expression | None:
    """Return the expression of a text that is nothing else, whose value keeps its type."""
    return _lone(parts_of(body)) if isinstance(body, Template) else None


def _lone(parts: tuple[Part, ...]) -> Expression | None:
    """Return the only part, if it is an expression; YAML may have put a line break behind it."""
    first = parts[0] if parts else None
    return first if isinstance(first, Expression) and parts[1:] in ((), ("\n",)) else None


def templates_of(body: Body) -> Iterator[Template]:
    """Return each text of a body."""
    if isinstance(body, Template):
        yield body
    elif isinstance(body, Mapping):
        for value in body.values():
            yield from templates_of(value)
    elif isinstance(body, tuple):
        for value in body:
            yield from templates_of(value)


def has_constants(body: Body) -> bool:
    """Whether a value from outside the file stands in a body."""
    return any(template.constants for template in templates_of(body))


def typed_sql(body: Body, scope: Scope) -> str:
    """Return a body without constants as SQL of a value: typed if it is a lone expression."""
    expression = _alone(body, scope)
    if expression is not None:
        return scope.value(expression).sql
    if isinstance(body, Template):
        return text_sql(body, scope)
    if isinstance(body, Mapping | tuple):
        return f"{json_body(body, scope)}::json"
    return json.dumps(body)


# ---- text


def text_sql(template: Template, scope: Scope) -> str:
    """Return a text as SQL, which is never NULL: NULL in it is an empty text."""
    return joined(text_pieces(template, scope))


def text_pieces(template: Template, scope: Scope) -> list[Piece]:
    """Return the pieces of a text."""
    return [_text_piece(part, scope) for part in _parts(template, scope)]


def _text_piece(part: Part, scope: Scope) -> Piece:
    if isinstance(part, str):
        return part
    if isinstance(part, Constant):
        return scope.shared.marks.of(part.value)
    special, inlined = _stands_for(part, scope)
    if special is not None:
        return special
    if inlined is None:
        return Sql(f"coalesce({scope.value(part).text}, '')")
    if isinstance(inlined.body, Template):
        return Sql(joined(text_pieces(inlined.body, inlined.scope)))
    return "" if inlined.body is None else Sql(json_body(inlined.body, inlined.scope))


def _parts(template: Template, scope: Scope) -> tuple[Part, ...]:
    try:
        return parts_of(template)
    except ConfigError as error:
        scope.shared.note(error)
        return ()


def _stands_for(expression: Expression, scope: Scope) -> tuple[str | None, Input | None]:
    """Return the mark, or the input to put here, that an expression names and nothing more.

    An input that is a lone expression is a value with a type, and is put nowhere.
    """
    name = reference(expression)
    if name is not None and fold_name(name) in scope.specials:
        return scope.specials[fold_name(name)], None
    used = scope.input(name)
    if used is None or _alone(used.body, used.scope) is not None:
        return None, None
    return None, used


def _alone(body: Body, scope: Scope) -> Expression | None:
    """Return a body's lone expression; what is wrong with the text is noted."""
    try:
        return lone(body)
    except ConfigError as error:
        scope.shared.note(error)
        return None


# ---- JSON


def json_body(body: Body, scope: Scope) -> str:
    """Return a body's JSON text as SQL, which is never NULL."""
    return joined(json_pieces(body, scope))


def json_pieces(body: Body, scope: Scope) -> list[Piece]:
    """Return the pieces of a body's JSON text."""
    if isinstance(body, Template):
        return _json_text(body, scope)
    if isinstance(body, Mapping):
        return _object(_members(body, scope))
    if isinstance(body, tuple):
        pieces: list[Piece] = ["["]
        for index, element in enumerate(body):
            pieces += ["," if index else "", *json_pieces(element, scope)]
        return [*pieces, "]"]
    if isinstance(body, float) and not math.isfinite(body):
        scope.shared.note(ConfigError(f"{body} is no number in JSON. Write it as text, in quotes"))
    return [json.dumps(body)]


def _json_text(template: Template, scope: Scope) -> list[Piece]:
    """Return a text as JSON: the value of a lone expression, else a string."""
    parts = _parts(template, scope)
    expression = _lone(parts)
    if expression is not None:
        return _json_value(expression, scope)
    pieces = [_text_piece(part, scope) for part in parts]
    if all(isinstance(piece, str) for piece in pieces):
        return [key_text("".join(str(piece) for piece in pieces))]
    return [Sql(f"to_json({joined(pieces)})::varchar")]


def _json_value(expression: Expression, scope: Scope) -> list[Piece]:
    special, inlined = _stands_for(expression, scope)
    if special is not None:
        return [special if special == scope.shared.marks.items else key_text(special)]
    if inlined is not None:
        return json_pieces(inlined.body, inlined.scope)
    value = scope.value(expression)
    _note_faults(value, expression, scope)
    return [Sql(json_sql(value.sql, value.type, big_as_text=scope.shared.big_as_text))]


def _note_faults(value: Typed, expression: Expression, scope: Scope) -> None:
    for reason, condition in faults(value.sql, value.type).items():
        scope.shared.fault(condition, f"{expression.location}: {expression}: {reason}")


@dataclass(frozen=True, slots=True)
class Member:
    """Members of an object as text, each with a comma before it.

    `absent`: SQL that tells that they are left out; "" if they never are. `is_bare`: the text is
    one that may be empty, and has its commas already.
    """

    pieces: Sequence[Piece]
    absent: str = ""
    is_bare: bool = False


def _object(members: Sequence[Member]) -> list[Piece]:
    """Return an object, without the comma before its first member."""
    if not members:
        return ["{}"]
    first, *others = members
    if not first.absent and not first.is_bare:
        rest = [piece for member in others for piece in _with_comma(member)]
        return ["{", *first.pieces, *rest, "}"]
    every = joined(piece for member in members for piece in _with_comma(member))
    return ["{", Sql(f"substr({every}, 2)"), "}"]


def _with_comma(member: Member) -> list[Piece]:
    pieces = [*member.pieces] if member.is_bare else [",", *member.pieces]
    if not member.absent:
        return pieces
    return [Sql(f"case when {member.absent} then '' else {joined(pieces)} end")]


def _members(
    body: Mapping[str, Body], scope: Scope, without: frozenset[str] = frozenset()
) -> list[Member]:
    """Return the members of an object. Those that are written out win over those of a spread."""
    written = without | {key_of(key) for key in body if key != SPREAD}
    members: list[Member] = []
    for key, value in body.items():
        if key == SPREAD:
            members += _spread(value, scope, written)
        elif key_of(key) not in without:
            members += _member(key, value, scope)
    return members


def key_of(key: str) -> str:
    """Return a key as it is sent: without the `?` of one that may be left out."""
    return key.removesuffix("?")


def _member(key: str, value: Body, scope: Scope) -> list[Member]:
    absent = is_absent(value, scope) if key.endswith("?") else ""
    if absent is None:
        return []
    return [Member([key_text(key_of(key)) + ":", *json_pieces(value, scope)], absent)]


def is_absent(body: Body, scope: Scope) -> str | None:
    """Return SQL that tells that a value is NULL: "" if it never is, None if it always is."""
    if body is None:
        return None
    expression = _alone(body, scope)
    if expression is None:
        return ""
    special, inlined = _stands_for(expression, scope)
    if special is not None:
        return ""
    if inlined is not None:
        return is_absent(inlined.body, inlined.scope)
    value = scope.value(expression)
    null = f" or {value.sql}::varchar = 'null'" if str(value.type) == "JSON" else ""
    return f"{value.sql} is null{null}"


# ---- objects whose members are added


def _spread(body: Body, scope: Scope, written: frozenset[str]) -> list[Member]:
    if isinstance(body, Mapping):
        return _members(body, scope, written)
    expression = _alone(body, scope)
    if expression is None:
        if body is not None:
            where = body.location if isinstance(body, Template) else "a body"
            scope.shared.note(ConfigError(f'{where}: "...": an object belongs here'))
        return []
    _, inlined = _stands_for(expression, scope)
    if inlined is not None:
        return _spread(inlined.body, inlined.scope, written)
    return _spread_value(expression, scope, written)


def _spread_value(expression: Expression, scope: Scope, written: frozenset[str]) -> list[Member]:
    value = scope.value(expression)
    _note_faults(value, expression, scope)
    absent = f"{value.sql} is null"
    if value.type.id == "struct":
        members = _fields(value, scope, written)
        every = [piece for member in members for piece in _with_comma(member)]
        return [Member(every, absent, is_bare=True)] if every else []
    if value.type.id == "map":
        text = map_sql(
            value.sql, value.type, big_as_text=scope.shared.big_as_text, without=sorted(written)
        )
        return [Member([Sql(_inner(text))], absent, is_bare=True)]
    if str(value.type) == "JSON":
        kind = f"json_type({value.sql})"
        scope.shared.fault(
            f"{kind} not in ('OBJECT', 'NULL')",
            f'{expression.location}: "...": {expression} is not an object',
        )
        text = _json_members(f"{value.sql}::varchar", written)
        absent = f"coalesce({kind}, 'NULL') <> 'OBJECT'"
        return [Member([Sql(text)], absent, is_bare=True)]
    scope.shared.note(
        expression.error(f'"..." takes an object: a struct, a map or JSON, not {value.type}')
    )
    return []


def _fields(value: Typed, scope: Scope, written: frozenset[str]) -> list[Member]:
    members = []
    for name, type_ in children(value.type):
        if name not in written:
            field = json_sql(
                field_sql(value.sql, name), type_, big_as_text=scope.shared.big_as_text
            )
            members.append(Member([key_text(name) + ":", Sql(field)]))
    return members


_BLANKS = "' ' || chr(9) || chr(10) || chr(13)"


def _inner(text: str) -> str:
    """Return SQL of an object's members, with a comma before them, if it has any."""
    trimmed = f"trim({text}, {_BLANKS})"
    return (
        f"case when not contains({text}, '\"') then '' "
        f"when starts_with({text}, '{{') and ends_with({text}, '}}') "
        f"then ',' || substr({text}, 2, length({text}) - 2) "
        f"else ',' || substr({trimmed}, 2, length({trimmed}) - 2) end"
    )


def _json_members(text: str, without: frozenset[str]) -> str:
    """Return SQL of a JSON object's members but for some, each with a comma before it.

    An object without one of these keys is as it was. Its text then has neither the key nor a
    backslash, by which a key may be written in another way.
    """
    if not without:
        return _inner(text)
    listed = ", ".join(map(quote_text, sorted(without)))
    pointer = "'/' || replace(replace(name, '~', '~0'), '/', '~1')"
    value = f"json_extract({numbers_as_text(text)}, {pointer})::varchar"
    kept = f"list_filter(json_keys({text}), lambda name: name not in ({listed}))"
    member = f"',' || to_json(name)::varchar || ':' || {value}"
    members = f"array_to_string(list_transform({kept}, lambda name: {member}), '')"
    signs = ["\\", *(key_text(key) for key in sorted(without))]
    may_have = " or ".join(f"contains({text}, {quote_text(sign)})" for sign in signs)
    return (
        f"case when ({may_have}) and list_has_any(json_keys({text}), [{listed}]) "
        f"then {text_as_numbers(members)} else {_inner(text)} end"
    )
