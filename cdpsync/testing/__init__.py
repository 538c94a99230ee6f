"""The conformance suite that a connector's author runs in a test of its own."""

from cdpsync.testing.conformance import PromiseError, conforms

__all__ = ["PromiseError", "conforms"]
