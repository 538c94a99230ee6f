"""Answers that are not the API's own: each is an error, whatever was asked for."""

from __future__ import annotations

import itertools
import os
import re
from typing import TYPE_CHECKING

import pytest
from support.stripe_answers import FOREIGN_ANSWERS
from support.stripe_reading import connected, read
from support.stripe_server import NOW, FakeStripe, fake_stripe

from cdpsync.connector.http import retries
from cdpsync.errors import ConnectError, ReadError
from cdpsync_connectors.stripe import client
from cdpsync_connectors.stripe.streams import STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS = {  # the path, a parameter of it, the stream, and whether its changes are read
    "the account": (r"/v1/account", "", "account", False),
    "a list": (r"/v1/customers", "", "customers", False),
    "a list's next page": (r"/v1/customers", "starting_after", "customers", False),
    "a list without windows": (r"/v1/quotes", "", "quotes", False),
    "the parents of a list": (r"/v1/customers", "", "payment_methods", False),
    "the list of a parent": (r"/v1/customers/\w+/payment_methods", "", "payment_methods", False),
    "the items of a subscription": (r"/v1/subscription_items", "", "subscription_items", False),
    "a list inside an object": (r"/v1/invoices/\w+/lines", "", "invoices", False),
    "the server's time": (r"/v1/events", "limit", "customers", True),
    "events": (r"/v1/events", "types[0]", "customers", True),
    "the created objects": (r"/v1/customers", "created[gte]", "customers", True),
    "an object by its id": (r"/v1/customers/cus_\d+", "", "customers", True),
    "an object without a stub": (r"/v1/charges/ch_\d+", "", "charges", True),
    "the last content": (r"/v1/events/evt_\d+", "", "customers", True),
    "the items of a changed one": (r"/v1/subscription_items", "", "subscription_items", True),
    "an expanded list": (r"/v1/charges", "expand[0]", "charges", False),
    "an expanded object": (r"/v1/charges/ch_\d+", "expand[0]", "charges", True),
    "the parents of inner lists": (r"/v1/customers", "expand[0]", "tax_ids", False),
    "the end of an inner list": (r"/v1/customers/\w+/tax_ids", "", "tax_ids", False),
    "the end of the lines": (r"/v1/invoices/\w+/lines", "", "invoice_line_items", False),
    "the lines of a changed invoice": (r"/v1/invoices/\w+/lines", "", "invoice_line_items", True),
    "a list of all parents": (r"/v1/invoice_payments", "", "invoice_payments", False),
    "a changed parent's part of it": (r"/v1/invoice_payments", "invoice", "invoice_payments", True),
    "the list of a parent and its owner": (
        r"/v1/billing/credit_balance_transactions",
        "customer",
        "credit_balance_transactions",
        False,
    ),
    "the clock of a list": (r"/v1/balance_transactions", "", "balance_transactions", True),
    "what is pending": (r"/v1/balance_transactions", "created[gte]", "balance_transactions", True),
}
STRIDE = 1 if "CDPSYNC_EACH_PAIR" in os.environ else 3  # `make answers` tries each answer
LISTS = {name: stream for name, stream in STREAMS.items() if not stream.is_single}
FEW_THREADS = {"concurrency": 2}  # because most of a small read is the start of its threads
EXPAND = {"expand": {"charges": ["refunds"]}, **FEW_THREADS}


@pytest.fixture
def stripe(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStripe]:
    """An account in which each request of the table above is made."""
    monkeypatch.setattr(client, "TRIES", 2)
    monkeypatch.setattr(retries, "_FIRST_PAUSE", 0.001)
    with fake_stripe() as server:
        _fill(server)
        yield server


def _fill(stripe: FakeStripe) -> None:
    lines = [{"id": f"il_{number}"} for number in range(12)]
    inner = {"object": "list", "data": lines[:10], "has_more": True}
    inner |= {"url": "/v1/invoices/in_00000001/lines"}
    stripe.add("invoices", lines=inner, _lines=lines)
    for number in range(3):
        stripe.add("customers", created=NOW - 86400 - number)
    stripe.add("quotes")
    stripe.add("charges", created=NOW - 86400)
    stripe.add("subscriptions", created=NOW - 86400)
    stripe.add("subscription_items", subscription="sub_00000001")
    stripe.add("payment_methods", customer="cus_00000001")
    for _ in range(12):
        stripe.add("tax_ids", customer="cus_00000001")
    stripe.add("invoice_payments", invoice="in_00000001", created=NOW - 86400)
    stripe.add("billing/credit_grants", customer="cus_00000001")
    stripe.add("balance_transactions", status="pending", available_on=NOW, created=NOW + 600)
    stripe.add("setup_intents", created=NOW - 86400)
    stripe.now += 600
    stripe.change("invoices", "in_00000001", "invoice.updated")
    stripe.change("customers", "cus_00000001", "customer.updated")
    stripe.delete("customers", "cus_00000002", "customer.deleted")
    stripe.change("charges", "ch_00000001", "charge.updated")
    stripe.change("subscriptions", "sub_00000001", "customer.subscription.updated")


@pytest.mark.parametrize("request_", REQUESTS)
def test_answer_that_is_not_the_apis_own_is_an_error(stripe, request_):
    """No read infers from it that an object, or the rest of a list, does not exist.

    Each request gets a third of the answers, the next one another third.
    """
    path, parameter, stream, follows = REQUESTS[request_]
    asked = {"include_deletes": True, "cursor_field": "_updated_at"} if follows else {}
    asked["options"] = EXPAND
    since = NOW + 600 if follows else None
    if parameter == "starting_after":
        for number in range(3, 120):  # more than a page
            stripe.add("customers", created=NOW - 86400 - number)
    read(stripe, stream, since, **asked)
    believed = []
    first = list(REQUESTS).index(request_) % STRIDE
    for kind, reply in itertools.islice(FOREIGN_ANSWERS.items(), first, None, STRIDE):
        replaced = []

        def answer(asked_path, params, reply=reply, replaced=replaced):
            if not re.fullmatch(path, asked_path) or parameter not in {"", *params}:
                return None
            if asked_path == "/v1/account" and not replaced and stream == "account":
                replaced.append("discovery")  # which asks for the account, too
                return None
            replaced.append(asked_path)
            return reply

        stripe.on_request = answer
        try:
            read(stripe, stream, since, **asked)
        except (ReadError, ConnectError):
            pass
        else:
            believed.append(kind)
        assert replaced, "the request was not made"
    assert believed == []


@pytest.mark.parametrize("name", LISTS)
def test_no_stream_believes_an_answer_that_is_not_a_list(stripe, name):
    """Each stream's own list, and that of its parents; the kinds of requests are tested above."""
    stream, parent = LISTS[name], STREAMS.get(LISTS[name].parent or "", LISTS[name])
    asked = parent.path if stream.is_per_parent else stream.path
    for kind in ("a proxy's 404", "a login page", "a list that does not say whether more follow"):
        reply = FOREIGN_ANSWERS[kind]
        stripe.on_request = lambda path, _, reply=reply: reply if path == asked else None
        with pytest.raises(ReadError, match=f"stream {name}: {asked}:"):
            read(stripe, name, options=FEW_THREADS)


@pytest.mark.parametrize("kind", FOREIGN_ANSWERS)
def test_no_list_is_forbidden_because_of_an_answer_that_is_not_stripes_own(stripe, kind):
    """Streams are left out only where Stripe itself says that the key lacks the permission."""
    stripe.key = "rk_live_51TEST"
    stripe.on_request = lambda path, _: None if path == "/v1/account" else FOREIGN_ANSWERS[kind]
    with connected(stripe, api_key=stripe.key) as connector:
        assert {stream.unreadable_reason for stream in connector.discover()} == {None}


@pytest.mark.parametrize("kind", FOREIGN_ANSWERS)
def test_check_refuses_an_answer_that_is_not_the_apis_own(stripe, kind):
    """The error names the address, because something else answers there."""
    stripe.on_request = lambda *_: FOREIGN_ANSWERS[kind]
    with connected(stripe) as connector, pytest.raises(ConnectError, match=stripe.url):
        connector.check()
