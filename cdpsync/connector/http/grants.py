"""The parts of OAuth's token requests and answers that sources and destinations share: RFC 6749."""

from __future__ import annotations

import base64
import json
import math
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from cdpsync.redact import remember

_EARLY = 30.0  # seconds, at most, by which a token is renewed before it expires
_EARLY_SHARE = 0.1  # of its life


def basic_credentials(username: str, password: str) -> str:
    """Return the value of `Authorization` for a user and a password; it is hidden from now on."""
    value = base64.b64encode(f"{username}:{password}".encode()).decode()
    remember(value)
    return f"Basic {value}"


def client_credentials(client_id: str, client_secret: str) -> str:
    """Return the value of `Authorization` for a client: both are encoded first, section 2.3.1."""
    return basic_credentials(quote(client_id, safe=""), quote(client_secret, safe=""))


def granted(body: bytes) -> dict[str, Any]:  # Any: JSON
    """Return the object in the answer to a token request; empty where there is none."""
    with suppress(ValueError, RecursionError):
        content = json.loads(body)
        if isinstance(content, dict):
            return content
    return {}


def renewal_after(expires_in: object) -> float:
    """Return the seconds after which a token is renewed: a little before it expires, if it says so.

    `expires_in` is a number, or a text of one; for anything else the token is used until it is
    refused.
    """
    seconds = math.inf
    with suppress(TypeError, ValueError):
        seconds = float(expires_in)  # type: ignore[arg-type]  # some send a text
    if not 0 < seconds < math.inf:  # NaN is not either
        return math.inf
    return seconds - min(_EARLY, seconds * _EARLY_SHARE)
