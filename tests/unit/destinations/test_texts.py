"""Texts are divided where their author means it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.change_rows import text

from cdpsync.destinations.templates.texts import Constant, Expression, expression_of, parts_of
from cdpsync.errors import ConfigError


def divided(template: str, *constants: str) -> list[object]:
    """Return the parts of a text: expressions as SQL with filters, constants in brackets."""
    return [
        (part.sql, *((used.name, *used.arguments) for used in part.filters))
        if isinstance(part, Expression)
        else [part.value]
        if isinstance(part, Constant)
        else part
        for part in parts_of(text(template, *constants))
    ]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("", []),
        ("plain }} text { with } %} braces", ["plain }} text { with } %} braces"]),
        ("{{id}}", [("id",)]),
        ("a {{ id }}{{ x }} b", ["a ", ("id",), ("x",), " b"]),
        ("{{ 'a }} b' }}", [("'a }} b'",)]),
        ('{{ "a }} b" }}', [('"a }} b"',)]),
        ("{{ 'it''s }}' }}", [("'it''s }}'",)]),
        (r"{{ e'it\'s }}' }}", [(r"e'it\'s }}'",)]),
        (r"{{ 'a\' }}", [(r"'a\'",)]),
        ("{{ {'a': {'b': 1}}}}", [("{'a': {'b': 1}}",)]),
        ("{{ {'a': 1}}}}", [("{'a': 1}",), "}"]),
        ("{{ x }}}", [("x",), "}"]),
        ("{{ a || b }}", [("a || b",)]),
        ("{{ a||b|upcase }}", [("a||b", ("upcase",))]),
        ("{{ (a | b) }}", [("(a | b)",)]),
        ("{{ list[a | b] | size }}", [("list[a | b]", ("size",))]),
        ("{{ 'a|b' | split: '|' }}", [("'a|b'", ("split", "'|'"))]),
        ('{{ x | default: "a, b" }}', [("x", ("default", "'a, b'"))]),
        ('{{ x | default: "it\'s ""x""" }}', [("x", ("default", "'it''s \"x\"'"))]),
        ("{{ x | replace: 'a', f(b, c) }}", [("x", ("replace", "'a'", "f(b, c)"))]),
        ("{{ x::int | round: 2::int }}", [("x::int", ("round", "2::int"))]),
        ("{{ x | date: '%H:%M' }}", [("x", ("date", "'%H:%M'"))]),
        ("{{ x | default: nil }}", [("x", ("default", "null"))]),
        ("{{ x[1:2] | size }}", [("x[1:2]", ("size",))]),
    ],
)
def test_parts(template: str, expected: list[object]) -> None:
    """Quotes and brackets hide what would end an expression or begin a filter."""
    assert divided(template) == expected


def test_constants_stand_where_they_were_written() -> None:
    """Each mark is the next value from outside, beside expressions."""
    assert divided("a\0{{ x }}\0b", "one", "two") == ["a", ["one"], ("x",), ["two"], "b"]
    assert "hush" not in repr(parts_of(text("\0", "hush")))


NO_DASH = "{{- and -}} are not known here. Put a blank before a minus sign"
NO_FILTER = "is no filter. Write a filter as `| upcase`, bits as `(a | b)`"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ x", "{{ x }}: no }} ends this expression"),
        ("{{ 'x }}", "{{ 'x }}: a text has no closing '"),
        ('{{ "x }}', '{{ "x }}: a name has no closing "'),
        ("{{ f(x }}", "{{ f(x }}: no }} ends this expression"),
        ("{{ }}", "{{  }}: there is no expression"),
        ("{{ | upcase }}", "{{ | upcase }}: there is no expression"),
        ("{{ x -- y }}", "{{ x -- y }}: a comment does not belong into an expression"),
        ("{{ x /* y */ }}", "{{ x /* y */ }}: a comment does not belong into an expression"),
        ("{{- x -}}", f"{{{{ - x - }}}}: {NO_DASH}"),
        ("{{ $$x$$ }}", "{{ $$x$$ }}: write a text as 'text', not between $"),
        ("{{ x | }}", f'{{{{ x | }}}}: "" {NO_FILTER}'),
        ("{{ x | 1 + 1 }}", f'{{{{ x | 1 + 1 }}}}: "1 + 1" {NO_FILTER}'),
        ("{{ x | f: 1,, 2 }}", "{{ x | f: 1,, 2 }}: the filter f has an empty argument"),
    ],
)
def test_what_is_no_template(template: str, reason: str) -> None:
    """One line says where, what and what to write."""
    with pytest.raises(ConfigError) as error:
        parts_of(text(template))
    assert error.value.message == f"cdpsync.yml:3: {reason}"


def test_tags_of_liquid_are_refused() -> None:
    """The line names what SQL has in their place."""
    with pytest.raises(ConfigError, match=r"^cdpsync\.yml:3: \{% … %\} is not known .* case when"):
        parts_of(text("a {% if x %} b {% endif %}"))


def test_constant_in_an_expression_is_refused() -> None:
    """It would be in a statement."""
    with pytest.raises(ConfigError, match=r"\$\{…\}.* does not go into an expression"):
        parts_of(text("{{ '\0' || x }}", "hush"))
    with pytest.raises(ConfigError, match=r"\$\{…\}.* does not go into an expression"):
        expression_of(text("x = '\0'", "hush"))


@given(st.text(st.sampled_from("a '\"{}[]()|:,-$%\\\n"), max_size=30))
def test_any_text_is_a_template_or_an_error(template: str) -> None:
    """The parts have the text again, or the error is one line."""
    try:
        parts = parts_of(text(template))
    except ConfigError as error:
        lines = error.message.splitlines()
    else:
        texts = (f"{{{{{p.source}}}}}" if isinstance(p, Expression) else str(p) for p in parts)
        lines = ["".join("".join(texts).split())]
        assert lines == ["".join(template.split())]
    assert len(lines) == 1
