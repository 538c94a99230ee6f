"""Streams with rules of their own: lists of parents, and objects that settle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.stripe_reading import at, fill, read, same, seconds
from support.stripe_server import NOW, FakeStripe, fake_stripe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.stripe_reading import Read

DAY = 86400


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    """An empty account whose clock stands still."""
    with fake_stripe() as server:
        yield server


def changes(stripe: FakeStripe, name: str, since: int | None, **asked: Any) -> Read:
    return read(stripe, name, since, cursor_field="_updated_at", **asked)


def transaction(stripe: FakeStripe, age: int, status: str = "available") -> str:
    """Add a balance transaction of this age in days, which becomes available after two."""
    created = NOW - age * DAY
    fields = {"created": created, "status": status, "available_on": created + 2 * DAY}
    return str(stripe.add("balance_transactions", **fields)["id"])


def test_balance_transactions_are_read_until_they_are_available(stripe):
    """`status` changes without an event (docs.stripe.com/api/balance_transactions/object), so the
    next read begins at the oldest one that is pending, however old that is."""
    for age in (300, 2, 1):
        transaction(stripe, age, "available")
    slow, late = transaction(stripe, 200, "pending"), transaction(stripe, 0, "pending")
    first = changes(stripe, "balance_transactions", None)
    assert len(first.rows) == 5
    assert first.cursor == at(NOW - 200 * DAY)
    stripe.now += 3 * DAY
    stripe.change("balance_transactions", late, status="available")
    second = changes(stripe, "balance_transactions", NOW - 200 * DAY)
    assert second.by_id[late]["status"] == "available"
    assert len(second.rows) == 4
    assert second.cursor == first.cursor
    stripe.change("balance_transactions", slow, status="available")
    third = changes(stripe, "balance_transactions", NOW - 200 * DAY)
    assert third.by_id[slow]["status"] == "available"
    assert third.cursor == at(stripe.now - 300)


def test_time_of_a_balance_transaction_is_that_of_its_status(stripe):
    """So rows are new where the status is, and unchanged rows are recognized."""
    pending, available = transaction(stripe, 1, "pending"), transaction(stripe, 9)
    rows = changes(stripe, "balance_transactions", None).by_id
    assert seconds(rows[pending]["_updated_at"]) == NOW - DAY
    assert seconds(rows[available]["_updated_at"]) == NOW - 7 * DAY


def test_balance_transactions_keep_to_the_start_date(stripe):
    """A pending transaction that was created before it does not hold the cursor."""
    transaction(stripe, 400, "pending")
    recent = transaction(stripe, 1)
    options = {"start_date": "2026-01-01"}
    result = changes(stripe, "balance_transactions", None, options=options)
    assert [row["id"] for row in result.rows] == [recent]
    assert result.cursor == at(NOW - 300)


def line(number: int, amount: int = 0) -> dict[str, Any]:
    return {"id": f"il_{number:03}", "object": "line_item", "amount": amount}


def add_invoice(stripe: FakeStripe, numbers: range) -> str:
    """Add an invoice with these lines, of which the object itself has ten at most."""
    lines = [line(number) for number in numbers]
    id_ = str(stripe.add("invoices", created=NOW - DAY)["id"])
    change_lines(stripe, id_, lines)
    return id_


def change_lines(stripe: FakeStripe, id_: str, lines: list[dict[str, Any]]) -> None:
    for one in lines:
        one["invoice"] = id_
    inner = {"object": "list", "data": lines[:10], "has_more": len(lines) > 10}
    inner |= {"url": f"/v1/invoices/{id_}/lines"}
    stripe.change("invoices", id_, lines=inner, _lines=lines)


def test_lines_of_invoices_are_rows(stripe):
    """A first read takes them from the list of invoices, and asks for those beyond the tenth."""
    add_invoice(stripe, range(25))
    add_invoice(stripe, range(100, 103))
    add_invoice(stripe, range(0))
    rows = read(stripe, "invoice_line_items").by_id
    assert sorted(rows) == [f"il_{n:03}" for n in (*range(25), *range(100, 103))]
    assert rows["il_024"]["invoice"] == "in_00000001"
    assert sum(n for path, n in stripe.requests.items() if path.endswith("/lines")) == 1


def test_changed_lines_are_read_with_their_invoice(stripe):
    """Events of an invoice report changes of its lines; a deleted draft has none."""
    changed, untouched = add_invoice(stripe, range(2)), add_invoice(stripe, range(10, 12))
    draft = add_invoice(stripe, range(20, 22))
    stripe.now += 600
    change_lines(stripe, changed, [line(1, 5), *(line(number) for number in range(30, 45))])
    stripe.change("invoices", changed, "invoice.updated")
    stripe.delete("invoices", draft, "invoice.deleted")
    rows = changes(stripe, "invoice_line_items", NOW + 600).by_id
    assert sorted(rows) == ["il_001", *(f"il_{number:03}" for number in range(30, 45))]
    assert rows["il_001"]["amount"] == "5"
    assert f"/v1/invoices/{untouched}/lines" not in stripe.requests


def test_invoice_without_its_lines_is_refused(stripe):
    """Lines are not absent because an answer lacks them."""
    stripe.add("invoices")
    with pytest.raises(Exception, match="came without its list lines"):
        read(stripe, "invoice_line_items")


CHILDREN = {  # stream, its list, the parents' list, and the event of a parent or of the object
    "customer_balance_transactions": ("customers", "customer", "customer.updated"),
    "setup_attempts": ("setup_intents", "setup_intent", "setup_intent.succeeded"),
    "invoice_payments": ("invoices", "invoice", "invoice.voided"),
}


@pytest.mark.parametrize("name", CHILDREN)
def test_lists_of_parents_are_read_when_a_parent_changes(stripe, name):
    """Their objects have no events of their own, or not for every change."""
    parents, field, event = CHILDREN[name]
    ids = [str(stripe.add(parents, created=NOW - DAY - n)["id"]) for n in range(3)]
    for id_ in ids:
        for _ in range(2):
            stripe.add(name, **{field: id_, "created": NOW - DAY})
    first = changes(stripe, name, None).by_id
    assert all(same(first[id_], object_) for id_, object_ in stripe.rows(name).items())
    stripe.now += 600
    child = next(id_ for id_, o in stripe.rows(name).items() if o[field] == ids[1])
    stripe.change(name, child, status="canceled")
    new = stripe.add(name, **{field: ids[1]})["id"]
    stripe.change(parents, ids[1], event)
    rows = changes(stripe, name, NOW + 600).by_id
    assert {rows[child]["status"], rows[child][field]} == {"canceled", ids[1]}
    assert set(rows) == {id_ for id_, o in stripe.rows(name).items() if o[field] == ids[1]}
    assert new in rows


def test_payment_of_an_invoice_names_it(stripe):
    """`invoice_payment.paid` has the payment: docs.stripe.com/api/invoice-payment."""
    stripe.add("invoices", created=NOW - DAY)
    payment = stripe.add("invoice_payments", invoice="in_00000001", created=NOW - DAY)
    stripe.now += 600
    stripe.change("invoice_payments", payment["id"], "invoice_payment.paid", status="paid")
    (row,) = changes(stripe, "invoice_payments", NOW + 600).rows
    assert row["status"] == "paid"


def test_active_entitlements_have_their_customer(stripe):
    """The object does not name it: docs.stripe.com/api/entitlements/active-entitlement."""
    fill(stripe, "customers", 2)
    for customer in stripe.rows("customers"):
        stripe.add("entitlements/active_entitlements", _customer=customer, feature="feat_1")
    rows = read(stripe, "active_entitlements").rows
    assert sorted(str(row["customer"]) for row in rows) == ["cus_00000001", "cus_00000002"]
    stripe.now += 600
    stripe.add("entitlements/active_entitlements", _customer="cus_00000002", feature="feat_2")
    event = "entitlements.active_entitlement_summary.updated"
    stripe.event(
        event, {"object": "entitlements.active_entitlement_summary"} | {"customer": "cus_00000002"}
    )
    rows = changes(stripe, "active_entitlements", NOW + 600).rows
    assert [(row["customer"], row["feature"]) for row in rows] == [
        ("cus_00000002", "feat_2"),
        ("cus_00000002", "feat_1"),
    ]


def test_tax_ids_come_with_the_list_of_customers(stripe):
    """A hundred customers a request: `expand[]=data.tax_ids`. Changes are read by their ids."""
    fill(stripe, "customers", 3)
    ids = [stripe.add("tax_ids", customer="cus_00000002", value=f"v{n}")["id"] for n in range(12)]
    assert sorted(read(stripe, "tax_ids").by_id) == ids
    assert sum(n for path, n in stripe.requests.items() if path.startswith("/v1/customers")) == 2
    stripe.now += 600
    stripe.change("tax_ids", ids[0], "customer.tax_id.updated", value="new")
    stripe.delete("tax_ids", ids[1], "customer.tax_id.deleted")
    rows = changes(stripe, "tax_ids", NOW + 600, include_deletes=True).by_id
    assert (rows[ids[0]]["value"], rows[ids[0]]["_deleted_at"]) == ("new", None)
    assert rows[ids[1]]["_deleted_at"] is not None


def test_tax_ids_of_the_account_itself_are_a_stream(stripe):
    """docs.stripe.com/api/tax_ids/list: `owner[type]` is `self` by default."""
    stripe.add("tax_ids", customer="cus_1")
    own = stripe.add("tax_ids")["id"]
    assert list(read(stripe, "account_tax_ids").by_id) == [own]


def test_credit_transactions_are_read_for_each_grant_and_its_customer(stripe):
    """The list needs both: docs.stripe.com/api/billing/credit-balance-transaction/list."""
    fill(stripe, "customers", 2)
    name = "billing/credit_balance_transactions"
    for customer in stripe.rows("customers"):
        grant = stripe.add("billing/credit_grants", customer=customer)["id"]
        stripe.add(name, credit_grant=grant, _customer=customer, effective_at=NOW)
    rows = read(stripe, "credit_balance_transactions").by_id
    assert sorted(rows) == sorted(stripe.rows(name))
    stripe.now += 600
    event = "billing.credit_balance_transaction.created"
    new = stripe.add(name, credit_grant=grant, _customer=customer, event=event)["id"]
    assert list(changes(stripe, "credit_balance_transactions", NOW + 600).by_id) == [new]


FOLLOWED = {  # stream, its list, and an event of its objects
    "billing_meters": ("billing/meters", "billing.meter.deactivated"),
    "credit_grants": ("billing/credit_grants", "billing.credit_grant.updated"),
    "early_fraud_warnings": ("radar/early_fraud_warnings", "radar.early_fraud_warning.updated"),
    "issuing_authorizations": ("issuing/authorizations", "issuing_authorization.updated"),
    "issuing_cardholders": ("issuing/cardholders", "issuing_cardholder.updated"),
    "issuing_cards": ("issuing/cards", "issuing_card.updated"),
    "issuing_disputes": ("issuing/disputes", "issuing_dispute.closed"),
    "issuing_transactions": ("issuing/transactions", "issuing_transaction.updated"),
    "payment_links": ("payment_links", "payment_link.updated"),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_streams_are_read_and_followed(stripe, name):
    """Every object is read once, and a changed one by its id."""
    path, event = FOLLOWED[name]
    for number in range(103):
        stripe.add(path, created=NOW - DAY - number)
    assert sorted(read(stripe, name).by_id) == sorted(stripe.rows(path))
    stripe.now += 600
    changed = sorted(stripe.rows(path))[7]
    stripe.change(path, changed, event, status="other")
    (row,) = changes(stripe, name, NOW + 600).rows
    assert (row["id"], row["status"]) == (changed, "other")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("accounts", "accounts"),
        ("entitlement_features", "entitlements/features"),
        ("shipping_rates", "shipping_rates"),
    ],
)
def test_streams_without_events_are_read_as_a_whole(stripe, name, path):
    """Stripe lists them, and no event of this account tells of their changes."""
    fill(stripe, path, 3)
    assert sorted(read(stripe, name).by_id) == sorted(stripe.rows(path))
