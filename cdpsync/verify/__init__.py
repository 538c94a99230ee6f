"""The lake compared with its sources, row for row."""

from cdpsync.verify.verifier import verify

__all__ = [
    "verify",
]
