"""Signatures of Standard Webhooks."""

from __future__ import annotations

import pytest

from cdpsync.destinations.delivery.signature import signature_headers, signing_key
from cdpsync.errors import ConfigError


def test_signature_of_the_specification() -> None:
    """The example of https://github.com/standard-webhooks/standard-webhooks."""
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "x.yml:1")
    headers = signature_headers(
        key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}'
    )
    assert headers == [
        "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp: 1614265330",
        "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ]


def test_secret_that_is_no_base64() -> None:
    """The line is named, and the secret is not."""
    with pytest.raises(ConfigError, match=r"^x.yml:1: the secret of the signature") as caught:
        signing_key("whsec_not base64!", "x.yml:1")
    assert "not base64!" not in caught.value.message
