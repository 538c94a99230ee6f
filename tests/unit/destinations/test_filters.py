"""Filters over values of each type. docs/destination-templates.md has an example of each filter."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from support.change_rows import Changes, exact_json

from cdpsync.destinations.templates import filters
from cdpsync.errors import ConfigError


@pytest.fixture(scope="module")
def row() -> Changes:
    """A row with a value of each kind, and NULL."""
    return Changes(
        r"""
        select {
            'n': 7, 'd': 12.345::decimal(10, 3), 'huge': 12345678901234567890.12::decimal(38, 2),
            'f': 2.5::double, 't': 'Ada', 'e': '', 'none': null::varchar, 'nothing': null::integer,
            'b': false, 'at': timestamptz '2026-03-29 00:30:00Z', 'naive': timestamp '2026-01-01',
            'day': date '2026-01-01', 'l': [1, 2], 'empty': []::integer[], 'j': '["a", 1]'::json,
            'o': '{"k": 1.10}'::json, 'jnull': 'null'::json, 'jtext': '"x"'::json,
            'm': map {'k': 1}, 'x': '\xAA'::blob, 's': {'a': 1}
        }
        """
    )


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("none | default: 'x'", "x"),
        ("e | default: 'x'", "x"),
        ("t | default: 'x'", "Ada"),
        ("nothing | default: 5", 5),
        ("nothing | default: 'x'", "x"),
        ("n | default: 'x'", 7),
        ("n | default: 'x' | append: '!'", "7!"),
        ("d | default: 0", Decimal("12.345")),
        ("huge | default: 'x'", Decimal("12345678901234567890.12")),
        ("b | default: true", False),
        ("none | default: n", "7"),
        ("jnull | default: 'x'", "x"),
        ("o | default: 'x'", {"k": Decimal("1.10")}),
        ("o | default: j", {"k": Decimal("1.10")}),
        ("l | default: 'x'", [1, 2]),
        ("none | default: nil", None),
        ("none | default: none | default: 'y'", "y"),
        ("d | upcase", "12.345"),
        ("none | upcase", None),
        ("none | append: 'x'", "x"),
        ("t | append: none", "Ada"),
        ("jtext | upcase", "X"),
        ("o | append: ''", '{"k": 1.10}'),
        ("s | append: ''", '{"a":1}'),
        ("at | append: ''", "2026-03-29T00:30:00.000000Z"),
        ("' é ' | strip | upcase", "É"),
        ("e'\\t a b \\n' | strip", "a b"),
        ("t | replace: 'a', 'b'", "Adb"),
        ("t | truncate: 3", "Ada"),
        ("t | truncate: 2", "A…"),
        ("t | size", 3),
        ("l | size", 2),
        ("m | size", 1),
        ("j | size", 2),
        ("o | size", 1),
        ("n | size", 1),
        ("j | first", "a"),
        ("j | last", "1"),
        ("empty | first", None),
        ("l | last", 2),
        ("l | join", "1 2"),
        ("j | join: ', '", "a, 1"),
        ("'a,b' | split: ',' | join: '-'", "a-b"),
        ("at | date: '%Y-%m-%d %H:%M'", "2026-03-29 00:30"),
        ("at | date: '%H:%M', 'Europe/Berlin'", "01:30"),
        ("naive | date: '%H:%M', 'America/New_York'", "19:00"),
        ("day | date: '%d/%m/%Y'", "01/01/2026"),
        ("'2026-01-01 10:00:00+02' | date: '%H'", "08"),
        ("none | date: '%H'", None),
        ("d | round", 12),
        ("d | round: 2", Decimal("12.35")),
        ("huge | round: 1", Decimal("12345678901234567890.1")),
        ("huge | plus: 0.01", Decimal("12345678901234567890.13")),
        ("huge | times: 1", Decimal("12345678901234567890.12")),
        ("f | round", 3),
        ("f | ceil", 3),
        ("n | divided_by: 2", Decimal("3.5")),
        ("n | minus: 10 | abs", 3),
        ("x | base64", "qg=="),
        ("x | md5", "9fe0f7244a7da1d3f5b3d21f9b1e1ea8"),
        ("none | sha256", None),
        ("'ü' | url_encode", "%C3%BC"),
        ("o | json", '{"k": 1.10}'),
        ("l | json", "[1,2]"),
        ("none | json", "null"),
        ("t | json", '"Ada"'),
    ],
)
def test_filter(row: Changes, expression: str, expected: Any) -> None:
    """NULL stays NULL but for default, append and prepend; digits are not lost."""
    (value,) = row.values({"v": "{{ " + expression + " }}"})
    assert value["v"] == expected


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("t | default", "the filter default takes 1 argument, not 0"),
        ("t | upcase: 1", "the filter upcase takes no argument, not 1"),
        ("t | date: 'a', 'b', 'c'", "the filter date takes 1 or 2 arguments, not 3"),
        ("n | join: ','", "this filter is for lists, and the value is INTEGER"),
        ("t | uppcase", 'there is no filter "uppcase". Did you mean "upcase"?'),
        ("t | round", "No function matches the given name and argument types 'round(VARCHAR)'."),
        ("t | append: missing", 'there is no column "missing"'),
        ("t | append: (select 1)", "a query does not belong into an expression over one row"),
    ],
)
def test_filter_that_does_not_fit(row: Changes, expression: str, reason: str) -> None:
    """The line has the place, the expression and the reason."""
    with pytest.raises(ConfigError) as error:
        row.compile("{{ " + expression + " }}")
    assert error.value.message.startswith(f"cdpsync.yml:3: {{{{ {expression} }}}}: {reason}")


def test_unknown_filter_lists_all(row: Changes) -> None:
    """Where nothing is like it, each filter is named."""
    with pytest.raises(ConfigError) as error:
        row.compile("{{ t | zzz }}")
    assert all(name in error.value.message for name in filters.names())


def test_json_filter_of_a_float_that_is_no_number(row: Changes) -> None:
    """NaN is `null` in JSON that is a part of a text."""
    (body,) = row.texts("{{ 'nan'::double | json }}")
    assert exact_json(body) == "null"
