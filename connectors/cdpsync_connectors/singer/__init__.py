"""Singer taps: programs that read a service and write its records as lines of JSON."""

from cdpsync_connectors.singer.connector import SingerConnector

__all__ = ["SingerConnector"]
