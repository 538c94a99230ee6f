"""Forms: trees with brackets, each value percent-encoded."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.change_rows import Changes, body_of, text

from cdpsync.destinations.templates.compile import compile_requests
from cdpsync.errors import ConfigError
from cdpsync.model.destinations import Body, RequestTemplate


def forms(changes: Changes, body: Body) -> list[str]:
    """Return a body as a form, for each row."""
    request = RequestTemplate("POST", text("https://example.com/"), body=body, format="form")
    compiled = compile_requests(changes.row, request)
    return [row.get("body", compiled.steps[""].body) for row in changes.rows(compiled)]


def test_tree_is_a_form_with_brackets() -> None:
    """Objects and lists have brackets; a key with ? is left out where it is NULL."""
    shop = Changes(
        """
        select {'id': 1, 'name': 'Ada', 'total': 1.10, 'address': {'city': 'Bern'}}
        union all select {'id': 2, 'name': null, 'total': null, 'address': null}
        """
    )
    body = body_of({
        "n?": "{{ name }}", "a b": "{{ id }} &=é", "o": {"x": True, "y": ["{{ total }}", 2]},
        "none": None, "row": "{{ address }}", "z?": {"deep?": "{{ name }}"},
    })  # fmt: skip
    assert [parse_qsl(form, keep_blank_values=True) for form in forms(shop, body)] == [
        [
            ("n", "Ada"), ("a b", "1 &=é"), ("o[x]", "true"), ("o[y][0]", "1.10"), ("o[y][1]", "2"),
            ("none", ""), ("row", '{"city":"Bern"}'), ("z[deep]", "Ada"),
        ],
        [
            ("a b", "2 &=é"), ("o[x]", "true"), ("o[y][0]", ""), ("o[y][1]", "2"),
            ("none", ""), ("row", ""),
        ],
    ]  # fmt: skip


def test_form_without_values() -> None:
    """A form may be the same for all rows, or be empty."""
    changes = Changes("select {'v': null::varchar}")
    assert forms(changes, body_of({"a": 1, "b": "x y"})) == ["a=1&b=x%20y"]
    assert forms(changes, body_of({"v?": "{{ v }}"})) == [""]


def test_body_of_a_form_is_a_mapping() -> None:
    """A text or a list has no keys."""
    with pytest.raises(ConfigError, match="the body of a form is a mapping of its keys"):
        forms(Changes("select {'v': 1}"), text("{{ v }}"))


SHELF = Changes("select {'v': ''}")


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_value_survives(value: str) -> None:
    """What reads the form has the row's text again."""
    SHELF.con.execute('update changes set "row" = struct_pack(v := ?)', [value])
    (form,) = forms(SHELF, body_of({"a": "{{ v }}", "b": "<{{ v }}>"}))
    assert parse_qsl(form, keep_blank_values=True) == [("a", value), ("b", f"<{value}>")]
