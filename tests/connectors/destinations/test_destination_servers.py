"""The local servers of the presets refuse what the systems would refuse."""

import pytest
from support.destination_servers import CHECKS, check, throttled
from support.destination_wire import Accepted, Request

JSON = {"content-type": "application/json"}


def sent(preset: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Accepted]:
    accepted = Accepted()
    status, _, _ = check(preset, Request("POST", path, {}, headers, body), accepted)
    return status, accepted


@pytest.mark.parametrize("preset", sorted(CHECKS))
def test_unknown_path_and_no_credentials_are_refused(preset: str) -> None:
    """A preset that misses its path or its credentials would not pass."""
    status, accepted = sent(preset, "/elsewhere", b"{}", JSON)
    assert status >= 400
    assert accepted.count == 0


@pytest.mark.parametrize("preset", sorted(CHECKS))
def test_too_many_requests_have_an_answer_of_their_own(preset: str) -> None:
    """429, but for Salesforce, which says 403 and a code."""
    status, _, body = throttled(preset)
    assert status == (403 if preset == "salesforce" else 429)
    assert body


@pytest.mark.parametrize("body", [b'{"api_key": NaN}', b'{"a": 1, "a": 2}', b"{", b"\xff"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    """NaN, a key twice, half an object and bytes that are no text are not JSON."""
    status, accepted = sent("posthog", "/batch/", body, JSON)
    assert (status, accepted.count) == (400, 0)
