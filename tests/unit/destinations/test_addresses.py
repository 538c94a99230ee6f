"""Addresses: which URLs, headers and hosts a request may have."""

from __future__ import annotations

import pytest

from cdpsync.destinations.delivery import addresses


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.example.com/x/{{ id }}", "api.example.com"),
        ("https://API.example.com?x={{ id }}", "api.example.com"),
        ("http://[::1]:8000/{{ id }}", "[::1]"),
        ("https://{{ sub }}.example.com/", None),
        ("https://example.com{{ path }}", None),
        ("https://example.com:{{ port }}/", None),
        ("{{ url }}", None),
    ],
)
def test_literal_host(url: str, host: str | None) -> None:
    """It is one that no expression is a part of."""
    assert addresses.literal_host(url) == host


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/",
        "file:///etc/passwd",
        "gopher://a.example/",
        "//a.example/",
        "http:/a.example/",
        "http://",
        "http://user@a.example/",
        "http://a.example\\@b.example/",
        "http://a%2eexample/",
        "http://a.example:99999999/",
        "http://a.example /",
        "http://a.example/ö",
        "http://a.example/a b",
        "http://a.example/\r\nX: 1",
        "http://a.example\t/",
        "http://bücher.example/",
    ],
)
def test_url_that_two_readers_may_read_in_two_ways(url: str) -> None:
    """It is refused, whatever is allowed."""
    assert addresses.url_fault(url, None, ("*",)) is not None


def test_host_of_a_row_must_be_allowed() -> None:
    """By name or pattern, in any case."""
    assert addresses.url_fault("https://x.Example.com/a", None, ("*.example.com",)) is None
    assert addresses.url_fault("https://example.com/a", None, ("*.example.com",)) is not None
    assert addresses.url_fault("https://example.com.evil.example/", None, ("*.example.com",))


def test_host_of_the_project_file_stays() -> None:
    """A row changes the path only."""
    assert addresses.url_fault("http://10.0.0.1/x", "10.0.0.1", ()) is None
    fault = addresses.url_fault("http://10.0.0.1.evil.example/", "10.0.0.1", ())
    assert fault == "the row changes the host of the URL to 10.0.0.1.evil.example"


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - nothing is bound
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("ff02::1", False),
        ("not an address", False),
    ],
)
def test_public_addresses(address: str, is_public: bool) -> None:
    """Also those that wrap another address."""
    assert addresses.is_public(address) is is_public


@pytest.mark.parametrize("letter", ["\r", "\n", "\0", "\x7f", "\t"])
def test_control_character_in_a_header(letter: str) -> None:
    """Its name is told, not its value."""
    fault = addresses.header_fault(f"X-Name: se{letter}cret")
    assert fault == "the header 'X-Name' has a control character"
