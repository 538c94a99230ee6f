"""The contract between cdpsync and a source system."""

from cdpsync.connector.contract import (
    Chunk,
    ConcurrencyLimit,
    Connector,
    ConnectorOptions,
    CursorLimited,
    DatabaseOptions,
    FrugalChunk,
    KeyFilter,
    Limited,
    ReadRequest,
    RowSlice,
    SizedChunk,
    TypeChangeAware,
    VersionedChunk,
    concurrency_limit_of,
    ignore,
)

__all__ = [
    "Chunk",
    "ConcurrencyLimit",
    "Connector",
    "ConnectorOptions",
    "CursorLimited",
    "DatabaseOptions",
    "FrugalChunk",
    "KeyFilter",
    "Limited",
    "ReadRequest",
    "RowSlice",
    "SizedChunk",
    "TypeChangeAware",
    "VersionedChunk",
    "concurrency_limit_of",
    "ignore",
]
