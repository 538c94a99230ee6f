"""Signatures of requests, as Standard Webhooks has them.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from cdpsync.errors import ConfigError

_PREFIX = "whsec_"


def signing_key(secret: str, location: str) -> bytes:
    """Return the key of a secret `whsec_…`; raise ConfigError if it is not base64."""
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(
            f"{location}: the secret of the signature is not base64. "
            f"Standard Webhooks has secrets such as {_PREFIX}MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw."
        ) from None


def signature_headers(key: bytes, message_id: str, seconds: int, body: bytes) -> list[str]:
    """Return the three headers of a signed request; `seconds` is the time of sending."""
    signed = f"{message_id}.{seconds}.".encode() + body
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return [
        f"webhook-id: {message_id}",
        f"webhook-timestamp: {seconds}",
        f"webhook-signature: v1,{digest}",
    ]
