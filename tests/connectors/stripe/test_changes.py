"""Reads of changes by Stripe's events: created, changed and deleted objects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.stripe_reading import fill, read, seconds
from support.stripe_server import NOW, FakeStripe, fake_stripe, refusal

from cdpsync.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    """An empty account whose clock stands still."""
    with fake_stripe() as server:
        yield server


def changes(stripe: FakeStripe, stream: str, since: int, **request_fields):
    return read(stripe, stream, since, cursor_field="_updated_at", **request_fields)


def test_start_date_applies_to_changes(stripe):
    """An object that was excluded stays excluded when it changes."""
    stripe.add("customers", created=NOW - 90 * 86400)
    stripe.add("customers", created=NOW - 86400)
    stripe.now += 600
    for id_ in ("cus_00000001", "cus_00000002"):
        stripe.change("customers", id_, "customer.updated")
    result = changes(stripe, "customers", NOW + 600, options={"start_date": "2026-09-01"})
    assert [row["id"] for row in result.rows] == ["cus_00000002"]


def test_cursor_of_a_first_read_is_where_changes_begin(stripe):
    """Cursor and rows have the time before the read, less time for late events; a newer row has
    its own time."""
    fill(stripe, "customers", 4, step=200)
    result = read(stripe, "customers", cursor_field="_updated_at")
    assert int(result.cursor.value.timestamp()) == NOW - 300
    assert [NOW - seconds(row["_updated_at"]) for row in result.rows] == [0, 200, 300, 300]


def test_changed_objects_are_fetched_by_id(stripe):
    """An event has an old version of the object: https://docs.stripe.com/api/events."""
    fill(stripe, "customers", 50)
    stripe.now += 600
    stripe.change("customers", "cus_00000009", "customer.updated", amount=1)
    stripe.change("customers", "cus_00000009", amount=2)  # after the event was written
    stripe.now += 600
    result = changes(stripe, "customers", NOW + 600)
    (row,) = result.rows
    assert (row["id"], row["amount"], seconds(row["_updated_at"])) == (
        "cus_00000009",
        "2",
        NOW + 600,
    )
    assert int(result.cursor.value.timestamp()) == NOW + 1200 - 300


def test_cursor_advances_without_events(stripe):
    """Otherwise a table without changes would be read from an ever older time."""
    result = changes(stripe, "customers", NOW - 86400)
    assert result.rows == []
    assert int(result.cursor.value.timestamp()) == NOW - 300


def test_key_without_access_to_events_fails_before_the_first_read(stripe):
    """Changes need the permission to read events, so it is checked at once."""
    stripe.on_request = lambda path, _: (
        refusal(403, "Having the 'rak_event_read' permission would allow this.")
        if path == "/v1/events"
        else None
    )
    with pytest.raises(ReadError, match=r"stream customers: /v1/events: .*rak_event_read"):
        read(stripe, "customers", cursor_field="_updated_at")
    assert stripe.requests["/v1/customers"] == 0


def test_many_changes_are_read_in_pages_and_once(stripe):
    """The list of events has pages; an object with several events is fetched once."""
    fill(stripe, "customers", 150)
    stripe.now += 600
    for number in range(1, 121):
        for _ in range(3):
            stripe.change("customers", f"cus_{number:08d}", "customer.updated", amount=-number)
    result = changes(stripe, "customers", NOW + 600).by_id
    assert {row["amount"] for row in result.values()} == {str(-n) for n in range(1, 121)}
    assert stripe.requests["/v1/customers/cus_00000001"] == 1


def test_created_objects_are_read_without_an_event(stripe):
    """An open checkout session has no event yet (docs.stripe.com/api/events/types), so created
    objects are read from the list."""
    stripe.add("checkout/sessions", created=NOW - 86400, status="open")
    stripe.now += 600
    stripe.add("checkout/sessions", status="open")
    result = changes(stripe, "checkout_sessions", NOW + 600)
    assert [row["id"] for row in result.rows] == ["cs_00000002"]


def test_deleted_objects_have_their_last_content(stripe):
    """A `*.deleted` event has the object; by its id there is only a stub `deleted: true`."""
    fill(stripe, "customers", 5, email="a@b")
    stripe.now += 600
    stripe.delete("customers", "cus_00000002", "customer.deleted")
    (row,) = changes(stripe, "customers", NOW + 600, include_deletes=True).rows
    assert (row["id"], row["email"], seconds(row["_deleted_at"])) == (
        "cus_00000002",
        "a@b",
        NOW + 600,
    )
    assert changes(stripe, "customers", NOW + 600).rows == []


def test_object_that_is_missing_is_deleted_if_an_event_says_so(stripe):
    """`resource_missing` and a deletion event prove it together; the event may come while the
    objects are fetched, or not at all (https://docs.stripe.com/api/errors)."""
    fill(stripe, "invoices", 2)
    stripe.now += 600
    stripe.change("invoices", "in_00000002", "invoice.updated", total=5)

    def delete(path: str, _: dict) -> None:
        if path == "/v1/invoices/in_00000002" and "in_00000002" in stripe.rows("invoices"):
            stripe.delete("invoices", "in_00000002", "invoice.deleted")

    stripe.on_request = delete
    (row,) = changes(stripe, "invoices", NOW + 600, include_deletes=True).rows
    assert (row["id"], row["total"], row["_deleted_at"] is None) == ("in_00000002", "5", False)
    stripe.now += 600
    stripe.change("invoices", "in_00000001", "invoice.updated", total=6)
    stripe.delete("invoices", "in_00000001")
    with pytest.raises(ReadError, match=r"in_00000001: not found: .*No event says") as caught:
        changes(stripe, "invoices", NOW + 1200, include_deletes=True)
    assert caught.value.retryable


def test_object_that_only_another_objects_event_names_may_be_missing(stripe):
    """A discount ends after its coupon was deleted: the coupon's own event has told its end."""
    stripe.add("coupons", id="OLD")
    stripe.delete("coupons", "OLD")
    stripe.deleted["coupons"].clear()  # without its stub
    stripe.now += 600
    stripe.event("customer.discount.deleted", {"id": "di_1", "coupon": {"id": "OLD"}})
    assert changes(stripe, "coupons", NOW + 600, include_deletes=True).rows == []


CHOSEN_IDS = ("WIN#1", "why?", "50%OFF", "50%20OFF", "Pro plan $699/month", "a/../b", "ü€&x=1")


@pytest.mark.parametrize("name", ["coupons", "plans", "products"])
def test_ids_that_merchants_choose_are_quoted(stripe, name):
    """An id is one part of a path, whatever characters it has: RFC 3986, section 3.3."""
    for id_ in CHOSEN_IDS:
        stripe.add(name, id=id_, created=NOW - 86400)
    stripe.now += 600
    for number, id_ in enumerate(CHOSEN_IDS):
        stripe.change(name, id_, f"{name.removesuffix('s')}.updated", amount=number)
    rows = changes(stripe, name, NOW + 600, include_deletes=True).by_id
    amounts = {id_: (str(number), None) for number, id_ in enumerate(CHOSEN_IDS)}
    assert {i: (row["amount"], row["_deleted_at"]) for i, row in rows.items()} == amounts
    stripe.change(name, "WIN#1", f"{name.removesuffix('s')}.updated", amount=9)
    stripe.add(name, id="..", created=NOW - 86400)
    stripe.change(name, "..", f"{name.removesuffix('s')}.updated")
    with pytest.raises(ReadError, match=r"the object with the id '\.\.' cannot be asked for"):
        changes(stripe, name, NOW + 600)


def test_ids_of_parents_are_quoted(stripe):
    """Old customers have ids of the merchant's choice, too, in the lists inside them as well."""
    sources = [{"id": f"card_{number:02d}"} for number in range(15)]
    for number, id_ in enumerate(CHOSEN_IDS):
        path = f"/v1/customers/{id_}/sources"
        cut = {"object": "list", "data": sources[:10], "has_more": True, "url": path}
        stripe.add("customers", id=id_, created=NOW - number, sources=cut, _sources=sources)
        stripe.add("payment_methods", customer=id_)
    assert len(read(stripe, "payment_methods").rows) == len(CHOSEN_IDS)
    stripe.change("customers", "a/../b", sources=None)  # a slash in a URL that is not quoted
    stripe.change("customers", "Pro plan $699/month", sources=None)
    stripe.change("customers", "50%20OFF", sources=None)
    rows = read(stripe, "customers", options={"expand": {"customers": "sources"}}).by_id
    assert {len(json.loads(row["sources"])["data"]) for row in rows.values() if row["sources"]} == {
        15
    }


def test_lists_inside_objects_are_found_at_urls_with_parameters(stripe):
    """Items are at `/v1/subscription_items?subscription=…`: docs.stripe.com/api/subscriptions."""
    url = "/v1/subscription_items?subscription=sub_00000001"
    for _ in range(15):
        stripe.add("subscription_items", subscription="sub_00000001")
    items = list(stripe.rows("subscription_items").values())[::-1]
    cut = {"object": "list", "data": items[:10], "has_more": True, "url": url}
    stripe.add("subscriptions", items=cut)
    (row,) = read(stripe, "subscriptions").rows
    assert [item["id"] for item in json.loads(row["items"])["data"]] == [i["id"] for i in items]


def test_object_created_again_under_its_id_is_not_deleted(stripe):
    """Users choose the ids of coupons, so an id may be used again."""
    stripe.add("coupons", id="SUMMER", created=NOW - 86400)
    stripe.now += 600
    stripe.delete("coupons", "SUMMER", "coupon.deleted")
    stripe.add("coupons", id="SUMMER", event="coupon.created", name="again")
    (row,) = changes(stripe, "coupons", NOW + 600, include_deletes=True).rows
    assert (row["name"], row["_deleted_at"]) == ("again", None)


def test_canceled_subscription_is_not_deleted(stripe):
    """`customer.subscription.deleted` means canceled; the object stays (docs.stripe.com/billing/
    subscriptions/webhooks)."""
    stripe.add("subscriptions", created=NOW - 86400, status="active")
    stripe.now += 600
    stripe.change(
        "subscriptions", "sub_00000001", "customer.subscription.deleted", status="canceled"
    )
    (row,) = changes(stripe, "subscriptions", NOW + 600, include_deletes=True).rows
    assert (row["status"], row["_deleted_at"]) == ("canceled", None)


def test_events_of_other_objects_name_the_changed_object(stripe):
    """A dispute and a refund name their charge, a discount its customer, a credit note its invoice:
    docs.stripe.com/api/events/types."""
    fill(stripe, "charges", 3)
    fill(stripe, "customers", 3)
    stripe.now += 600
    stripe.change("charges", "ch_00000002", disputed=True)
    stripe.event("charge.dispute.created", {"id": "dp_1", "charge": "ch_00000002"})
    stripe.event("customer.discount.created", {"id": "di_1", "customer": "cus_00000003"})
    stripe.event("customer.discount.created", {"id": "di_2", "customer": None})
    stripe.change("charges", "ch_00000003", amount_refunded=0)
    stripe.event("refund.failed", {"id": "re_1", "charge": "ch_00000003"})
    stripe.event("refund.created", {"id": "re_2", "charge": None})  # of no charge
    stripe.add("invoices", created=NOW - 86400, post_payment_credit_notes_amount=7)
    stripe.event("credit_note.created", {"id": "cn_1", "invoice": "in_00000001"})
    rows = changes(stripe, "charges", NOW + 600).by_id
    (customer,) = changes(stripe, "customers", NOW + 600).rows
    (invoice,) = changes(stripe, "invoices", NOW + 600).rows
    assert rows["ch_00000002"]["disputed"] == "true"
    assert rows["ch_00000003"]["amount_refunded"] == "0"
    assert len(rows) == 2
    assert customer["id"] == "cus_00000003"
    assert invoice["post_payment_credit_notes_amount"] == "7"


def test_events_have_the_version_of_their_time(stripe):
    """The field for a discount's coupon depends on the version: https://docs.stripe.com/changelog."""
    for id_ in ("A", "B", "C"):
        stripe.add("coupons", id=id_, created=NOW - 86400)
    stripe.now += 600
    stripe.event("customer.discount.created", {"id": "di_1", "coupon": {"id": "A"}})
    stripe.event("customer.discount.created", {"id": "di_2", "source": {"coupon": "B"}})
    assert sorted(changes(stripe, "coupons", NOW + 600).by_id) == ["A", "B"]


def test_detached_payment_method_is_deleted(stripe):
    """Without a customer it is in no list: docs.stripe.com/api/payment_methods/detach."""
    fill(stripe, "customers", 1)
    stripe.add("payment_methods", customer="cus_00000001", created=NOW - 1)
    stripe.now += 600
    stripe.change("payment_methods", "pm_00000001", "payment_method.detached", customer=None)
    stripe.add("payment_methods", customer="cus_00000001", event="payment_method.attached")
    rows = changes(stripe, "payment_methods", NOW + 600, include_deletes=True).by_id
    assert rows["pm_00000001"]["_deleted_at"] is not None
    assert rows["pm_00000002"]["_deleted_at"] is None


def test_items_follow_their_subscriptions(stripe):
    """Items have no events; the events of a subscription have its previous items."""
    stripe.add("subscriptions", created=NOW - 86400, status="active")
    for quantity in (1, 2):
        stripe.add("subscription_items", subscription="sub_00000001", quantity=quantity)
    stripe.now += 600
    before = list(stripe.rows("subscription_items").values())
    stripe.delete("subscription_items", "si_00000002")
    stripe.add("subscription_items", subscription="sub_00000001", quantity=3)
    stripe.event(
        "customer.subscription.updated",
        stripe.rows("subscriptions")["sub_00000001"],
        {"items": {"data": before}},
    )
    rows = changes(stripe, "subscription_items", NOW + 600, include_deletes=True).by_id
    assert {i: (row["quantity"], row["_deleted_at"] is None) for i, row in rows.items()} == {
        "si_00000001": ("1", True),
        "si_00000002": ("2", False),
        "si_00000003": ("3", True),
    }


def test_late_event_is_read_by_the_next_run(stripe):
    """The next read begins earlier than the last one ended, by more than an event may be late."""
    fill(stripe, "customers", 5)
    stripe.now += 600
    stripe.events_hidden_after = stripe.now - 60
    stripe.change("customers", "cus_00000002", "customer.updated", amount=9)
    result = changes(stripe, "customers", NOW + 300)
    assert result.rows == []
    stripe.events_hidden_after = stripe.now
    stripe.now += 30
    since = int(result.cursor.value.timestamp())
    assert [row["amount"] for row in changes(stripe, "customers", since).rows] == ["9"]


def test_cursor_older_than_the_events_is_refused(stripe):
    """Stripe keeps events for 30 days: https://docs.stripe.com/api/events/list."""
    with pytest.raises(ReadError, match="keeps events for 30 days"):
        changes(stripe, "customers", NOW - 31 * 86400)


@pytest.mark.parametrize(
    ("stream", "advice"),
    [
        ("shipping_rates", "append_only with cursor_field: created"),
        ("invoice_items", "append_only with cursor_field: date"),
        ("events", "append_only with cursor_field: created"),
        ("account", "full_table"),
    ],
)
def test_stream_without_events_cannot_be_followed(stripe, stream, advice):
    """The error of a stream without events names the modes that miss no change."""
    with pytest.raises(ReadError, match=f"stream {stream}: incremental cannot.*{advice}"):
        read(stripe, stream, cursor_field="_updated_at")


def test_objects_of_test_clocks_are_in_no_read(stripe):
    """Lists leave them out and events do not, so changes of them are left out, too."""
    clock = {"test_clock": "clock_1", "livemode": False}
    for fields in ({"test_clock": None, "livemode": False}, clock):
        customer = stripe.add("customers", **fields)["id"]
        stripe.add("quotes", customer=customer, **fields)
        subscription = stripe.add("subscriptions", customer=customer, **fields)["id"]
        stripe.add("payment_methods", customer=customer, livemode=False)
        stripe.add("subscription_items", subscription=subscription, livemode=False)
        stripe.add("entitlements/active_entitlements", _customer=customer, livemode=False)
    stripe.now += 600
    for number in (1, 2):
        stripe.change("customers", f"cus_{number:08d}", "customer.updated", name="new")
        stripe.change("quotes", f"qt_{number:08d}", "quote.accepted", status="accepted")
        stripe.change("subscriptions", f"sub_{number:08d}", "customer.subscription.updated", a=1)
        stripe.change("payment_methods", f"pm_{number:08d}", "payment_method.updated", b=1)
        summary = {"customer": f"cus_{number:08d}", "livemode": False}
        stripe.event("entitlements.active_entitlement_summary.updated", summary)
        deleted = stripe.add("customers", **{**clock, "test_clock": f"clock_{number}"})["id"]
        stripe.delete("customers", deleted, "customer.deleted")
    per_parent = ("payment_methods", "subscription_items", "active_entitlements")
    for stream in ("customers", "quotes", "subscriptions", *per_parent):
        changed = changes(stripe, stream, NOW + 600, include_deletes=True)
        ids = [row["id"] for row in changed.rows]
        assert len(ids) == 1, stream
        assert ids == [row["id"] for row in read(stripe, stream).rows]
