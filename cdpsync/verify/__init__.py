"""Comparison of the lake with its sources, row by row, and the repair of wrong rows."""

from cdpsync.verify.verifier import verify

__all__ = [
    "verify",
]
