"""The RSS connector: each feed is a stream of its items."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from cdpsync.errors import ConfigError, ReadError
from cdpsync.model import Column, Stream
from cdpsync.model.cursors import cursor_sql
from cdpsync.sql import quote_name
from cdpsync_connectors.rss.options import RssOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pydantic import BaseModel

    from cdpsync.connector import Chunk, ReadRequest
    from cdpsync.connector.http import HttpClient
    from cdpsync.errors import ConnectorError
    from cdpsync_connectors.rss.items import Feed

_TIME = "TIMESTAMP WITH TIME ZONE"
COLUMNS = {
    "id": "VARCHAR",
    "title": "VARCHAR",
    "link": "VARCHAR",
    "published": _TIME,
    "updated": _TIME,
    "author": "VARCHAR",
    "summary": "VARCHAR",
    "content": "VARCHAR",
    "categories": "JSON",
    "enclosures": "JSON",
}
"""The columns of each feed, with their types."""

_ACCEPT = (
    "application/atom+xml, application/rss+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.5"
)


class RssConnector:
    """RSS and Atom feeds as a source. Its libraries are imported when it is first used."""

    Options: ClassVar[type[BaseModel]] = RssOptions
    extensions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: BaseModel) -> None:
        self._options = cast("RssOptions", options)
        self._clients: dict[str, HttpClient] = {}

    def check(self) -> None:
        """Return if each feed can be read; else raise ConnectorError."""
        for name in self._options.feeds:
            self._feed(name, lambda: False)

    def discover(self) -> Sequence[Stream]:
        """Return a stream for each feed. Asks no server."""
        columns = tuple(Column(name, type_) for name, type_ in COLUMNS.items())
        return [
            Stream(
                name,
                name,
                columns,
                primary_key=("id",),
                cursor_fields=("updated", "published"),
                kind="feed",
                open_schema=True,
            )
            for name in self._options.feeds
        ]

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[Iterable[Chunk]]:
        """Fetch the feed, then yield the chunks of its items; see `Connector.read`."""
        name = request.stream.name
        if name not in self._options.feeds:
            raise ReadError(
                f"stream {name}: there is no such feed. There are: "
                f"{', '.join(self._options.feeds)}."
            )
        feed = self._feed(name, request.is_stopped)
        for notice in feed.notices:
            request.on_notice(notice)
        from cdpsync.connector.records import Records

        with tempfile.TemporaryDirectory() as own_folder:
            typed = replace(request, types={**COLUMNS, **request.types})
            folder = request.folder or Path(own_folder)
            records = Records(folder, typed, {}, condition=_window_condition(typed))
            try:
                records.add(feed.items[: request.limit])
                yield records.chunks()
            finally:
                records.close()

    def translate(self, error: Exception) -> ConnectorError | None:
        """Return the error of a value in a chunk as a ReadError; None for any other."""
        from cdpsync.connector.exact_sql import inexact

        return inexact(error)

    def close(self) -> None:
        """Close the connections. May be called twice."""
        for client in self._clients.values():
            client.close()

    def _feed(self, name: str, is_stopped: Callable[[], bool]) -> Feed:
        """Fetch a feed and return its items. Raises ConnectorError."""
        try:
            from cdpsync.connector.http import HttpRequest
            from cdpsync_connectors.rss.items import parse_feed
        except ImportError as error:
            raise ConfigError(
                "reading a feed needs three libraries. Install them: pip install 'cdpsync[rss]'"
            ) from error
        where = f"stream {name}"
        request = HttpRequest("GET", self._options.feeds[name], label=f"feed {name}")
        answer = self._client(name).send(request, where=where, is_stopped=is_stopped)
        return parse_feed(
            answer.body, answer.headers.get("content-type", ""), answer.url, where, name
        )

    def _client(self, name: str) -> HttpClient:
        from cdpsync.connector.http import HttpClient

        if name not in self._clients:
            self._clients[name] = HttpClient(
                self._options.feeds[name],
                headers={"Accept": _ACCEPT},
                timeout=self._options.timeout,
                public=True,
                named=f"feeds.{name}",
            )
        return self._clients[name]


def _window_condition(request: ReadRequest) -> str | None:
    """Return the items of the window as SQL; one without a time is always among them."""
    window = request.window
    if window is None:
        return None
    name = quote_name(window.cursor_field)
    type_ = request.types.get(window.cursor_field, "VARCHAR")
    return f"{name} is null or {name} >= {cursor_sql(window.low, type_)}"
