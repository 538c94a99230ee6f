"""What goes wrong with Stripe: one good line each, never the key, never stuck, never too fast."""

from __future__ import annotations

import socket
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError
from support.stripe_reading import connected, read
from support.stripe_server import KEY, NOW, FakeStripe, Reply, fake_stripe, refusal

from cdpsync.connector import ReadRequest
from cdpsync.errors import ConfigError, ConnectError, RateLimitError, ReadError
from cdpsync.model import Stream
from cdpsync_connectors.stripe import client
from cdpsync_connectors.stripe.connector import StripeConnector
from cdpsync_connectors.stripe.errors import Refusal
from cdpsync_connectors.stripe.rate_limit import RequestLimiter

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
    """Retries wait as they would, only shorter."""
    monkeypatch.setattr(client, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(client, "_LONGEST_PAUSE", 0.01)


def at_times(*replies: Reply | None) -> Callable[[str, dict], Reply | None]:
    """Answer the lists with these in turn, then as usual."""
    left = list(replies)
    return lambda path, _: left.pop(0) if left and path == "/v1/charges" else None


def test_good_key_checks(stripe):
    """check() asks for the account: https://docs.stripe.com/api/accounts/retrieve."""
    with connected(stripe) as connector:
        connector.check()
        connector.close()
    assert stripe.requests == {"/v1/account": 1}


def test_refused_key_is_told_without_the_key(stripe):
    """401: https://docs.stripe.com/api/errors. Stripe shows the key's ends; we show nothing."""
    wrong = "sk_live_abcdefghijklmnop"
    with connected(stripe, api_key=wrong) as connector, pytest.raises(ConnectError) as caught:
        connector.discover()
    assert "the API key was refused" in caught.value.message
    assert "revoked" in caught.value.message
    assert "sk_live" not in caught.value.message
    assert "mnop" not in caught.value.message
    assert not caught.value.retryable


def test_key_is_in_no_repr(stripe):
    """Whoever prints options or connector sees stars."""
    with connected(stripe) as connector:
        assert KEY not in repr(connector) + repr(connector._options) + str(vars(connector))


def test_restricted_key_checks(stripe):
    """A key that may not see the account is a good key all the same."""
    stripe.on_request = lambda path, _: (
        refusal(403, "The provided key 'rk_live_x' does not have the required permissions")
        if path == "/v1/account"
        else None
    )
    with connected(stripe) as connector:
        connector.check()


def test_account_that_is_not_connected_is_told(stripe):
    """`stripe_account` travels as a header (https://docs.stripe.com/connect/authentication)."""
    stripe.on_request = lambda *_: refusal(403, "No access to account 'acct_9'", "account_invalid")
    with (
        connected(stripe, stripe_account="acct_9") as connector,
        pytest.raises(ReadError, match="acct_9"),
    ):
        connector.check()
    assert stripe.headers[-1]["stripe-account"] == "acct_9"


def test_missing_permission_is_named(stripe):
    """403 names the permission (https://docs.stripe.com/keys); the message keeps it."""
    said = "The provided key 'rk_live_51*****z' lacks 'rak_charge_read'."
    stripe.on_request = at_times(refusal(403, said))
    with pytest.raises(ReadError, match=r"charges: .*rak_charge_read.*enabled: false") as e:
        read(stripe, "charges")
    assert "rk_live" not in e.value.message


def test_version_that_stripe_does_not_know_is_told(stripe):
    """https://docs.stripe.com/api/versioning: the version is a header of each request."""
    with (
        connected(stripe, api_version="1999-01-01") as connector,
        pytest.raises(ConnectError, match=r"1999-01-01.*Set api_version"),
    ):
        connector.check()
    with connected(stripe, api_version="2024-06-20") as connector:
        connector.check()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:{port}", "nothing listens there"),
        ("https://no-such-host.invalid", "the host name is not known"),
        ("{stripe}/somewhere", "no Stripe answers there"),
    ],
)
def test_wrong_address_is_told(stripe, url, said):
    """Host, port and path are each told in one line."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        address = url.format(port=one.getsockname()[1], stripe=stripe.url)
    with (
        connected(stripe, api_base=address) as connector,
        pytest.raises(ConnectError, match=f"{said}.*Check api_base") as caught,
    ):
        connector.check()
    assert "\n" not in caught.value.message


def test_answer_that_does_not_come_is_given_up(stripe, monkeypatch):
    """A server that holds the line is left after the timeout, and tried again."""
    monkeypatch.setattr(client, "_TRIES", 2)
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
def test_failure_that_passes_is_not_noticed(stripe, reply):
    """Every request is a GET, so it may be sent again: https://docs.stripe.com/error-low-level."""
    stripe.on_request = at_times(None, reply, reply)
    assert len(read(stripe, "charges").by_id) == 250


def test_line_that_breaks_is_taken_up_again(stripe):
    """An answer that ends before its end counts as none."""
    body = b'{"object": "list", "data": [], "has_more": false}'
    stripe.on_request = at_times(Reply(200, body, is_cut=True), None, Reply(200, is_cut=True))
    assert len(read(stripe, "charges").by_id) == 250


def test_failure_that_lasts_is_told(stripe):
    """5xx without an end is an error that may be retried later, never a loop."""
    stripe.on_request = lambda path, _: refusal(503, "Down") if path == "/v1/charges" else None
    with pytest.raises(ReadError, match=r"status 503: Down.*status\.stripe\.com") as caught:
        read(stripe, "charges")
    assert caught.value.retryable
    assert stripe.requests["/v1/charges"] == 6


def test_limit_that_lasts_is_told(stripe):
    """429 without an end names max_rate: https://docs.stripe.com/rate-limits."""
    stripe.on_request = lambda path, _: refusal(429, "Slow") if path == "/v1/charges" else None
    with pytest.raises(RateLimitError, match="Set a lower max_rate"):
        read(stripe, "charges")


def test_advice_not_to_retry_is_taken(stripe):
    """`Stripe-Should-Retry: false`: https://docs.stripe.com/error-low-level."""
    stripe.on_request = at_times(refusal(500, "Never", Stripe_Should_Retry="false"))
    with pytest.raises(ReadError, match="Never"):
        read(stripe, "charges")
    assert stripe.requests["/v1/charges"] == 1


def test_unknown_parameter_would_be_refused(stripe):
    """400 for a parameter that the list does not know is told, with Stripe's words."""
    stripe.on_request = at_times(refusal(400, "Received unknown parameter: foo", "x", "foo"))
    with pytest.raises(ReadError, match="unknown parameter: foo"):
        read(stripe, "charges")


def test_refusal_nested_too_deep_is_told_by_its_beginning():
    """As any answer that is not Stripe's."""
    refusal = Refusal.of(500, b"[" * 100_000 + b"]" * 100_000, {})
    assert refusal.message == f"an answer that is not JSON: '{'[' * 60}'"


@pytest.mark.parametrize("name", ["charges", "customers"])
def test_page_that_is_not_json_is_told(stripe, name):
    """A login page of some proxy is shown by its beginning."""
    stripe.on_request = lambda path, _: (
        Reply(200, b"<!doctype html>") if path == f"/v1/{name}" else None
    )
    with pytest.raises(ReadError, match=rf"stream {name}: /v1/{name}: the answer is not JSON.*doc"):
        read(stripe, name)


def test_answers_without_a_clock_cannot_be_followed(stripe):
    """The moment of a read is Stripe's, not this machine's."""
    stripe.sends_date = False
    with pytest.raises(ReadError, match=r"tell no Date.*full_table"):
        read(stripe, "charges", cursor_field="_updated_at")
    assert len(read(stripe, "charges").rows) == 250


def test_unknown_stream_lists_the_known(stripe):
    """A table that Stripe has not got is an error with those that it has."""
    with (
        connected(stripe) as connector,
        pytest.raises(ReadError, match=r"not one of Stripe's.*account, balance_transactions"),
        connector.read(ReadRequest(Stream("chrages", "x", ()), ())),
    ):
        pass


def test_other_cursor_is_refused(stripe):
    """Only what Stripe's list can be filtered by is a cursor."""
    with pytest.raises(ReadError, match='"amount" is no cursor of it'):
        read(stripe, "charges", cursor_field="amount")


def test_missing_library_names_the_install(monkeypatch):
    """A user who lacks the library gets the one command."""
    monkeypatch.setitem(sys.modules, "cdpsync_connectors.stripe.client", None)
    connector = StripeConnector(StripeConnector.Options(api_key=KEY))
    with pytest.raises(ConfigError, match=r"pip install 'cdpsync\[stripe\]'"):
        connector.check()


@pytest.mark.parametrize(
    ("options", "said"),
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
    ],
)
def test_wrong_options_are_refused(options, said):
    """What can't work is told before anything is asked; the key is in no message."""
    with pytest.raises(ValidationError, match=said) as caught:
        StripeConnector.Options(**options)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "rate"),
    [("sk_live_1", 75), ("rk_live_1", 75), ("sk_test_1", 18), ("rk_test_1", 18), ("other", 18)],
)
def test_default_rate_is_a_quarter_below_the_documented(key, rate):
    """100 a second in live mode, 25 in a sandbox: https://docs.stripe.com/rate-limits."""
    assert StripeConnector.Options(api_key=key).rate == rate
    assert StripeConnector.Options(api_key=key, max_rate=5).rate == 5


def test_server_never_sees_more_than_the_rate(stripe):
    """Many threads, however they are delayed, stay under max_rate in any second."""
    for number in range(1000):
        stripe.add("charges", created=NOW - number * 61)
    read(stripe, "charges", options={"max_rate": 15, "concurrency": 30})
    assert len(stripe.arrivals) > 15
    assert stripe.highest_rate() <= 15


def test_no_more_than_concurrency_requests_are_under_way(stripe):
    """A limit on requests at once holds for all threads of a source."""
    stripe.seconds = 0.02
    for number in range(3000):
        stripe.add("charges", created=NOW - number * 61)
    read(stripe, "charges", options={"concurrency": 3})
    assert stripe.most_at_once <= 3


def test_limited_endpoint_is_slowed_alone():
    """25 a second at one endpoint (https://docs.stripe.com/rate-limits): after a 429 that one is
    kept a quarter below, the others are not."""
    pace = RequestLimiter(1000, 100)
    pace.slow("/v1/charges", 2)
    asked: list[str] = []

    def is_stopped() -> bool:
        asked.append("again")
        return len(asked) > 3

    for _ in range(2):
        with pace.turn("/v1/charges", lambda: False):
            pass
    with pytest.raises(ReadError, match="stopped"), pace.turn("/v1/charges", is_stopped):
        pass
    with pace.turn("/v1/customers", lambda: False):
        pass


def test_pause_holds_every_request():
    """Retry-After of a limit on everything stops everything."""
    pace = RequestLimiter(1000, 100)
    pace.rest(60)
    assert not pace.has_room()
    answers = iter([False, False, True])
    with pytest.raises(ReadError, match="stopped"), pace.turn("any", lambda: next(answers)):
        pass
