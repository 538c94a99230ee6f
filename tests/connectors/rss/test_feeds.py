"""Feeds of every kind, from a local server: exact rows, or one clear line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.api_feeds import ATOM, RSS_091, RSS_10, RSS_20, feed, xml
from support.api_reading import notices_of, read, since, source
from support.api_server import ApiServer, Reply, serving

from cdpsync.connector.http import retries
from cdpsync.errors import ConnectorError
from cdpsync_connectors.rss.connector import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def web() -> Iterator[ApiServer]:
    with serving(ApiServer({})) as server:
        yield server


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_FIRST_PAUSE", 0.001)


def opened(web: ApiServer, path: str = "/feed") -> Any:
    return source("rss", feeds={"blog": f"{web.url}{path}"})


def rows_of(web: ApiServer, text: str | bytes, type_: str = "application/rss+xml") -> list[Any]:
    """Return the rows of a feed without their nulls, JSON parsed; each has all columns."""
    web.routes["GET /feed"] = xml(text, type_)
    rows = read(opened(web), "blog")
    assert all(set(row) == set(COLUMNS) for row in rows)
    return [
        {
            name: json.loads(value) if COLUMNS[name] == "JSON" else value
            for name, value in row.items()
            if value is not None
        }
        for row in rows
    ]


def test_rss_091_has_links_as_ids(web: ApiServer) -> None:
    link = "http://old.example/{}".format
    assert rows_of(web, RSS_091) == [
        {"id": link(1), "title": "First & last", "link": link(1), "summary": "One"},
        {"id": link(2), "title": "Second", "link": link(2)},
    ]


def test_rss_10_has_its_own_ids(web: ApiServer) -> None:
    moment = datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
    assert rows_of(web, RSS_10) == [
        {
            "id": "urn:x:1",
            "title": "Über",
            "link": "http://rdf.example/1",
            "author": "Zoë",
            "updated": moment,
            "categories": [{"term": "physics"}],
        }
    ]


def test_rss_20_with_modules(web: ApiServer) -> None:
    """CDATA keeps its entities, links in the text are absolute, and nothing is cleaned away."""
    first, second, third = rows_of(web, RSS_20)
    moment = datetime(2026, 1, 1, 7, 30, tzinfo=UTC)
    base = f"{web.url}/more"
    assert first == {
        "id": "tag:blog,1",
        "title": 'A < B & "C" &nbsp;',
        "link": "https://blog.example/a?x=1&y=2",
        "published": moment,
        "updated": moment,
        "author": "Ann 🌍",
        "summary": "Short\u00a0\u2014 <b>text</b>",
        "content": f'<p onclick="x()">A <a href="{base}">b</a></p>',
        "categories": [
            {"term": "news", "scheme": "https://blog.example/tags"},
            {"term": "ü"},
        ],
        "enclosures": [
            {
                "href": "https://blog.example/a.mp3",
                "type": "audio/mpeg",
                "length": "12345678901",
            }
        ],
    }
    link = "https://blog.example/b"
    assert (second["id"], second["link"], second["summary"]) == (link, link, "No title")
    assert third["title"] == "No id, no date"
    assert third["id"].startswith("digest:")
    assert rows_of(web, RSS_20)[2]["id"] == third["id"]


def test_atom(web: ApiServer) -> None:
    first, second = rows_of(web, ATOM, "application/atom+xml")
    assert first == {
        "id": "urn:uuid:2",
        "title": "Eins",
        "link": "https://atom.example/posts/one",
        "published": datetime(2025, 12, 31, 23, 0, 0, 125_000, tzinfo=UTC),
        "updated": datetime(2026, 1, 2, 0, 0, 0, 123_456, tzinfo=UTC),
        "author": "Bo (bo@atom.example)",
        "summary": "Kurz",
        "content": "<p>Lang … <br /></p>",
        "categories": [{"term": "t1", "scheme": "urn:s", "label": "T 1"}],
        "enclosures": [
            {
                "href": "https://atom.example/posts/one.pdf",
                "type": "application/pdf",
                "length": "7",
            }
        ],
    }
    assert (second["id"], second["title"], second["content"]) == ("urn:uuid:3", "", "A < B")
    assert "published" not in second


UMLAUTS = feed([("1", "Käse €", "Thu, 01 Jan 2026 12:00:00 GMT")])


@pytest.mark.parametrize(
    ("body", "type_"),
    [
        (UMLAUTS.encode(), "text/xml"),
        (b"\xef\xbb\xbf" + UMLAUTS.encode(), "text/plain"),
        ("\ufeff".encode("utf-16-le") + UMLAUTS.encode("utf-16-le"), "application/xml"),
        (('<?xml version="1.0" encoding="utf-16"?>' + UMLAUTS).encode("utf-16"), "text/xml"),
        (UMLAUTS.encode("windows-1252"), 'text/xml; charset="windows-1252"'),
        (
            b'<?xml version="1.0" encoding="iso-8859-15"?>' + UMLAUTS.encode("iso-8859-15"),
            "text/xml",
        ),
        (
            b'<?xml version="1.0" encoding="UTF-8"?>' + UMLAUTS.encode(),
            "application/rss+xml; charset=ISO-8859-1",
        ),
        (b'\n <?xml version="1.0"?>' + UMLAUTS.encode(), "application/rss+xml; charset=utf-8"),
    ],
)
def test_encodings(web: ApiServer, body: bytes, type_: str) -> None:
    assert [row["title"] for row in rows_of(web, body, type_)] == ["Käse €"]


def refusal(web: ApiServer, reply: Reply) -> str:
    web.routes["GET /feed"] = lambda _: reply
    with pytest.raises(ConnectorError) as raised:
        read(opened(web), "blog")
    assert "\n" not in raised.value.message
    with pytest.raises(ConnectorError):
        opened(web).check()
    return raised.value.message


PAGE = b"""<!DOCTYPE html><html><head>
<link rel="alternate" type="application/rss+xml" href="/rss.xml"></head><body>Hi</body></html>"""


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(PAGE), "is a web page, not a feed. It names a feed: /rss.xml. Set feeds.blog"),
        (Reply(b"<html>Login"), "a web page, not a feed. Set feeds.blog to the address"),
        (Reply(RSS_20.encode()[:900]), "is not well-formed XML: unclosed CDATA section in line"),
        (Reply(RSS_20.encode()[:-30]), "is not well-formed XML: "),
        (Reply(b"<rss version='2.0'><channel><item><title>A & B</title>"), "not well-formed XML"),
        (Reply(b"<rss><channel><media:x/></channel></rss>"), "unbound prefix in line 1"),
        (Reply(b"<note><to>x</to></note>"), "is XML, but neither RSS nor Atom; it begins with"),
        (Reply(b'{"version": "https://jsonfeed.org/version/1"}'), "is not well-formed XML"),
        (Reply(b""), "the answer is empty. Check feeds.blog"),
        (Reply(UMLAUTS.encode("latin-1", "replace")), "is not utf-8 (it names no other): byte 73"),
        (
            Reply(b'<?xml version="1.0" encoding="klingon"?><rss/>'),
            'its encoding "klingon" is not known (its XML declaration)',
        ),
        (
            Reply(b"gone", 410),
            "there is nothing at feeds.blog (status 410): it says 'gone'. Check",
        ),
        (
            Reply(b"", 401),
            "is not open to everybody (status 401): it says nothing. Check feeds.blog",
        ),
        (Reply(b"", 403), "is not open to everybody (status 403)"),
        (Reply(b"", 500), "kept failing with status 500"),
    ],
)
def test_what_is_no_whole_feed_is_one_line(web: ApiServer, reply: Reply, message: str) -> None:
    assert message in refusal(web, reply)


def test_an_empty_feed_has_no_rows(web: ApiServer) -> None:
    assert rows_of(web, feed([])) == []


def test_an_id_that_is_repeated_is_kept_once_and_told(web: ApiServer) -> None:
    items = [
        ("1", "old", "Thu, 01 Jan 2026 12:00:00 GMT"),
        ("1", "new", "Fri, 02 Jan 2026 12:00:00 GMT"),
        ("2", "only", "yesterday"),
        ("1", "older", "Thu, 01 Jan 2026 11:00:00 GMT"),
    ]
    rows = rows_of(web, feed(items))
    assert [(row["id"], row["title"]) for row in rows] == [("1", "new"), ("2", "only")]
    assert "published" not in rows[1]
    assert notices_of(opened(web), "blog") == [
        "2 items have the id of another one, such as '1'; the latest of each was kept.",
        "1 dates could not be read, such as 'yesterday'; they are null.",
    ]


def test_changes_are_items_from_the_cursor_on_and_those_without_a_date(web: ApiServer) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    items = [
        (str(n), "x", (start + timedelta(days=n)).strftime("%a, %d %b %Y 00:00:00 +0000"))
        for n in range(9)
    ]
    web.routes["GET /feed"] = xml(feed(items, more="<item><guid>none</guid></item>"))
    for field in ("updated", "published"):
        rows = read(opened(web), "blog", **since(field, start + timedelta(days=5)))
        assert [row["id"] for row in rows] == ["5", "6", "7", "8", "none"]
    assert len(read(opened(web), "blog", limit=3)) == 3


def test_a_feed_that_moved_is_followed(web: ApiServer) -> None:
    with serving(ApiServer({"GET /new": xml(RSS_091)})) as other:
        web.routes["GET /feed"] = lambda _: Reply(b"", 301, {"Location": f"{other.url}/new"})
        assert len(read(opened(web), "blog")) == 2
        assert "Authorization" not in other.requests[0].headers
        assert "application/rss+xml" in other.requests[0].headers["Accept"]


def test_a_server_that_limits_the_rate_is_waited_for(web: ApiServer) -> None:
    replies = [Reply(b"", 429, {"Retry-After": "0"}), Reply(b"", 503)]
    web.before = lambda _: replies.pop() if replies else None
    assert len(rows_of(web, RSS_091)) == 2
    assert len(web.requests) == 3


def test_nobody_answers() -> None:
    server = ApiServer({})
    server.url = "http://127.0.0.1:9"
    with pytest.raises(ConnectorError, match=r"nothing listens there. Check feeds.blog and this"):
        read(opened(server), "blog")


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "at least 1 item"),
        ({"my blog": "https://a.example/"}, "a feed is named with letters, digits and _"),
        ({"blog": "a.example/rss"}, "blog: write the address of the feed: https://"),
        ({"blog": "https://me:pw@a.example/"}, "is read without a user and a password"),
    ],
)
def test_options_that_are_wrong(feeds: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        source("rss", feeds=feeds)
