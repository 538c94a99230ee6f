"""The contract between cdpsync and a source system."""

from cdpsync.connector.contract import (
    Bounded,
    Bounds,
    Chunk,
    Connector,
    ConnectorOptions,
    DatabaseOptions,
    Heavy,
    Keys,
    Lasting,
    ReadRequest,
    Settled,
    Share,
    bounds_of,
    ignore,
)

__all__ = [
    "Bounded",
    "Bounds",
    "Chunk",
    "Connector",
    "ConnectorOptions",
    "DatabaseOptions",
    "Heavy",
    "Keys",
    "Lasting",
    "ReadRequest",
    "Settled",
    "Share",
    "bounds_of",
    "ignore",
]
