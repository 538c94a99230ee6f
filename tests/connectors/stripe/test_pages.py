"""Pages of Stripe's lists: the envelope is parsed strictly."""

from __future__ import annotations

import pytest

from cdpsync.errors import ReadError
from cdpsync_connectors.stripe.pages import parse_list


def test_page_has_its_objects_and_whether_more_follow():
    """https://docs.stripe.com/api/pagination: `data` and `has_more`."""
    body = b'{"object": "list", "data": [{"id": "a", "n": 1.10}, {}], "has_more": true}'
    objects, has_more = parse_list(body, "/v1/things")
    assert [{name: bytes(raw) for name, raw in fields.items()} for fields in objects] == [
        {"id": b'"a"', "n": b"1.10"},
        {},
    ]
    assert has_more
    body = b'{"object": "list", "data": [], "has_more": false}'
    assert parse_list(body, "/v1/things") == ([], False)


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b'{"data": 1}', b"[]", b'{"a": "\xff"}'])
def test_answer_that_is_not_a_page_names_its_path(body):
    """The error of a proxy's HTML page or half an answer has its first bytes."""
    with pytest.raises(ReadError, match="/v1/things: the answer is not JSON"):
        parse_list(body, "/v1/things")


@pytest.mark.parametrize(
    "value", [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000]
)
def test_page_nested_too_deep_is_refused(value):
    """Whichever parser reaches the end of its stack, the error is ours and names the path."""
    message = "/v1/things: the values of the answer are nested too deep to be read"
    with pytest.raises(ReadError, match=message):
        parse_list(b'{"data": [{"id": ' + value + b"}]}", "/v1/things")
