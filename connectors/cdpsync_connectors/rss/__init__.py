"""RSS and Atom feeds."""

from cdpsync_connectors.rss.connector import RssConnector

__all__ = ["RssConnector"]
