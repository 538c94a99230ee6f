"""Bodies: objects with optional keys and spreads, inputs of presets, forms, texts."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.change_rows import Changes, body_of, exact_json, text

from cdpsync.destinations.templates.compile import compile_requests
from cdpsync.errors import ConfigError
from cdpsync.model.destinations import RequestTemplate


@pytest.fixture(scope="module")
def shop() -> Changes:
    """Two rows: the first full, the second with NULL in each column but the key."""
    return Changes(
        """
        select {
            'id': 1, 'name': 'Ada', 'total': 1.10::decimal(4, 2),
            'address': {'city': 'Bern', 'zip': '3000'},
            'labels': map {'a': 1.5::decimal(2, 1), 'b': 2},
            'properties':
                ' { "a": 1.10, "n": 123456789012345678.25, "$set": {"x": "\\"1.10,]"} } '::json
        }
        union all select {
            'id': 2, 'name': null, 'total': null, 'address': null, 'labels': null,
            'properties': null
        }
        """
    )


@pytest.mark.parametrize(
    ("body", "first", "second"),
    [
        ({"n?": "{{ name }}"}, {"n": "Ada"}, {}),
        ({"n?": "{{ name }}", "i": "{{ id }}"}, {"n": "Ada", "i": 1}, {"i": 2}),
        ({"i": "{{ id }}", "n?": "{{ name }}"}, {"i": 1, "n": "Ada"}, {"i": 2}),
        ({"a?": None, "b?": 1, "c?": "<{{ name }}>"}, {"b": 1, "c": "<Ada>"}, {"b": 1, "c": "<>"}),
        ({"o": {"n?": "{{ name }}"}}, {"o": {"n": "Ada"}}, {"o": {}}),
        ({"p?": "{{ 'null'::json }}", "i": 1}, {"i": 1}, {"i": 1}),
        ({"...": "{{ address }}"}, {"city": "Bern", "zip": "3000"}, {}),
        ({"...": "{{ address }}", "zip": 1}, {"city": "Bern", "zip": 1}, {"zip": 1}),
        ({"zip": 1, "...": "{{ address }}"}, {"zip": 1, "city": "Bern"}, {"zip": 1}),
        ({"...": "{{ labels }}"}, {"a": Decimal("1.5"), "b": 2}, {}),
        ({"...": "{{ labels }}", "a": "x"}, {"b": 2, "a": "x"}, {"a": "x"}),
        ({"...": {"a": "{{ id }}", "b?": "{{ name }}"}}, {"a": 1, "b": "Ada"}, {"a": 2}),
        ({"...": {"a": 1, "b": 2}, "a?": "{{ name }}"}, {"b": 2, "a": "Ada"}, {"b": 2}),
        ({"...": None, "i": 1}, {"i": 1}, {"i": 1}),
        ([], [], []),
        ({}, {}, {}),
        ([["{{ id }}"], {}], [[1], {}], [[2], {}]),
        ("{{ row.address.city }}", "Bern", None),
        ("{{ total }}\n", Decimal("1.10"), None),
        ("{{ total }} ", "1.10 ", " "),
        (1.5, Decimal("1.5"), Decimal("1.5")),
        ("plain", "plain", "plain"),
    ],
)
def test_body(shop: Changes, body: Any, first: Any, second: Any) -> None:
    """Keys that end in ? and spreads leave out what is NULL; keys that are written out win."""
    assert shop.values(body) == [first, second]


def test_spread_of_json_keeps_each_character(shop: Changes) -> None:
    """Only where a key is written out is the object taken apart, and its numbers stay exact."""
    first, second = shop.texts({"i": 1, "...": "{{ properties }}"})
    assert first.startswith('{"i":1, "a": 1.10, "n": 123456789012345678.25, "$set":')
    assert second == '{"i":1}'
    (value, _) = shop.values({"...": "{{ properties }}", "a": 0})
    expected = {"a": 0, "n": Decimal("123456789012345678.25"), "$set": {"x": '"1.10,]'}}
    assert value == expected


def test_spread_of_what_is_no_object(shop: Changes) -> None:
    """A list in JSON makes its row one that is not sent; a number is refused at once."""
    rows = shop.rendered({"...": "{{ '[1]'::json }}"})
    assert rows[0]["error"] == "cdpsync.yml:3: \"...\": {{ '[1]'::json }} is not an object"
    with pytest.raises(ConfigError, match=r'"\.\.\." takes an object: .* not INTEGER$'):
        shop.compile({"...": "{{ id }}"})
    with pytest.raises(ConfigError, match="an object belongs here"):
        shop.compile({"...": "plain"})


KEYS = st.text(st.sampled_from('ab$"\\/~é.'), max_size=3)
SHELF = Changes("select {'j': '{}'::json}")
SPREAD = SHELF.compile({"...": "{{ j }}", "a": 0, "$a": 0, 'b"': 0})


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        KEYS,
        st.none() | KEYS | st.integers() | st.decimals(allow_nan=False, allow_infinity=False)
        | st.lists(st.integers() | KEYS, max_size=3),
        max_size=4,
    ),
    st.sampled_from([None, 1]),
)  # fmt: skip
def test_spread_of_any_object(members: dict[str, Any], indent: int | None) -> None:
    """The result has the object's members but for the keys that are written out."""
    document = json.dumps(members, default=lambda number: f"#{number}", indent=indent)
    for number in (value for value in members.values() if isinstance(value, Decimal)):
        document = document.replace(f'"#{number}"', str(number))
    SHELF.con.execute('update changes set "row" = struct_pack(j := ?)', [document])
    (row,) = SHELF.rows(SPREAD)
    assert row["error"] is None
    assert exact_json(row["body"]) == exact_json(document) | {"a": 0, "$a": 0, 'b"': 0}


INPUTS = {
    "event": "{{ 'Order ' || id }}",
    "title": "{{ name | default: 'nobody' }}!",
    "properties": {"total": "{{ total }}", "event": "{{ event }}", "deep": {"n?": "{{ name }}"}},
    "list": ["{{ id }}", 2],
    "number": 5,
    "missing": None,
    "name": "{{ name | upcase }}",
}


@pytest.mark.parametrize(
    ("body", "first"),
    [
        ("{{ event }}", "Order 1"),
        ("{{ event | size }}", 7),
        ("{{ title }}", "Ada!"),
        ("<{{ title }}>", "<Ada!>"),
        ("{{ title | upcase }}", "ADA!"),
        (
            "{{ properties }}",
            {"total": Decimal("1.10"), "event": "Order 1", "deep": {"n": "Ada"}},
        ),
        (
            {"...": "{{ properties }}", "event": 1, "deep": 2},
            {"total": Decimal("1.10"), "event": 1, "deep": 2},
        ),
        ("{{ properties.total }}", Decimal("1.10")),
        ("{{ list }}", [1, 2]),
        ("{{ list[0] }}", 1),
        ("{{ number + 1 }}", 6),
        ({"a": "{{ missing }}", "b?": "{{ missing }}"}, {"a": None}),
        ("{{ name }} {{ row.name }}", "ADA Ada"),
    ],
)  # fmt: skip
def test_inputs_come_before_columns(shop: Changes, body: Any, first: Any) -> None:
    """A preset's body names what the user has given, of whatever form that is."""
    assert shop.values(body, INPUTS)[0] == first


def test_input_names_the_row_first(shop: Changes) -> None:
    """What a user writes is about the row; another input is only what the row does not have."""
    inputs = {"id": "{{ id + 10 }}", "a": "{{ id }}", "b": "{{ c }}", "c": "{{ total }}"}
    body = {"id": "{{ id }}", "a": "{{ a }}", "b": "{{ b }}"}
    assert shop.values(body, inputs)[0] == {"id": 11, "a": 1, "b": Decimal("1.10")}


def test_inputs_that_name_each_other_are_refused(shop: Changes) -> None:
    """There is no value to begin with."""
    with pytest.raises(ConfigError, match="there is no column"):
        shop.compile({"v": "{{ a }}"}, {"a": "{{ b }}", "b": "{{ a }}"})


def test_input_with_a_secret_stands_alone(shop: Changes) -> None:
    """It is put in as a mark. An expression cannot have it, because it would be in a statement."""
    inputs = {"channel": text("#\0", "hush")}
    row = shop.rendered({"c": "{{ channel }}", "t": "to {{ channel }}, {{ id }}"}, inputs)[0]
    assert "hush" not in row["body"]
    assert row["body"].count("#cdpsync_") == 2
    with pytest.raises(
        ConfigError, match=r"channel has a value from outside .* so it stands alone"
    ):
        shop.compile({"c": "{{ channel | upcase }}"}, inputs)


def requested(shop: Changes, form: str, body: Any, **options: Any) -> list[Any]:
    request = RequestTemplate("POST", text("https://example.com/"), body=body, format=form)
    compiled = compile_requests(shop.row, request, **options)
    return [row.get("body", compiled.steps[""].body) for row in shop.rows(compiled)]


def test_text(shop: Changes) -> None:
    """A text is sent as it is."""
    assert requested(shop, "text", text('{{ name }} "paid" {{ total }}\n')) == [
        'Ada "paid" 1.10\n', ' "paid" \n',
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="the body of format: text is a text"):
        requested(shop, "text", body_of({"a": 1}))


def test_line_of_ndjson_is_one_line(shop: Changes) -> None:
    """A JSON column may have line breaks; a line of NDJSON has none."""
    lines = Changes('select {\'j\': E\'{"a":\\n 1,\\r\\n "b": "x\\\\ny"}\'::json}')
    rendered = requested(lines, "ndjson", text("{{ j }}"), batched=True)
    assert rendered == ['{"a":  1,   "b": "x\\ny"}']


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(["{{ s }}", "<", '"', "\\", "é", "\n", "}}", "{", "%}", "'", "${x}"]))
)
def test_mixed_text_is_the_text_with_the_value(parts: list[str]) -> None:
    """Whatever stands around an expression is text, in JSON and in a text."""
    value = 'a"b\\\n{{ s }}'
    words = Changes(f"select {{'s': '{value}'}}")
    template = "".join(parts)
    assume("{{{" not in template and "{%" not in template)
    assume(template != "{{ s }}\n")  # a lone expression, as YAML writes one
    assume("{{" not in template.replace("{{ s }}", ""))
    expected = template.replace("{{ s }}", value)
    assert words.values({"v": template}) == [{"v": expected}]
    assert requested(words, "text", text(template)) == [expected]
