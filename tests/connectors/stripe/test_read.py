"""Reads of Stripe's lists: every object once, whatever changes meanwhile."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.stripe_reading import HOUR, fill, read, same, seconds
from support.stripe_server import NOW, FakeStripe, Reply, fake_stripe, refusal

from cdpsync.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    """An empty account whose clock stands still."""
    with fake_stripe() as server:
        yield server


def has_all_objects(stripe: FakeStripe, name: str, rows: dict) -> bool:
    """Whether the rows are the account's objects with their current values."""
    objects = stripe.rows(name)
    return rows.keys() == objects.keys() and all(same(rows[i], objects[i]) for i in objects)


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 1234])
def test_each_object_is_read_once(stripe, count):
    """Pages hold 1 to 100 objects, newest first: https://docs.stripe.com/api/pagination."""
    fill(stripe, "charges", count, metadata={"a": "1"}, paid=True, customer=None)
    assert has_all_objects(stripe, "charges", read(stripe, "charges").by_id)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([0, 1, 7, 86400, 10**7, 10**9]), max_size=12), st.integers(1, 60))
def test_objects_may_be_created_at_any_times(gaps, burst):
    """Bursts within a second, empty years, times before Stripe's first day: each is read once."""
    with fake_stripe() as stripe:
        moment = NOW
        for gap in gaps:
            moment = max(moment - gap, 1)
            for _ in range(burst):
                stripe.add("charges", created=moment)
        assert has_all_objects(stripe, "charges", read(stripe, "charges").by_id)


def test_windows_are_read_at_once(stripe):
    """A large list is read by several threads, each in windows of its own."""
    fill(stripe, "charges", 4000)
    together = threading.Event()

    def wait_for_others(_: str, params: dict) -> None:
        if stripe.most_at_once > 4:
            together.set()
        if "created[lt]" in params:
            together.wait(30)

    stripe.on_request = wait_for_others
    assert has_all_objects(stripe, "charges", read(stripe, "charges").by_id)
    assert together.is_set()
    assert stripe.requests["/v1/charges"] < 40 * 5


def test_start_date_excludes_older_objects(stripe):
    """`created[gte]` filters a list: https://docs.stripe.com/api/charges/list."""
    fill(stripe, "charges", 500, step=86400)
    result = read(stripe, "charges", options={"start_date": "2026-09-01"})
    assert {seconds(row["created"]) for row in result.rows} == {
        NOW - n * 86400 for n in range(500) if NOW - n * 86400 >= 1_788_220_800
    }


def test_list_in_another_order_is_read_once_too(stripe):
    """Windows depend on the filters, not on the order within a page."""
    fill(stripe, "charges", 2000)
    usual = sorted(stripe.rows("charges").values(), key=lambda charge: -charge["created"])
    shuffled = sorted(usual, key=lambda c: (c["created"] // (50 * HOUR), c["id"]))[::-1]
    stripe._sorted["charges"] = shuffled
    assert has_all_objects(stripe, "charges", read(stripe, "charges").by_id)


def test_objects_created_meanwhile_wait_for_the_next_run(stripe):
    """Objects newer than the first page do not shift the pages, and are left to the next run."""
    fill(stripe, "charges", 1000)
    first = set(stripe.rows("charges"))

    def create(path: str, _: dict) -> None:
        if path == "/v1/charges":
            stripe.add("charges", created=NOW + 1)

    stripe.on_request = create
    ids = set(read(stripe, "charges").by_id)
    assert first <= ids
    stripe.on_request = lambda *_: None
    newer = set(read(stripe, "charges", NOW, cursor_field="created").by_id)
    assert ids | newer == set(stripe.rows("charges"))


@pytest.mark.parametrize("name", ["charges", "quotes"])
def test_last_object_of_a_page_may_be_deleted(stripe, name):
    """Stripe refuses `starting_after` a deleted object, so the object before it is named."""
    fill(stripe, name, 350)
    deleted_ids: list[str] = []

    def delete(_: str, params: dict) -> None:
        last_id = params.get("starting_after")
        if last_id and len(deleted_ids) < 3:
            stripe.delete(name, last_id)
            deleted_ids.append(last_id)

    stripe.on_request = delete
    ids = set(read(stripe, name).by_id)
    assert len(deleted_ids) == 3
    assert set(stripe.rows(name)) <= ids <= set(stripe.rows(name)) | set(deleted_ids)


def test_payment_methods_are_read_per_customer(stripe):
    """https://docs.stripe.com/api/payment_methods/customer_list."""
    fill(stripe, "customers", 150)
    for number in range(1, 151):
        for _ in range(number % 3):
            stripe.add("payment_methods", customer=f"cus_{number:08d}", card={"brand": "visa"})
    assert has_all_objects(stripe, "payment_methods", read(stripe, "payment_methods").by_id)


def test_customer_that_is_deleted_meanwhile_has_no_payment_methods(stripe):
    """The list of a deleted customer is empty, not an error."""
    fill(stripe, "customers", 5)
    stripe.add("payment_methods", customer="cus_00000001")

    def delete(path: str, _: dict) -> None:
        if "cus_00000003/" in path and "cus_00000003" in stripe.rows("customers"):
            stripe.delete("customers", "cus_00000003")

    stripe.on_request = delete
    assert len(read(stripe, "payment_methods").rows) == 1


def test_subscription_items_are_read_per_subscription(stripe):
    """`subscription` is required (https://docs.stripe.com/api/subscription_items/list), and
    `status=all` lists canceled ones too (https://docs.stripe.com/api/subscriptions/list)."""
    for number in range(1, 31):
        status = "canceled" if number % 2 else "active"
        stripe.add("subscriptions", created=NOW - number, status=status)
        stripe.add("subscription_items", subscription=f"sub_{number:08d}", quantity=number)
    assert has_all_objects(stripe, "subscription_items", read(stripe, "subscription_items").by_id)
    assert len(read(stripe, "subscriptions").rows) == 30


def test_account_is_a_single_object(stripe):
    """https://docs.stripe.com/api/accounts/retrieve."""
    assert [row["id"] for row in read(stripe, "account").rows] == ["acct_1"]


def test_lists_inside_objects_are_expanded(stripe):
    """An invoice has its first lines and a url: https://docs.stripe.com/api/invoices/object."""
    lines = [{"id": f"il_{n:03d}", "amount": n, "rate": 1.5} for n in range(250)]
    path = "/v1/invoices/in_00000001/lines"
    cut = {"object": "list", "data": lines[:10], "has_more": True, "url": path}
    stripe.add("invoices", lines=cut, _lines=lines)
    (row,) = read(stripe, "invoices").rows
    assert same(row, {"lines": {**cut, "data": lines, "has_more": False}})


def test_invoice_that_is_deleted_while_its_lines_are_read_is_left_out(stripe):
    """Only drafts can be deleted (docs.stripe.com/api/invoices/delete). A list that is refused
    while its invoice lives is an error."""
    lines = [{"id": f"il_{n:03d}"} for n in range(15)]
    for number in range(1, 4):
        path = f"/v1/invoices/in_{number:08d}/lines"
        cut = {"object": "list", "data": lines[:10], "has_more": True, "url": path}
        stripe.add("invoices", lines=cut, _lines=lines)

    def delete(path: str, _: dict) -> None:
        if path == "/v1/invoices/in_00000002/lines" and "in_00000002" in stripe.rows("invoices"):
            stripe.delete("invoices", "in_00000002")

    stripe.on_request = delete
    assert sorted(read(stripe, "invoices").by_id) == ["in_00000001", "in_00000003"]
    for param in ("invoice", ""):
        stripe.on_request = lambda path, _, param=param: (
            refusal(404, "No such invoice", "resource_missing", param)
            if path == "/v1/invoices/in_00000003/lines"
            else None
        )
        with pytest.raises(ReadError, match="/v1/invoices/in_00000003/lines"):
            read(stripe, "invoices")


def test_invoice_items_are_created_at_their_date(stripe):
    """The list is filtered by `created`, but the object has `date`."""
    for number in range(300):
        stripe.add("invoiceitems", date=NOW - number * HOUR)
    result = read(stripe, "invoice_items")
    assert len(result.by_id) == 300
    assert len(read(stripe, "invoice_items", NOW - 5 * HOUR, cursor_field="date").rows) == 6


def test_created_since_includes_the_boundary(stripe):
    """A second that was read in part is read again as a whole."""
    fill(stripe, "charges", 10)
    result = read(stripe, "charges", NOW - 3 * HOUR, cursor_field="created")
    assert sorted(int(row["amount"]) for row in result.rows) == [0, 1, 2, 3]


def test_object_without_id_is_refused(stripe):
    """An object without an id cannot be distinguished from others."""
    stripe.on_request = lambda path, _: (
        Reply(
            body={"object": "list", "data": [{"object": "charge", "created": 1}], "has_more": False}
        )
        if path == "/v1/charges"
        else None
    )
    with pytest.raises(ReadError, match="stream charges: /v1/charges: an object came without its"):
        read(stripe, "charges")


def test_field_of_two_types_becomes_json(stripe):
    """No value is lost, and the run's record has a notice."""
    fill(stripe, "charges", 250)
    stripe.change("charges", "ch_00000200", amount={"value": 5})
    result = read(stripe, "charges")
    assert result.types["amount"] == "JSON"
    (notice,) = result.notices
    assert notice.startswith('column "amount" holds numbers and objects or arrays, but')
    assert result.by_id["ch_00000200"]["amount"] == '{"value":5}'


def test_decimals_are_exact(stripe):
    """A tax rate of 8.875 % and an exchange rate do not pass through a float."""
    body = (
        b'{"object": "list", "has_more": false, "data": [{"id": "txr_1", "created": 1,'
        b' "percentage": 8.875, "x": 1.1234567890123456789, "m": {"n": 1.10}}]}'
    )
    stripe.on_request = lambda path, _: Reply(body=body) if path == "/v1/tax_rates" else None
    (row,) = read(stripe, "tax_rates").rows
    assert (row["percentage"], row["x"], row["m"]) == (
        "8.875",
        "1.1234567890123456789",
        '{"n":1.10}',
    )


def test_stopped_read_ends(stripe):
    """An interrupted run sends no further requests."""
    fill(stripe, "charges", 1000)
    with pytest.raises(ReadError, match="stopped"):
        read(stripe, "charges", is_stopped=lambda: stripe.requests["/v1/charges"] > 2)


def test_error_of_one_thread_ends_the_others_and_is_raised(stripe):
    """The table's error is the first real one, not the stop that it causes in other threads."""
    stripe.seconds = 0.01
    fill(stripe, "charges", 3000)
    stripe.on_request = lambda _, params: (
        refusal(402, "No more") if "created[lt]" in params else None
    )
    with pytest.raises(ReadError, match="No more"):
        read(stripe, "charges")


def test_progress_counts_the_fetched_rows(stripe):
    """Progress is reported while objects are fetched."""
    fill(stripe, "charges", 250)
    counts: list[int] = []
    read(stripe, "charges", on_progress=counts.append)
    assert max(counts) == 250
