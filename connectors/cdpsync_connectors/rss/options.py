"""The keys of a source of `type: rss`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator

from cdpsync.connector import ConnectorOptions
from cdpsync_connectors._shared.options import Seconds  # noqa: TC001 - pydantic needs it


class RssOptions(ConnectorOptions):
    """Feeds by the names that their streams have."""

    feeds: Annotated[dict[str, str], Field(min_length=1)]
    timeout: Seconds = 60.0

    @field_validator("feeds")
    @classmethod
    def _are_addresses(cls, feeds: dict[str, str]) -> dict[str, str]:
        for name, address in feeds.items():
            if not re.match(r"^[A-Za-z_][A-Za-z0-9_]*$", name):
                raise ValueError(f'"{name}": a feed is named with letters, digits and _')
            if not re.match(r"https?://[^\s/?#]+", address):
                raise ValueError(f"{name}: write the address of the feed: https://…")
            if "@" in re.split(r"[/?#]", address.partition("://")[2])[0]:
                raise ValueError(f"{name}: a feed is read without a user and a password")
        return feeds
