"""Addresses and headers: encoded, without ways out of their place."""

from __future__ import annotations

from typing import Any

import pytest
from support.change_rows import Changes, text

from cdpsync.destinations.templates.compile import CompiledRequest, compile_requests
from cdpsync.errors import ConfigError
from cdpsync.model.destinations import RequestTemplate


def sent(value: str, url: str, *constants: str, **parts: Any) -> tuple[CompiledRequest, dict]:
    """Return a request and the only row of it, whose column v has this text."""
    changes = Changes(f"select {{'v': {value}}}")
    request = RequestTemplate("POST", text(url, *constants), **parts)
    compiled = compile_requests(changes.row, request)
    (row,) = changes.rows(compiled)
    return compiled.steps[""], row


@pytest.mark.parametrize(
    ("value", "url", "expected"),
    [
        ("'a b/?&#é%'", "https://example.com/{{ v }}", "https://example.com/a%20b%2F%3F%26%23%C3%A9%25"),
        ("'x'", "https://example.com/a{{ v }}/b?c={{ v }}", "https://example.com/ax/b?c=x"),
        ("null", "https://example.com/?c={{ v }}", "https://example.com/?c="),
        ("'x'", "https://{{ v }}.example.com/", "https://x.example.com/"),
        ("'https://x.com/a?b=c'", "{{ v }}", "https://x.com/a?b=c"),
        ("'a\r\nX: 1'", "https://example.com/{{ v }}", "https://example.com/a%0D%0AX%3A%201"),
    ],
)  # fmt: skip
def test_value_is_encoded_in_a_url(value: str, url: str, expected: str) -> None:
    """A row can change the place that it is put in, and nothing around it."""
    _, row = sent(value, url)
    assert (row["url"], row["error"]) == (expected, None)


@pytest.mark.parametrize(
    ("value", "url", "reason"),
    [
        ("null", "https://example.com/{{ v }}", "{{ v }} is empty, and a part of the URL's path"),
        ("''", "https://example.com/{{ v }}/x", "{{ v }} is empty, and a part of the URL's path"),
        ("'..'", "https://example.com/{{ v }}/x", "a part of the URL's path is `.` or `..`"),
        ("'.'", "https://example.com/.{{ v }}", "a part of the URL's path is `.` or `..`"),
        ("'x.com/'", "https://{{ v }}.example.com/", "{{ v }} is no name of a host"),
        ("'x.com#'", "https://{{ v }}.example.com/", "{{ v }} is no name of a host"),
        ("'user@x.com'", "https://{{ v }}/", "{{ v }} is no name of a host"),
        ("''", "https://{{ v }}/", "{{ v }} is no name of a host"),
        ("'file:///etc/passwd'", "{{ v }}", "{{ v }} is no URL that begins with https:// or http://"),
        ("'https://x.com/ a'", "{{ v }}", "{{ v }} is no URL that begins with https:// or http://"),
        ("null", "{{ v }}", "{{ v }} is no URL that begins with https:// or http://"),
    ],
)  # fmt: skip
def test_value_that_leads_elsewhere_is_told_apart(value: str, url: str, reason: str) -> None:
    """An empty id would address the whole collection, `..` another one."""
    _, row = sent(value, url)
    assert row["error"] == f"cdpsync.yml:3: {reason}"


@pytest.mark.parametrize(
    ("url", "constants", "host"),
    [
        ("https://example.com/{{ v }}", (), "example.com"),
        ("https://Example.com:8443?x={{ v }}", (), "example.com"),
        ("\0/x/{{ v }}", ("https://api.example.com",), "api.example.com"),
        ("https://\0.example.com/{{ v }}", ("eu",), "eu.example.com"),
        ("https://{{ v }}.example.com/", (), None),
        ("https://example.com{{ v }}", (), None),
        ("{{ v }}", (), None),
        ("\0{{ v }}", ("https://example.com",), None),
    ],
)
def test_host_is_that_of_the_file_unless_a_row_has_a_part_in_it(
    url: str, constants: tuple[str, ...], host: str | None
) -> None:
    """A host of a row must be among those that are allowed, so it has to be known for one."""
    step, _ = sent("'x'", url, *constants)
    assert step.host == host


def test_query_goes_behind_the_url() -> None:
    """Each value is encoded; a key with ? is left out where it is NULL."""
    query = {"a b": text("{{ v }}&"), "none?": text("{{ null::varchar }}"), "c": text("1")}
    _, row = sent("'x y'", "https://example.com/", query=query)
    assert row["url"] == "https://example.com/?a%20b=x%20y%26&c=1"
    optional = {"none?": text("{{ null::varchar }}"), "v?": text("{{ v }}")}
    assert sent("'x'", "https://example.com/", query=optional)[1]["url"].endswith("/?v=x")
    assert sent("'x'", "https://example.com/?z=1", query=optional)[1]["url"].endswith("?z=1&v=x")
    assert sent("null::varchar", "https://example.com/", query=optional)[1]["url"].endswith("com/")
    step, _ = sent("'x'", "https://example.com/", query={"a": text("é")})
    assert step.url == "https://example.com/?a=%C3%A9"


def test_headers() -> None:
    """What all rows share is text; a header that is NULL is left out."""
    headers = {
        "X-All": text("a"), "X-Row": text("{{ v }}-\"é\""), "X-None": text("{{ null::varchar }}"),
    }  # fmt: skip
    step, row = sent("'x'", "https://example.com/", headers=headers)
    assert step.headers == {"X-All": "a"}
    assert row["headers"] == '{"X-Row":"x-\\"é\\""}'
    assert row["error"] is None


@pytest.mark.parametrize("value", ["E'a\\r\\nX-Admin: 1'", "E'a\\nb'", "chr(0)", "chr(127)"])
def test_header_with_a_control_character_is_told_apart(value: str) -> None:
    """A line break in a value would begin another header."""
    _, row = sent(value, "https://example.com/", headers={"X": text("{{ v }}")})
    assert row["error"] == "cdpsync.yml:3: the header X would have a control character"


def test_control_characters_of_the_file_are_refused() -> None:
    """A header or an address that no row is in is wrong for all of them."""
    with pytest.raises(ConfigError, match="the header X has a control character"):
        sent("'x'", "https://example.com/", headers={"X": text("a\nb")})
    with pytest.raises(ConfigError, match="the URL has a control character"):
        sent("'x'", "https://example.com/\n")


def test_credentials_are_the_same_for_all_rows() -> None:
    """User, password and token are marks until a request is sent; they are no expressions."""
    step, _ = sent("'x'", "https://example.com/", bearer=text("\0", "hush"))
    assert step.headers["Authorization"].startswith("Bearer cdpsync_")
    step, _ = sent("'x'", "https://example.com/", sign=text("whsec_\0", "hush"))
    assert step.sign == "whsec_hush"
    assert "hush" not in repr(step)
    with pytest.raises(ConfigError, match="credentials are the same for all rows"):
        sent("'x'", "https://example.com/", bearer=text("{{ v }}"))
