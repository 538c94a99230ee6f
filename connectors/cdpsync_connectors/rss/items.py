"""The items of a feed as records, whatever kind of RSS or Atom it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from io import BytesIO
from typing import TYPE_CHECKING, Any

import feedparser
import msgspec

from cdpsync.errors import ReadError
from cdpsync_connectors.rss.encoding import feed_text
from cdpsync_connectors.rss.item_ids import item_ids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdpsync.connector.records import Fields

_EPOCH = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Feed:
    """The items of a feed, each id once, and what to say about them in the run's record."""

    items: list[Fields]
    notices: list[str]


class _Dates:
    """Reads dates, and keeps those that are none."""

    def __init__(self) -> None:
        self.unreadable: list[str] = []

    def read(self, entry: Mapping[str, Any], name: str) -> datetime | None:
        """Return the time of an item's date in UTC; None without one that can be read."""
        # Its get() answers with another date, and a warning, where there is no `updated`.
        text = entry[name] if name in entry else None  # noqa: SIM401
        if not text:
            return None
        moment = _moment(text) or _of_parser(entry[f"{name}_parsed"])
        if moment is None:
            self.unreadable.append(text)
        return moment


def parse_feed(body: bytes, content_type: str, url: str, where: str, name: str) -> Feed:
    """Return the items of a feed. Raises ReadError for anything but a whole feed."""
    text = feed_text(body, content_type, where, name)
    ids = item_ids(text, where, name)
    headers = {"content-type": "application/xml; charset=utf-8", "content-location": url}
    parsed: Any = feedparser.parse(
        BytesIO(text.encode("utf-8", "surrogatepass")),
        response_headers=headers,
        sanitize_html=False,
        resolve_relative_uris=True,
    )
    if not parsed.version:
        raise ReadError(
            f"{where}: the answer is XML, but neither RSS nor Atom; it begins with "
            f"{' '.join(text[:60].split())!r}. Check feeds.{name}."
        )
    if parsed.bozo and not isinstance(parsed.bozo_exception, feedparser.CharacterEncodingOverride):
        reason = " ".join(str(parsed.bozo_exception).split())
        raise ReadError(
            f"{where}: the feed cannot be read without doubt: {reason}. Nothing was kept. "
            f"Check feeds.{name}."
        )
    if len(parsed.entries) != len(ids):
        raise ReadError(
            f"{where}: the feed has {len(ids)} items, and {len(parsed.entries)} could be read. "
            f"Nothing was kept. Check feeds.{name}."
        )
    return _feed(parsed.entries, ids)


def _feed(entries: list[Any], ids: list[str]) -> Feed:
    dates = _Dates()
    latest: dict[str, tuple[datetime, dict[str, Any]]] = {}
    repeated: list[str] = []
    for entry, id_ in zip(entries, ids, strict=True):
        record = _record(entry, id_, dates)
        updated = record["updated"] or _EPOCH
        if record["id"] in latest:
            repeated.append(record["id"])
            if updated <= latest[record["id"]][0]:
                continue
        latest[record["id"]] = (updated, record)
    items = [
        {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in record.items()}
        for _, record in latest.values()
    ]
    return Feed(items, _notices(repeated, dates.unreadable))


def _notices(repeated: list[str], unreadable: list[str]) -> list[str]:
    notices = []
    if repeated:
        notices.append(
            f"{len(repeated)} items have the id of another one, such as {repeated[0][:80]!r}; the "
            "latest of each was kept."
        )
    if unreadable:
        notices.append(
            f"{len(unreadable)} dates could not be read, such as {unreadable[0][:80]!r}; they are "
            "null."
        )
    return notices


def _record(entry: Any, id_: str, dates: _Dates) -> dict[str, Any]:  # noqa: ANN401 - feedparser's
    published = dates.read(entry, "published")
    updated = dates.read(entry, "updated")
    record = {
        "title": entry.get("title"),
        "link": entry.get("link"),
        "published": published,
        "updated": updated or published,
        "author": entry.get("author"),
        "summary": entry.get("summary"),
        "content": _content(entry),
        "categories": _parts(entry.get("tags"), ("term", "scheme", "label")),
        "enclosures": _parts(entry.get("enclosures"), ("href", "type", "length")),
    }
    return {"id": id_ or entry.get("link") or _digest(record), **record}


def _content(entry: Any) -> str | None:  # noqa: ANN401 - feedparser has no types
    """Return the text of an item: that in HTML, if it has several."""
    contents = entry.get("content") or []
    html = [part for part in contents if "html" in str(part.get("type"))]
    return next((part.get("value") for part in (*html, *contents)), None)


def _parts(parts: Any, names: tuple[str, ...]) -> list[dict[str, str]] | None:  # noqa: ANN401
    found = [{name: part[name] for name in names if part.get(name)} for part in parts or ()]
    return [part for part in found if part] or None


def _digest(record: Mapping[str, Any]) -> str:
    """Return the id of an item that has neither id nor link: a digest of what it says."""
    texts = [record["title"], record["summary"], record["content"], str(record["published"])]
    return "digest:" + blake2b(msgspec.json.encode(texts), digest_size=16).hexdigest()


def _moment(text: str) -> datetime | None:
    """Return a date of RFC 3339 or RFC 822 with all its digits; without a zone it is UTC."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text.strip())
        except (ValueError, TypeError, OverflowError):
            continue
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        try:
            return aware.astimezone(UTC)
        except OverflowError:
            return None
    return None


def _of_parser(parsed: Any) -> datetime | None:  # noqa: ANN401 - a struct_time in UTC, or None
    try:
        return datetime(*parsed[:6]).replace(tzinfo=UTC) if parsed else None  # noqa: DTZ001
    except ValueError:
        return None
