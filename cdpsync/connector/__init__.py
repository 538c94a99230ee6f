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
    MemoryLimited,
    ReadRequest,
    RowSlice,
    SizedChunk,
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
    "MemoryLimited",
    "ReadRequest",
    "RowSlice",
    "SizedChunk",
    "VersionedChunk",
    "concurrency_limit_of",
    "ignore",
]
