"""Errors of HTTP APIs in plain words: who did not answer, what was refused, what to do."""

from __future__ import annotations

import json
import re

from cdpsync.errors import ReadError

_REASONS = (
    (r"NameResolution|getaddrinfo|Name or service|nodename", "the host name is not known"),
    (r"Connection refused|NewConnectionError", "nothing listens there"),
    (r"ConnectTimeout", "no connection within the timeout"),
    (r"[Tt]imed? ?out|Timeout", "no answer within the timeout"),
    (r"SSL|certificate", "the TLS certificate was not accepted"),
    (r"ProxyError", "the proxy refused the connection"),
)
_TEXTS = (
    *("message", "error_description", "detail", "description", "title", "error", "errors"),
    *("ErrorMessage", "error_message", "meta"),
)
_LONGEST = 200  # characters of what an API says
_DEEPEST = 4  # objects in each other, where an API's sentence is looked for


class StoppedError(ReadError):
    """The run stopped the read, or another of its threads failed."""

    def __init__(self) -> None:
        super().__init__("stopped.")


def unreachable_reason(error: Exception) -> str:
    """Return in plain words why a server could not be reached, or stopped answering."""
    text = " ".join(str(error).split())
    matches = (words for pattern, words in _REASONS if re.search(pattern, text))
    return next(matches, "the connection broke")


def error_text(body: bytes) -> str:
    """Return what an answer says of an error: its sentence if it is JSON, else its beginning."""
    try:
        text = _sentence(json.loads(body), 0)
    except (ValueError, RecursionError):
        text = ""
    if not text:
        beginning = body[:80].decode("utf-8", "replace")
        text = f"it says {' '.join(beginning.split())!r}" if body else "it says nothing"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _sentence(value: object, depth: int) -> str:
    """Return the sentence in an error's JSON: APIs put it under one of a few names."""
    if isinstance(value, str):
        return " ".join(value.split()).rstrip(".")
    if depth == _DEEPEST:
        return ""
    if isinstance(value, list):
        return next((text for item in value if (text := _sentence(item, depth + 1))), "")
    if isinstance(value, dict):
        named = (value[name] for name in _TEXTS if value.get(name))
        return next((text for inner in named if (text := _sentence(inner, depth + 1))), "")
    return ""
