"""A feed into a lake: items that left the feed stay, unless the table says otherwise."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.api_feeds import feed, xml
from support.api_server import ApiServer, serving

from cdpsync import query, run
from cdpsync.model.verification import VerifyStatus
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = datetime(2026, 1, 1, tzinfo=UTC)


def items(*numbers: int, title: str = "x") -> list[tuple[str, str, str]]:
    return [
        (f"id-{n}", f"{title} {n}", (START + timedelta(days=n)).strftime("%a, %d %b %Y %H:%M:%S Z"))
        for n in numbers
    ]


class Blog:
    """A feed, and a project that reads it."""

    def __init__(self, folder: Path, server: ApiServer) -> None:
        self.file = folder / "cdpsync.yml"
        self.server = server

    def configure(self, **table: Any) -> None:
        source = {"type": "rss", "feeds": {"posts": f"{self.server.url}/feed"}}
        source["tables"] = {"posts": table}
        self.file.write_text(json.dumps({"sources": {"blog": source}}))

    def publish(self, *published: tuple[str, str, str]) -> dict[str, str]:
        """Publish these items, run, and return the titles in the lake by id."""
        self.server.routes["GET /feed"] = xml(feed(list(published)))
        (result,) = run(self.file).tables
        assert result.error is None, result.error
        return dict(query("select id, title from blog.posts", self.file))


@pytest.fixture
def blog(tmp_path: Path) -> Iterator[Blog]:
    with serving(ApiServer({})) as server:
        yield Blog(tmp_path, server)


@pytest.mark.parametrize("field", ["updated", "published"])
def test_incremental_keeps_what_left_the_feed(blog: Blog, field: str) -> None:
    blog.configure(mode="incremental", cursor_field=field)
    assert blog.publish(*items(1, 2)) == {"id-1": "x 1", "id-2": "x 2"}
    later = blog.publish(*items(2, title="changed"), *items(3))
    assert later == {"id-1": "x 1", "id-2": "changed 2", "id-3": "x 3"}
    (result,) = verify(blog.file)
    assert result.status is VerifyStatus.EQUAL
    assert "1 rows were deleted at the source, and are kept" in result.notices[0]
    types = query("select typeof(updated), typeof(categories) from blog.posts limit 1", blog.file)
    assert types == [("TIMESTAMP WITH TIME ZONE", "JSON")]


def test_append_only_keeps_each_item_as_it_came(blog: Blog) -> None:
    blog.configure(mode="append_only", cursor_field="updated")
    blog.publish(*items(1, 2))
    assert blog.publish(*items(2, 3)) == {"id-1": "x 1", "id-2": "x 2", "id-3": "x 3"}


def test_full_table_is_the_feed(blog: Blog) -> None:
    blog.configure(mode="full_table")
    blog.publish(*items(1, 2))
    assert blog.publish(*items(2, 3)) == {"id-2": "x 2", "id-3": "x 3"}
    (result,) = verify(blog.file)
    assert result.status is VerifyStatus.EQUAL


def test_a_broken_feed_leaves_the_table_as_it_was(blog: Blog) -> None:
    blog.configure(mode="full_table")
    blog.publish(*items(1, 2))
    blog.server.routes["GET /feed"] = xml(feed(items(1, 2, 3))[:-40])
    (result,) = run(blog.file).tables
    assert result.error is not None
    assert "is not well-formed XML" in result.error.message
    assert query("select count(*) from blog.posts", blog.file) == [(2,)]
