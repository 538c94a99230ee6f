"""Manifests and feeds keep the promises of a connector.

Their discover() asks no server, so it names no fault of one; check() does.
"""

from __future__ import annotations

from support.api_crm import Attio, Vitally
from support.api_feeds import ATOM, RSS_20, xml
from support.api_server import ApiServer, serving

from cdpsync.connector import registry
from cdpsync.testing import conforms
from cdpsync_connectors.rss.connector import RssConnector


def test_newest_first() -> None:
    with serving(Vitally()) as server:
        class_ = registry.connector_class("vitally")
        conforms(class_, server.options, streams=("accounts",))


def test_children_and_keys_inside_objects() -> None:
    with serving(Attio()) as server:
        class_ = registry.connector_class("attio")
        conforms(class_, server.options, streams=("list_entries",))


def test_feeds() -> None:
    with serving(ApiServer({"GET /rss": xml(RSS_20), "GET /atom": xml(ATOM)})) as server:
        options = {"feeds": {"blog": f"{server.url}/rss", "posts": f"{server.url}/atom"}}
        conforms(RssConnector, options)
