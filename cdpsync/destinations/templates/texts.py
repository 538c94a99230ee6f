"""Texts with `{{ expressions }}`, divided into plain text, constants, and expressions with filters.

    Dear {{ name | default: "friend" }}

An expression is SQL. It ends at the first `}}` outside quotes and brackets, and its filters begin
at the first `|` there; `||` joins texts, as in SQL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from cdpsync.errors import ConfigError
from cdpsync.sql import quote_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdpsync.model.destinations import Template

CONSTANT = "\0"
"""Stands in a template's text for a value from outside the file."""

_LONGEST = 120  # characters of an expression in a message

_TOKEN = re.compile(
    r"""
      (?P<quoted> [eE]'(?:\\.|''|[^'\\])*' | '(?:''|[^'])*' | "(?:""|[^"])*" )
    | (?P<comment> -- | /\* )
    | (?P<word> \w[\w$]* )
    | (?P<end> \}\} )
    | (?P<open> [(\[{] )
    | (?P<close> [)\]}] )
    | (?P<bars> \|\| )
    | (?P<filter> \| )
    | (?P<colon> ::? )
    | (?P<comma> , )
    | (?P<wrong> ['"$\0] )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)

_WRONG = {
    "'": "a text has no closing '",
    '"': 'a name has no closing "',
    "$": "write a text as 'text', not between $",
    CONSTANT: "a value from outside (${…}) does not go into an expression. Put it beside {{ }}",
}


@dataclass(frozen=True, slots=True)
class Constant:
    """A value from outside the file, which no statement and no file may have."""

    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter and its arguments, which are SQL."""

    name: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Expression:
    """SQL over a row, the filters that its value goes through, and where it stands."""

    sql: str
    filters: tuple[Filter, ...]
    source: str
    location: str

    def __str__(self) -> str:
        """Return the expression as its author sees it, on one short line."""
        text = " ".join(self.source.split())
        return "{{ " + (text if len(text) <= _LONGEST else text[:_LONGEST] + "…") + " }}"

    def error(self, reason: str) -> ConfigError:
        """Return the error of this expression, with its place."""
        return ConfigError(f"{self.location}: {self}: {reason}")


Part: TypeAlias = str | Constant | Expression


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def parts_of(template: Template) -> tuple[Part, ...]:
    """Return the parts of a template, in their order; no text is empty.

    Raises ConfigError for an expression without an end, and for `{% %}`.
    """
    parts: list[Part] = []
    constants = iter(template.constants)
    text, position = template.text, 0
    while position < len(text):
        begin = text.find("{{", position)
        plain = text[position:] if begin < 0 else text[position:begin]
        parts.extend(_plain(plain, constants, template))
        if begin < 0:
            break
        tokens, position = _scan(text, begin + 2, template)
        parts.append(_expression(tokens, template))
    return tuple(parts)


def expression_of(template: Template) -> Expression:
    """Return a text that is SQL as a whole, as that of `where`, without filters."""
    if CONSTANT in template.text:
        raise ConfigError(f"{template.location}: {_WRONG[CONSTANT].split('.')[0]}")
    return Expression(template.text.strip(), (), template.text.strip(), template.location)


def _plain(text: str, constants: Iterator[str], template: Template) -> Iterator[Part]:
    if "{%" in text:
        raise ConfigError(
            f"{template.location}: {{% … %}} is not known here. Write a condition as SQL: "
            "{{ case when status = 'paid' then 'yes' else 'no' end }}"
        )
    for index, part in enumerate(text.split(CONSTANT)):
        if index:
            yield Constant(next(constants))
        if part:
            yield part


def _scan(text: str, begin: int, template: Template) -> tuple[list[tuple[_Token, int]], int]:
    """Return the tokens of the expression that begins here, with their depth, and its end."""
    tokens: list[tuple[_Token, int]] = []
    depth, position = 0, begin
    while match := _TOKEN.match(text, position):
        kind, token = str(match.lastgroup), match[0]
        if kind == "end" and depth:
            kind, token = "close", token[0]
        position += len(token)
        if kind == "end":
            return tokens, position
        if CONSTANT in token:
            raise _wrong(text[begin:], _WRONG[CONSTANT], template)
        if kind in ("comment", "wrong"):
            reason = _WRONG.get(token, "a comment does not belong into an expression")
            raise _wrong(text[begin:], reason, template)
        depth += (kind == "open") - (kind == "close")
        tokens.append((_Token(kind, token), depth - (kind == "open")))
    raise _wrong(text[begin:], "no }} ends this expression", template)


def _wrong(text: str, reason: str, template: Template) -> ConfigError:
    source = text.split("}}")[0].replace(CONSTANT, "${…}").strip()
    return Expression("", (), source, template.location).error(reason)


def _expression(tokens: list[tuple[_Token, int]], template: Template) -> Expression:
    source = "".join(token.text for token, _ in tokens)
    expression = Expression("", (), source.strip(), template.location)
    if source[:1] == "-" or source[-1:] == "-":
        raise expression.error("{{- and -}} are not known here. Put a blank before a minus sign")
    first, *rest = _split(tokens, "filter")
    sql = _text(first)
    if not sql:
        raise expression.error("there is no expression")
    filters = tuple(_filter(part, expression) for part in rest)
    return Expression(sql, filters, expression.source, expression.location)


def _filter(tokens: list[tuple[_Token, int]], expression: Expression) -> Filter:
    head, *rest = _split(tokens, "colon", 1)
    name = _text(head)
    if not re.fullmatch(r"\w+", name):
        raise expression.error(
            f'"{name}" is no filter. Write a filter as `| upcase`, bits as `(a | b)`'
        )
    if not rest:
        return Filter(name)
    arguments = tuple(_argument(_text(part)) for part in _split(rest[0], "comma"))
    if "" in arguments:
        raise expression.error(f"the filter {name} has an empty argument")
    return Filter(name, arguments)


def _argument(text: str) -> str:
    """Return a filter's argument as SQL: here, as in Liquid, "text" is a text and no name."""
    if re.fullmatch(r'"(?:""|[^"])*"', text):
        return quote_text(text[1:-1].replace('""', '"'))
    return "null" if text == "nil" else text


def _split(
    tokens: list[tuple[_Token, int]], kind: str, most: int = -1
) -> list[list[tuple[_Token, int]]]:
    """Divide tokens at those of a kind that stand outside brackets."""
    parts: list[list[tuple[_Token, int]]] = [[]]
    for token, depth in tokens:
        if token.kind == kind and depth == 0 and len(parts) - 1 != most:
            parts.append([])
        else:
            parts[-1].append((token, depth))
    return parts


def _text(tokens: list[tuple[_Token, int]]) -> str:
    return "".join(token.text for token, _ in tokens).strip()
