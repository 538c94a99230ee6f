"""Values of each type as JSON text: strict JSON, and exactly the value."""

from __future__ import annotations

import json
import random
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.change_rows import Changes, exact_json

VALUES = [
    ("null::integer", "null"),
    ("true", "true"),
    ("(-128)::tinyint", "-128"),
    ("9223372036854775807", "9223372036854775807"),
    ("170141183460469231731687303715884105727::hugeint", f"{2**127 - 1}"),
    ("340282366920938463463374607431768211455::uhugeint", f"{2**128 - 1}"),
    ("1.10::decimal(4, 2)", "1.10"),
    ("0.58::decimal(18, 18)", "0.580000000000000000"),
    ("-0.58::decimal(2, 2)", "-0.58"),
    ("0::decimal(38, 38)", "0." + "0" * 38),
    ("0.1::float", "0.1"),
    ("0.1::double", "0.1"),
    ("1e300::double", "1e+300"),
    ("date '2026-02-28'", '"2026-02-28"'),
    ("time '12:30:00.5'", '"12:30:00.5"'),
    ("timestamp '2026-01-01'", '"2026-01-01T00:00:00.000000Z"'),
    ("timestamp_s '1969-12-31 23:59:59'", '"1969-12-31T23:59:59.000000Z"'),
    ("timestamp_ns '2026-01-01 00:00:00.123456789'", '"2026-01-01T00:00:00.123456789Z"'),
    ("timestamptz '2026-01-01 02:00:00+02'", '"2026-01-01T00:00:00.000000Z"'),
    ("timestamptz '0001-01-01 00:00:00+00'", '"0001-01-01T00:00:00.000000Z"'),
    ("timestamp '9999-12-31 23:59:59.999999'", '"9999-12-31T23:59:59.999999Z"'),
    ("interval '1 day 2 hours'", '"1 day 02:00:00"'),
    ("uuid 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"'),
    (r"'\xFF\x00a'::blob", '"/wBh"'),
    ("'0101'::bit", '"0101"'),
    ("'b'::enum('a', 'b')", '"b"'),
    ("'it''s'::enum('it''s', 'b\"')", '"it\'s"'),
    ("'123456789012345678901234567890'::bignum", "123456789012345678901234567890"),
    ("timetz '12:00:00+02'", '"12:00:00+02"'),
    ("{'a': 1.10::decimal(3, 2)}::variant", '{"a":1.10}'),
    ("null::variant", "null"),
    ("""' {"a": 1.10, "n": 1234567890123456.5}'::json""", ' {"a": 1.10, "n": 1234567890123456.5}'),
    ("'null'::json", "null"),
    ("[1, null, 3]", "[1,null,3]"),
    ("[0.5::decimal(1, 1), null]", "[0.5,null]"),
    ("[[1.5::double], []]", "[[1.5],[]]"),
    ("[1, 2]::integer[2]", "[1,2]"),
    ("null::integer[]", "null"),
    ("{'a b': 1, 'q\"': date '2026-01-01'}", '{"a b":1,"q\\"":"2026-01-01"}'),
    ("{'a': {'b': '1.10'::json}}", '{"a":{"b":1.10}}'),
    ("null::struct(a integer)", "null"),
    ("[{'d': 1.10::decimal(3, 2)}, null]", '[{"d":1.10},null]'),
    ("map {'k': 1.10::decimal(3, 2)}", '{"k":1.10}'),
    ("map {2: [true]}", '{"2":[true]}'),
    ("map {}", "{}"),
    ("union_value(n := 1)::union(n integer, s varchar)", "1"),
    ("union_value(s := 'x')::union(n integer, s varchar)", '"x"'),
]  # fmt: skip


def rendered(expression: str, **options: Any) -> str:
    """Return the JSON text of a value, without the object around it."""
    (body,) = Changes(f"select {{'v': {expression}}}").texts({"v": "{{ v }}"}, **options)
    return body.removeprefix('{"v":').removesuffix("}")


@pytest.mark.parametrize(("expression", "expected"), VALUES)
def test_value_of_each_type(expression: str, expected: str) -> None:
    """Each type has one form, which is JSON."""
    assert rendered(expression) == expected
    exact_json(expected)


def test_row_as_a_whole_is_an_object() -> None:
    """`row` is an object of all columns, whatever their types."""
    columns = ", ".join(f"'c{n}': {expression}" for n, (expression, _) in enumerate(VALUES))
    expected = {f"c{n}": exact_json(value) for n, (_, value) in enumerate(VALUES)}
    assert Changes(f"select {{{columns}}}").values("{{ row }}") == [expected]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("'nan'::double", "NaN and Infinity are no numbers in JSON"),
        ("'-inf'::float", "NaN and Infinity are no numbers in JSON"),
        ("['1.0', 'inf']::double[]", "NaN and Infinity are no numbers in JSON"),
        ("{'a': {'b': 'nan'::double}}", "NaN and Infinity are no numbers in JSON"),
        ("map {'a': 'nan'::double}", "NaN and Infinity are no numbers in JSON"),
        ("timestamp 'infinity'", "a time in JSON has a year from 1 to 9999"),
        ("timestamp_ns 'infinity'", "a time in JSON has a year from 1 to 9999"),
        ("timestamp_ms '10000-01-01'", "a time in JSON has a year from 1 to 9999"),
        ("timestamptz '0044-03-15 (BC) 00:00:00+00'", "a time in JSON has a year from 1 to 9999"),
        ("date '-infinity'", "a time in JSON has a year from 1 to 9999"),
        ("['infinity']::timestamptz[]", "a time in JSON has a year from 1 to 9999"),
        ("'NaN'::json", "its text is not valid JSON"),
        ("'[1,]'::json", "its text is not valid JSON"),
        ("""'{"a": -Infinity}'::json""", "its text is not valid JSON"),
        ("""['1', '{"a": "nan,]"}', '[1 , ]']::json[]""", "its text is not valid JSON"),
    ],
)
def test_value_without_json_is_told_apart(expression: str, reason: str) -> None:
    """A row with such a value is not sent, and its neighbour is."""
    rows = Changes(f"select {{'v': {expression}}} union all select null").rendered("{{ v }}")
    assert [row["error"] for row in rows] == [f"cdpsync.yml:3: {{{{ v }}}}: {reason}", None]


def test_text_that_only_looks_like_a_wrong_number_is_sent() -> None:
    """A string may have NaN and commas before brackets."""
    text = '{"a": "nan,]", "Infinity": "\\" -inf"}'
    assert rendered(f"'{text}'::json") == text


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("9007199254740991", "9007199254740991"),
        ("9007199254740992", '"9007199254740992"'),
        ("-9007199254740992", '"-9007199254740992"'),
        ("[9007199254740993]", '["9007199254740993"]'),
        ("{'a': 9007199254740993::hugeint}", '{"a":"9007199254740993"}'),
        ("9007199254740993::decimal(38, 0)", '"9007199254740993"'),
        ("9007199254740993.5::decimal(38, 1)", "9007199254740993.5"),
        ("1::integer", "1"),
    ],
)
def test_big_integers_as_text(expression: str, expected: str) -> None:
    """A receiver that reads numbers as doubles gets integers beyond 2^53 as strings."""
    assert rendered(expression, big_integers="text") == expected


def decimals(seed: int, count: int) -> list[tuple[str, str]]:
    """Return random decimals of 4 to 38 digits, with their types."""
    draw = random.Random(seed)  # noqa: S311 - the same numbers each time
    numbers = []
    for _ in range(count):
        width = draw.randint(4, 38)
        scale = draw.choice([0, draw.randint(0, width), width])
        digits = draw.randrange(10 ** draw.randint(0, width))
        number = Decimal(draw.choice((1, -1)) * digits).scaleb(-scale)
        numbers.append((f"{number:f}", f"decimal({width}, {scale})"))
    return numbers


@pytest.mark.parametrize("seed", range(4))
def test_thousand_random_decimals_are_exact(seed: int) -> None:
    """Alone, in a struct, in a list: no digit is lost."""
    numbers = decimals(seed, 1000)
    fields = ", ".join(f"'d{n}': '{v}'::{t}" for n, (v, t) in enumerate(numbers))
    changes = Changes(f"select {{{fields}}}")
    (row,) = changes.values({"row": "{{ row }}", "list": "{{ [row] }}"})
    expected = {f"d{n}": Decimal(value) for n, (value, _) in enumerate(numbers)}
    assert row["row"] == expected
    assert row["list"] == [expected]
    alone = {f"d{n}": f"{{{{ d{n} }}}}" for n in range(0, 1000, 25)}
    assert changes.values(alone) == [{name: expected[name] for name in alone}]


HOSTILE = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | HOSTILE,
    lambda inner: st.lists(inner) | st.dictionaries(HOSTILE, inner),
    max_leaves=8,
)
SHELF = Changes("select {'s': '', 'i': 0::hugeint, 'f': 0::double, 'j': '{}'::json, 'l': ['']}")
COMPILED = SHELF.compile({
    "s": "{{ s }}", "i": "{{ i }}", "f": "{{ f }}", "j": "{{ j }}", "l": "{{ l }}",
    "mixed": "<{{ s }}> \"{{ i }}\" \\ {{ s }}",
})  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.integers(-(2**127), 2**127 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    JSON,
    st.lists(st.none() | HOSTILE),
)
def test_any_value_survives(
    text: str, number: int, real: float, tree: object, texts: list[str | None]
) -> None:
    """Python reads back what the row has, in each place of a body."""
    SHELF.con.execute(
        'update changes set "row" = '
        "struct_pack(s := ?::varchar, i := ?::hugeint, f := ?::double, j := ?::json, "
        "l := ?::varchar[])",
        [text, number, real, json.dumps(tree, ensure_ascii=False), texts],
    )
    (row,) = SHELF.rows(COMPILED)
    value = exact_json(row["body"])
    assert row["error"] is None
    assert value["s"] == text
    assert value["i"] == number
    assert float(value["f"]) == real
    assert value["j"] == json.loads(json.dumps(tree))
    assert value["l"] == texts
    assert value["mixed"] == f'<{text}> "{number}" \\ {text}'


def test_nothing_of_json_is_put_through_a_double() -> None:
    """The SQL calls no function that reads numbers of JSON."""
    changes = Changes("select {'j': '{}'::json, 'd': 1.1}")
    sql = changes.compile({"a": {"b": "{{ j }}"}, "d": "{{ d }}"}).select()
    assert not re.search("json_object|json_array|json_extract|->", sql)


@settings(max_examples=200, deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False), HOSTILE, HOSTILE)
def test_number_at_a_path_keeps_its_digits(number: Decimal, key: str, text: str) -> None:
    """A member of a JSON column is what its text says, beside any strings."""
    document = f'{{"a": {{"b": {number}, {json.dumps(key + "c")}: {json.dumps(text)}}}}}'
    SHELF.con.execute(
        """update changes set "row" = struct_pack(s := '', i := 0, f := 0, j := ?, l := [])""",
        [document],
    )
    (row,) = SHELF.rows(AT_PATH)
    assert row["error"] is None
    value = exact_json(row["body"])
    assert value["n"] == exact_json(document)["a"]["b"]
    assert value["o"] == exact_json(document)["a"]
    assert value["none"] is None


AT_PATH = SHELF.compile({"n": "{{ j.a.b }}", "o": "{{ j.a }}", "none": "{{ j.b.a }}"})
