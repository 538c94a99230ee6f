"""What texts need of a change, so that a feed reads no more."""

from __future__ import annotations

from typing import Any

import pytest
from support.change_rows import body_of, text

from cdpsync.destinations.templates.used import NamesUsed, names_used
from cdpsync.errors import ConfigError
from cdpsync.model.destinations import FindTemplate, RequestTemplate


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("plain", NamesUsed()),
        ("{{ id }} {{ row.email | default: name }}", NamesUsed(frozenset({"id", "email", "name"}))),
        ("{{ Profile.email }}", NamesUsed(frozenset({"email"}))),
        ("{{ old.status }}", NamesUsed(frozenset({"status"}), old=True)),
        ("{{ old }}", NamesUsed(None, old=True)),
        ("{{ row }}", NamesUsed(None)),
        ("{{ profile }}", NamesUsed(None)),
        ("{{ if(change = 'insert', 1, 0) }}", NamesUsed(frozenset({"change"}), change=True)),
        ("{{ current_date }}", NamesUsed()),
        ("{{ list_transform(tags, lambda tag: tag || id) }}", NamesUsed(frozenset({"tags", "id"}))),
        ({"a": ["{{ a }}"], "b?": {"...": "{{ b }}"}}, NamesUsed(frozenset({"a", "b"}))),
    ],
)
def test_names_of_a_body(body: Any, expected: NamesUsed) -> None:
    """Old images, kinds and whole rows are asked for only where an expression does."""
    assert names_used([body_of(body)], alias="Profile") == expected


def test_inputs_count_where_they_are_named() -> None:
    """An input that no text names costs nothing."""
    inputs = body_of({"event": "{{ old.status }}", "title": "{{ event }}", "unused": "{{ row }}"})
    used = names_used([body_of({"e": "{{ title | upcase }}"})], inputs)
    assert used == NamesUsed(frozenset({"title", "event", "status"}), old=True)


def test_each_text_of_a_request_counts() -> None:
    """The URL, headers, query, body, item, and all steps of a search."""
    request = RequestTemplate(
        "POST",
        text("https://example.com/{{ a }}"),
        headers={"X": text("{{ b }}")},
        query={"q": text("{{ c }}")},
        body=body_of({"d": "{{ d }}"}),
        item=body_of({"e": "{{ e }}"}),
    )
    other = RequestTemplate("GET", text("https://example.com/{{ f }}"))
    search = FindTemplate(other, "id", other, request)
    assert names_used([search]) == NamesUsed(frozenset("abcdef"))


def test_conditions_count() -> None:
    """`where` is SQL as a whole."""
    condition = text("status = 'paid' and old.status is distinct from 'paid'")
    assert names_used([], conditions=[condition]) == NamesUsed(frozenset({"status"}), old=True)
    with pytest.raises(ConfigError, match="a query does not belong into an expression"):
        names_used([], conditions=[text("id in (select 1)")])
