"""Members of JSON columns: where a double would lose digits, none are lost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from support.change_rows import Changes

from cdpsync.errors import ConfigError

LONG = "123456789012345678.25"


@pytest.fixture(scope="module")
def row() -> Changes:
    """A row with long numbers in JSON: at a path, as text, in a struct, as the whole column."""
    return Changes(
        f"""
        select {{
            'j': '{{"a": {{
                "n": {LONG}, "t": "{LONG}", "s": 1.50, "d": "12", "x/~": [1.10]
            }}}}'::json,
            'whole': '{LONG}'::json,
            's': {{'j': '{{"n": {LONG}}}'::json}},
            'huge': '{{"n": 123456789012345678901234567890}}'::json
        }}
        """
    )


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("j.a.n", Decimal(LONG)),
        ("j.a.n::varchar", LONG),
        ("j.a.n::decimal(20, 2)", Decimal(LONG)),
        ("j.a.n::decimal(20, 2) + 0.01", Decimal("123456789012345678.26")),
        ("{'n': j.a.n, 'd': j.a.n::decimal(20, 2)}", {"n": Decimal(LONG), "d": Decimal(LONG)}),
        ("j.a.t::decimal(20, 2)", Decimal(LONG)),
        ("j.a.d::integer + 1", 13),
        ("j.a.s", Decimal("1.50")),
        ("j.a.\"x/~\"", [Decimal("1.10")]),
        ("j.a.none", None),
        ("j.a.none::decimal(20, 2)", None),
        ("whole::decimal(20, 2)", Decimal(LONG)),
        ("s.j.n::decimal(20, 2)", Decimal(LONG)),
        ("row.s.j.n", Decimal(LONG)),
        ("huge.n::hugeint", 123456789012345678901234567890),
        ("huge.n::decimal(38, 0) + 1", 123456789012345678901234567891),
        ("try_cast(j.a as decimal(4, 2))", None),
        ("coalesce(j.a.none, j.a.n)", Decimal(LONG)),
        ("j.a.n::decimal(20, 2) | plus: 0.01", Decimal("123456789012345678.26")),
        ("j.a.n | append: '!'", LONG + "!"),
        ("0 + 0 | plus: j.a.n::decimal(20, 2)", Decimal(LONG)),
    ],
)  # fmt: skip
def test_member_keeps_its_digits(row: Changes, expression: str, expected: Any) -> None:
    """Alone, in calculations, in structs and in filters."""
    (value,) = row.values({"v": "{{ " + expression + " }}"}, {"unused": 1})
    assert value["v"] == expected
    assert str(value["v"]) == str(expected)


def test_member_of_an_input(row: Changes) -> None:
    """An input that is an object has members as a JSON column has."""
    inputs = {"o": {"n": "{{ j.a.n }}"}, "p": "{{ j.a }}"}
    body = ["{{ o.n }}", "{{ p.n }}", "{{ p.n::decimal(20, 2) }}"]
    assert row.values(body, inputs) == [[Decimal(LONG)] * 3]


def test_member_that_needs_a_type(row: Changes) -> None:
    """The line says how to give it one."""
    with pytest.raises(ConfigError, match=r"Give what is JSON a type: properties.price::decimal"):
        row.compile("{{ j.a.n | round: 1 }}")


def test_member_whose_cast_fails(row: Changes) -> None:
    """The row is told apart, as with any other cast."""
    (rendered,) = row.rendered("{{ j.a::decimal(4, 2) }}")
    assert rendered["error"] == "cdpsync.yml:3: {{ j.a::decimal(4, 2) }} fails for this row"
