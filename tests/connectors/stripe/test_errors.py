"""Failures of Stripe: each is one plain line without the key, and no read hangs or is too fast."""

from __future__ import annotations

import math
import socket
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError
from support.stripe_reading import connected, read
from support.stripe_server import KEY, NOW, FakeStripe, Reply, fake_stripe, refusal

from cdpsync.connector import ReadRequest
from cdpsync.connector.http import rate_limit, retries
from cdpsync.connector.http.rate_limit import RequestLimiter
from cdpsync.errors import ConfigError, ConnectError, RateLimitError, ReadError
from cdpsync.model import Stream
from cdpsync_connectors.stripe import client
from cdpsync_connectors.stripe.connector import StripeConnector
from cdpsync_connectors.stripe.errors import ErrorResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    """An account with a few charges."""
    with fake_stripe() as server:
        for number in range(250):
            server.add("charges", created=NOW - number * 60)
        yield server


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries wait in the same way, but for a shorter time."""
    monkeypatch.setattr(retries, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(retries, "_LONGEST_PAUSE", 0.01)


def at_times(*replies: Reply | None) -> Callable[[str, dict], Reply | None]:
    """Answer the requests of the list with these in turn, then as usual."""
    remaining = list(replies)
    return lambda path, _: remaining.pop(0) if remaining and path == "/v1/charges" else None


def test_check_accepts_a_valid_key(stripe):
    """check() asks for the account: https://docs.stripe.com/api/accounts/retrieve."""
    with connected(stripe) as connector:
        connector.check()
        connector.close()
    assert stripe.requests == {"/v1/account": 1}


def test_error_of_a_refused_key_does_not_contain_the_key(stripe):
    """401: https://docs.stripe.com/api/errors. Stripe shows both ends of the key; we show none."""
    wrong = "sk_live_abcdefghijklmnop"
    with connected(stripe, api_key=wrong) as connector, pytest.raises(ConnectError) as caught:
        connector.discover()
    assert "the API key was refused" in caught.value.message
    assert "revoked" in caught.value.message
    assert "sk_live" not in caught.value.message
    assert "mnop" not in caught.value.message
    assert not caught.value.retryable


def test_key_is_in_no_repr(stripe):
    """The key is hidden in the text of options and connector."""
    with connected(stripe) as connector:
        assert KEY not in repr(connector) + repr(connector._options) + str(vars(connector))


def test_check_accepts_a_key_without_account_access(stripe):
    """A restricted key without access to the account is valid."""
    stripe.on_request = lambda path, _: (
        refusal(403, "The provided key 'rk_live_x' does not have the required permissions")
        if path == "/v1/account"
        else None
    )
    with connected(stripe) as connector:
        connector.check()


def test_error_names_an_account_that_is_not_connected(stripe):
    """`stripe_account` is sent as a header (https://docs.stripe.com/connect/authentication)."""
    stripe.on_request = lambda *_: refusal(403, "No access to account 'acct_9'", "account_invalid")
    with (
        connected(stripe, stripe_account="acct_9") as connector,
        pytest.raises(ReadError, match="acct_9"),
    ):
        connector.check()
    assert stripe.headers[-1]["stripe-account"] == "acct_9"


def test_missing_permission_is_named(stripe):
    """403 names the permission (https://docs.stripe.com/keys); our message has it, too."""
    message = "The provided key 'rk_live_51*****z' lacks 'rak_charge_read'."
    stripe.on_request = at_times(refusal(403, message))
    with pytest.raises(ReadError, match=r"charges: .*rak_charge_read.*enabled: false") as e:
        read(stripe, "charges")
    assert "rk_live" not in e.value.message


def test_error_names_a_version_that_stripe_does_not_know(stripe):
    """Each request has the version as a header: https://docs.stripe.com/api/versioning."""
    with (
        connected(stripe, api_version="1999-01-01") as connector,
        pytest.raises(ConnectError, match=r"1999-01-01.*Set api_version"),
    ):
        connector.check()
    with connected(stripe, api_version="2024-06-20") as connector:
        connector.check()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:{port}", "nothing listens there"),
        ("https://no-such-host.invalid", "the host name is not known"),
        ("{stripe}/somewhere", "Stripe does not answer at this address"),
    ],
)
def test_error_of_a_wrong_address_names_host_port_or_path(stripe, url, message):
    """Each mistake in an address has one line of its own."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = url.format(port=unused.getsockname()[1], stripe=stripe.url)
    with (
        connected(stripe, api_base=address) as connector,
        pytest.raises(ConnectError, match=f"{message}.*Check api_base") as caught,
    ):
        connector.check()
    assert "\n" not in caught.value.message


def test_missing_answer_times_out_and_is_retried(stripe, monkeypatch):
    """A server that does not answer is asked again after the timeout."""
    monkeypatch.setattr(client, "TRIES", 2)
    over = threading.Event()
    stripe.on_request = lambda path, _: over.wait(60) if path == "/v1/charges" else None
    with pytest.raises(ConnectError, match="no answer within the timeout"):
        read(stripe, "charges", options={"timeout": 1})
    over.set()
    assert stripe.requests["/v1/charges"] == 2


@pytest.mark.parametrize(
    "reply",
    [
        refusal(500, "Oops"),
        refusal(503, "Busy", Retry_After="0"),
        Reply(502, b"<html>"),
        refusal(409, "Conflict"),
        refusal(429, "Slow down"),
        refusal(429, "Slow down", Retry_After="0.01"),
        refusal(429, "Locked", "lock_timeout"),
        refusal(429, "Slow", Stripe_Rate_Limited_Reason="global-rate"),
        refusal(429, "Slow", Stripe_Rate_Limited_Reason="endpoint-rate"),
        refusal(402, "Try again", Stripe_Should_Retry="true"),
    ],
    ids=lambda reply: f"{reply.status}",
)
def test_temporary_failure_is_retried(stripe, reply):
    """Every request is a GET, so it may be sent again: https://docs.stripe.com/error-low-level."""
    stripe.on_request = at_times(None, reply, reply)
    assert len(read(stripe, "charges").by_id) == 250


def test_broken_connection_is_retried(stripe):
    """An incomplete answer is requested again."""
    body = b'{"object": "list", "data": [], "has_more": false}'
    stripe.on_request = at_times(Reply(200, body, is_cut=True), None, Reply(200, is_cut=True))
    assert len(read(stripe, "charges").by_id) == 250


def test_lasting_failure_is_a_retryable_error(stripe):
    """A lasting 5xx is an error that may be retried later, and never an endless loop."""
    stripe.on_request = lambda path, _: refusal(503, "Down") if path == "/v1/charges" else None
    with pytest.raises(ReadError, match=r"status 503: Down.*status\.stripe\.com") as caught:
        read(stripe, "charges")
    assert caught.value.retryable
    assert stripe.requests["/v1/charges"] == 6


def test_lasting_limit_is_an_error_that_names_max_rate(stripe):
    """A lasting 429: https://docs.stripe.com/rate-limits."""
    stripe.on_request = lambda path, _: refusal(429, "Slow") if path == "/v1/charges" else None
    with pytest.raises(RateLimitError, match="Set a lower max_rate"):
        read(stripe, "charges")


def test_advice_not_to_retry_is_followed(stripe):
    """`Stripe-Should-Retry: false`: https://docs.stripe.com/error-low-level."""
    stripe.on_request = at_times(refusal(500, "Never", Stripe_Should_Retry="false"))
    with pytest.raises(ReadError, match="Never"):
        read(stripe, "charges")
    assert stripe.requests["/v1/charges"] == 1


def test_refused_parameter_is_an_error(stripe):
    """The error of a 400 for an unknown parameter has Stripe's message."""
    stripe.on_request = at_times(refusal(400, "Received unknown parameter: foo", "x", "foo"))
    with pytest.raises(ReadError, match="unknown parameter: foo"):
        read(stripe, "charges")


def test_error_response_nested_too_deep_is_shown_by_its_beginning():
    """It is treated as any answer that is not Stripe's."""
    response = ErrorResponse.of(500, b"[" * 100_000 + b"]" * 100_000, {})
    assert response.message == f"an answer that is not JSON: '{'[' * 60}'"


@pytest.mark.parametrize("name", ["charges", "customers"])
def test_error_of_a_page_that_is_not_json_has_its_beginning(stripe, name):
    """A proxy may answer with its own login page."""
    stripe.on_request = lambda path, _: (
        Reply(200, b"<!doctype html>") if path == f"/v1/{name}" else None
    )
    with pytest.raises(ReadError, match=rf"stream {name}: /v1/{name}: the answer is not JSON.*doc"):
        read(stripe, name)


def test_read_of_changes_needs_the_servers_clock(stripe):
    """The time of a read is that of Stripe's clock, not of this machine's."""
    stripe.sends_date = False
    with pytest.raises(ReadError, match=r"have no Date header.*full_table"):
        read(stripe, "charges", cursor_field="_updated_at")
    assert len(read(stripe, "charges").rows) == 250


def test_error_of_an_unknown_stream_lists_the_streams(stripe):
    """A stream that Stripe does not have is an error."""
    with (
        connected(stripe) as connector,
        pytest.raises(ReadError, match=r"not a stream of Stripe.*account, balance_transactions"),
        connector.read(ReadRequest(Stream("chrages", "x", ()), ())),
    ):
        pass


def test_other_cursor_is_refused(stripe):
    """Only the field by which Stripe filters the list is a cursor."""
    with pytest.raises(ReadError, match='"amount" is not a cursor of this stream'):
        read(stripe, "charges", cursor_field="amount")


def test_error_of_a_missing_library_has_the_install_command(monkeypatch):
    """The connector can be loaded without Stripe's library, but not used."""
    monkeypatch.setitem(sys.modules, "cdpsync_connectors.stripe.client", None)
    connector = StripeConnector(StripeConnector.Options(api_key=KEY))
    with pytest.raises(ConfigError, match=r"pip install 'cdpsync\[stripe\]'"):
        connector.check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "api_key"),
        ({"api_key": "pk_live_1"}, "publishable"),
        ({"api_key": "sk live"}, "without spaces"),
        ({"api_key": ""}, "write one secret"),
        ({"api_key": KEY, "api_base": "api.stripe.com"}, "write https://host"),
        ({"api_key": KEY, "max_rate": 0}, "max_rate"),
        ({"api_key": KEY, "stripe_account": "me"}, "stripe_account"),
        ({"api_key": KEY, "concurrency": 0}, "concurrency"),
        ({"api_key": KEY, "rate": 5}, "rate"),
        ({"api_key": KEY, "expand": {"price": "tiers"}}, 'did you mean "prices"'),
        ({"api_key": KEY, "expand": {"events": "data"}}, "no fields to expand; There are: charges"),
        ({"api_key": KEY, "expand": {"prices": ["teirs"]}}, 'did you mean "tiers"'),
        ({"api_key": KEY, "expand": {"charges": ["customer"]}}, "There are: refunds"),
    ],
)
def test_wrong_options_are_refused(options, message):
    """Options that cannot work are refused before any request, without the key in the message."""
    with pytest.raises(ValidationError, match=message) as caught:
        StripeConnector.Options(**options)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "rate"),
    [("sk_live_1", 75), ("rk_live_1", 75), ("sk_test_1", 18), ("rk_test_1", 18), ("other", 18)],
)
def test_default_rate_is_a_quarter_below_the_documented_limit(key, rate):
    """100 a second in live mode, 25 in a sandbox: https://docs.stripe.com/rate-limits."""
    assert StripeConnector.Options(api_key=key).rate == rate
    assert StripeConnector.Options(api_key=key, max_rate=5).rate == 5


def test_server_never_receives_more_than_the_rate(stripe, monkeypatch):
    """Many threads stay under max_rate in any second, however they are delayed.

    A loaded machine takes most of a round trip after the request has arrived, as no network does:
    so nothing is concluded here from the length of the trip.
    """
    monkeypatch.setattr(rate_limit, "_SLACK", math.inf)
    for number in range(1000):
        stripe.add("charges", created=NOW - number * 61)
    read(stripe, "charges", options={"max_rate": 15, "concurrency": 30})
    assert len(stripe.arrivals) > 15
    assert stripe.highest_rate() <= 15


def test_slot_is_free_a_second_after_the_server_had_the_request(monkeypatch):
    """That was half of the fastest round trip before the response, but for 20 ms of the machine."""
    now = 100.0
    monkeypatch.setattr(rate_limit, "time", SimpleNamespace(monotonic=lambda: now))
    limiter = RequestLimiter(1, 10)
    for seconds in (0.4, 3.0):
        with limiter.slot("any", lambda: False):
            now += seconds
        received = now - 0.4 / 2 + 0.02
        now = received + 0.999
        assert not limiter.has_capacity()
        now = received + 1.001
        assert limiter.has_capacity()


def test_no_more_than_concurrency_requests_are_in_flight(stripe):
    """All threads of a source together keep to `concurrency`."""
    stripe.seconds = 0.02
    for number in range(3000):
        stripe.add("charges", created=NOW - number * 61)
    read(stripe, "charges", options={"concurrency": 3})
    assert stripe.most_at_once <= 3


def test_limit_of_one_endpoint_does_not_slow_the_others():
    """25 a second at one endpoint (https://docs.stripe.com/rate-limits): after a 429 that endpoint
    gets a rate a quarter below it."""
    limiter = RequestLimiter(1000, 100)
    limiter.limit_endpoint("/v1/charges", 2)
    checks = 0

    def is_stopped() -> bool:
        nonlocal checks
        checks += 1
        return checks > 3

    for _ in range(2):
        with limiter.slot("/v1/charges", lambda: False):
            pass
    with pytest.raises(ReadError, match="stopped"), limiter.slot("/v1/charges", is_stopped):
        pass
    with limiter.slot("/v1/customers", lambda: False):
        pass


def test_global_pause_holds_every_request():
    """Retry-After of a global limit applies to every endpoint."""
    limiter = RequestLimiter(1000, 100)
    limiter.pause(60)
    assert not limiter.has_capacity()
    answers = iter([False, False, True])
    with pytest.raises(ReadError, match="stopped"), limiter.slot("any", lambda: next(answers)):
        pass
