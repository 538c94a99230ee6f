"""The conformance suite, which the author of a connector runs in a test."""

from cdpsync.testing.conformance import PromiseError, conforms

__all__ = ["PromiseError", "conforms"]
