"""The contract between cdpsync and a source system."""

from cdpsync.connector.contract import (
    Bucket,
    Chunk,
    ConcurrencyLimit,
    Connector,
    ConnectorOptions,
    CursorLimited,
    DatabaseOptions,
    KeyFilter,
    Limited,
    ReadRequest,
    SizedChunk,
    VersionedChunk,
    concurrency_limit_of,
    ignore,
)

__all__ = [
    "Bucket",
    "Chunk",
    "ConcurrencyLimit",
    "Connector",
    "ConnectorOptions",
    "CursorLimited",
    "DatabaseOptions",
    "KeyFilter",
    "Limited",
    "ReadRequest",
    "SizedChunk",
    "VersionedChunk",
    "concurrency_limit_of",
    "ignore",
]
