"""Addresses that are read without credentials may lead to other servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.api_server import ApiServer, Reply, serving, written

from cdpsync.connector.http import Answer, HttpClient, HttpRequest
from cdpsync.errors import ConnectorError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = [{"id": 1}]


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with serving(ApiServer({})) as server:
        yield server


def test_a_public_address_may_lead_to_another_server(api: ApiServer) -> None:
    with serving(ApiServer({"GET /moved": lambda _: ROWS})) as other:
        api.routes["GET /old"] = lambda _: Reply(b"", 301, {"Location": f"{other.url}/moved"})
        client = HttpClient(api.url, public=True)
        assert client.send(HttpRequest("GET", "/old"), where="x").body == written(ROWS)
        api.routes["GET /round"] = lambda _: Reply(b"", 302, {"Location": "/round"})
        with pytest.raises(ConnectorError, match="status 302"):
            client.send(HttpRequest("GET", "/round"), where="x")
        client.close()


def test_a_public_address_does_not_lead_from_https_to_http() -> None:
    client = HttpClient("https://feeds.example", public=True, named="feeds.blog")
    request = HttpRequest("GET", "https://feeds.example/rss")
    answer = Answer(301, b"", {"location": "http://feeds.example/rss"}, request.url)
    with pytest.raises(ConnectorError, match=r"is not https. Set feeds.blog to the address"):
        client._redirected(request, answer, "stream blog")
