"""The suite that a connector's author runs."""

from cdpsync.testing.conformance import conforms

__all__ = [
    "conforms",
]
