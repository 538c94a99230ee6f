"""Stripe into a lake: several runs of each mode, compared with the account's objects."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.lake_reading import lake_rows
from support.stripe_server import FakeStripe, Reply, fake_stripe, refusal

from cdpsync import project, sync
from cdpsync.model.verification import VerifyStatus
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cdpsync.model import RunResult, TableResult

DAY = 86400


class Billing:
    """A project whose source `billing` is a fake Stripe account."""

    def __init__(self, folder: Path, stripe: FakeStripe) -> None:
        self.file = folder / "cdpsync.yml"
        self.stripe = stripe
        self.options: dict[str, Any] = {}

    def configure(self, **tables: dict[str, Any]) -> None:
        source = {"type": "stripe", "api_key": self.stripe.key, "api_base": self.stripe.url}
        source |= {"max_rate": 10_000, **self.options, **({"tables": tables} if tables else {})}
        self.file.write_text(json.dumps({"sources": {"billing": source}}))

    def run(self, **options: Any) -> RunResult:
        return sync.run(self.file, **options)

    def run_table(self, **options: Any) -> TableResult:
        (result,) = self.run(**options).tables
        assert result.error is None, result.error
        return result

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        return lake_rows(sql, self.file)

    def check_lake(self, name: str, *fields: str, where: str = "true") -> None:
        """Assert that the lake has the account's objects once, with their current values."""
        columns = ", ".join(("id", "epoch(created)::bigint", *fields))
        in_lake = self.ask(f"select {columns} from billing.{name} where {where}")
        at_source = [
            (object_["id"], object_["created"], *(object_.get(field) for field in fields))
            for object_ in self.stripe.rows(name).values()
        ]
        assert sorted(in_lake) == sorted(at_source)


@pytest.fixture
def billing(tmp_path: Path) -> Iterator[Billing]:
    """An empty account, whose clock the test sets, and a project that reads it."""
    with fake_stripe() as stripe:
        stripe.now = int(time.time()) - 3600
        yield Billing(tmp_path, stripe)


def add_customers(stripe: FakeStripe, count: int) -> None:
    for number in range(count):
        stripe.add("customers", created=stripe.now - number * 7200 - 600, balance=number)


def test_full_table_has_the_current_objects(billing):
    """Each run replaces the table with the account's current objects."""
    billing.configure(customers={"mode": "full_table"})
    add_customers(billing.stripe, 350)
    assert billing.run_table().rows_in_table == 350
    billing.check_lake("customers", "balance")
    billing.stripe.delete("customers", "cus_00000007")
    billing.stripe.change("customers", "cus_00000008", balance=-5)
    assert billing.run_table().rows_in_table == 349
    billing.check_lake("customers", "balance")


def test_append_only_adds_created_objects(billing):
    """Objects with the cursor's second are in the lake once, and new objects are added."""
    billing.configure(charges={"mode": "append_only", "cursor_field": "created"})
    for number in range(250):
        billing.stripe.add("charges", created=billing.stripe.now - number * 60, amount=number)
    assert billing.run_table().rows_inserted == 250
    billing.stripe.add("charges", amount=1)  # in the same second as the newest
    billing.stripe.now += 60
    billing.stripe.add("charges", amount=2)
    assert billing.run_table().rows_inserted == 2
    assert billing.run_table().rows_inserted == 0
    billing.check_lake("charges", "amount")


def test_incremental_follows_changes(billing):
    """After each run the lake has the account's created and changed objects, not deleted ones."""
    billing.configure(customers={"mode": "incremental", "deletes": "hard"})
    add_customers(billing.stripe, 250)
    assert billing.run_table().rows_inserted == 250
    billing.check_lake("customers", "balance")
    stripe = billing.stripe
    stripe.now += 600
    stripe.add("customers", event="customer.created", balance=1000)
    stripe.change("customers", "cus_00000100", "customer.updated", balance=-1)
    stripe.delete("customers", "cus_00000200", "customer.deleted")
    result = billing.run_table()
    assert (result.rows_inserted, result.rows_updated, result.rows_deleted) == (1, 1, 1)
    billing.check_lake("customers", "balance")
    stripe.now += 600
    assert billing.run_table().rows_updated == 0
    stripe.now += 600
    stripe.change("customers", "cus_00000100", "customer.updated", balance=-2)
    assert billing.run_table().rows_updated == 1
    billing.check_lake("customers", "balance")


def test_second_run_over_an_unchanged_account_changes_nothing(billing):
    """New objects are listed again by the second run, and recognized as unchanged."""
    billing.configure(customers={"mode": "incremental"})
    for age in range(10):
        billing.stripe.add("customers", created=billing.stripe.now - age * 100)
    assert billing.run_table().rows_inserted == 10
    result = billing.run_table()
    assert (result.rows_inserted, result.rows_updated) == (0, 0)


def test_soft_deletes_mark_deleted_objects(billing):
    """With deletes: soft a deleted row keeps its values, and has the time of its deletion."""
    billing.configure(customers={"mode": "incremental", "deletes": "soft"})
    add_customers(billing.stripe, 3)
    billing.run_table()
    billing.stripe.now += 600
    billing.stripe.delete("customers", "cus_00000002", "customer.deleted")
    billing.run_table()
    rows = billing.ask(
        "select id, balance, epoch(_deleted_at)::bigint from billing.customers order by id"
    )
    assert rows == [
        ("cus_00000001", 0, None),
        ("cus_00000002", 1, billing.stripe.now),
        ("cus_00000003", 2, None),
    ]


def test_deleted_objects_stay_without_deletes(billing):
    """Without deletes a row keeps the values of its last read."""
    billing.configure(customers={"mode": "incremental"})
    add_customers(billing.stripe, 3)
    billing.run_table()
    billing.stripe.now += 600
    billing.stripe.delete("customers", "cus_00000002", "customer.deleted")
    assert billing.run_table().rows_deleted == 0
    assert billing.ask("select count(*), sum(balance) from billing.customers") == [(3, 3)]


def test_gap_longer_than_stripe_keeps_events_reloads_the_table(billing):
    """After more than 30 days without a run the table is loaded from the start, with a notice."""
    billing.stripe.now -= 40 * DAY
    billing.configure(customers={"mode": "incremental", "deletes": "hard"})
    add_customers(billing.stripe, 5)
    billing.run_table()
    billing.stripe.delete("customers", "cus_00000002", "customer.deleted")
    billing.stripe.change("customers", "cus_00000003", "customer.updated", balance=77)
    billing.stripe.now += 40 * DAY
    result = billing.run_table()
    assert any("30 days" in notice for notice in result.notices)
    billing.check_lake("customers", "balance")


@pytest.mark.parametrize("options", [{}, {"full_refresh": True}])
def test_reload_of_a_soft_table_keeps_deleted_rows(billing, options):
    """Rows marked before stay, with the fields that only they have; those deleted in the gap are
    marked. A deleted object that exists again has no mark."""
    stripe = billing.stripe
    stripe.now -= 40 * DAY
    billing.configure(coupons={"mode": "incremental", "deletes": "soft"})
    for number in range(7):
        stripe.add("coupons", id=f"c{number}", created=stripe.now - DAY, old=number)
    billing.run_table()
    stripe.now += 600
    marked_at = stripe.now
    for id_ in ("c1", "c2"):
        stripe.delete("coupons", id_, "coupon.deleted")
    assert billing.run_table().rows_deleted == 2
    stripe.now += 40 * DAY
    stripe.delete("coupons", "c3")
    stripe.add("coupons", id="c2", created=stripe.now - DAY, old=22)
    for id_ in ("c0", "c4", "c5", "c6"):
        stripe.change("coupons", id_, old=None)
    billing.run_table(**options)
    rows = billing.ask(
        f"select id, old, epoch(_deleted_at)::bigint = {marked_at} from billing.coupons order by id"
    )
    assert rows == [
        ("c0", None, None),
        ("c1", 1, True),
        ("c2", 22, None),
        ("c3", 3, False),
        ("c4", None, None),
        ("c5", None, None),
        ("c6", None, None),
    ]
    stripe.now += 600
    result = billing.run_table()
    assert (result.rows_inserted, result.rows_updated, result.rows_deleted) == (0, 0, 0)


def test_stripes_clock_alone_says_whether_events_are_kept(billing):
    """This machine's clock may be another: neither side then refuses what the other begins."""
    stripe = billing.stripe
    stripe.now -= 40 * DAY
    billing.configure(customers={"mode": "incremental", "deletes": "hard"})
    add_customers(stripe, 5)
    billing.run_table()
    stripe.now += 20 * DAY
    stripe.change("customers", "cus_00000003", "customer.updated", balance=77)
    result = billing.run_table()
    assert (result.rows_updated, result.notices) == (1, ())
    stripe.now += 70 * DAY  # this machine's clock is behind
    stripe.on_request = lambda path, _: (
        refusal(403, "no account access") if path == "/v1/account" else None
    )
    (notice,) = billing.run_table().notices
    assert "for 30 days, and the cursor is 70 days old" in notice
    billing.check_lake("customers", "balance")


def test_failed_run_is_simply_run_again(billing):
    """A failed read changes no row in the lake; the next run loads all objects."""
    billing.configure(customers={"mode": "incremental"})
    add_customers(billing.stripe, 250)
    billing.stripe.on_request = lambda _, params: (
        refusal(402, "Out of order") if "starting_after" in params else None
    )
    (result,) = billing.run().tables
    assert "Out of order" in result.error.message
    billing.stripe.on_request = lambda *_: None
    assert billing.run_table().rows_inserted == 250
    billing.check_lake("customers", "balance")


def test_table_without_permission_fails_alone(billing):
    """Other tables are read; the error of this one names the permission that the key lacks."""
    billing.configure(customers={}, charges={})
    add_customers(billing.stripe, 3)
    message = (
        "The provided key 'rk_live_51abc' does not have the required permissions for this endpoint "
        "on account 'acct_1'. Having the 'rak_charge_read' permission would allow this request."
    )
    billing.stripe.on_request = lambda path, _: (
        refusal(403, message) if path == "/v1/charges" else None
    )
    by_stream = {table.stream: table for table in billing.run().tables}
    assert by_stream["customers"].error is None
    error = by_stream["charges"].error.message
    assert "rak_charge_read" in error
    assert "rk_live" not in error


FORBIDDEN = {"/v1/charges", "/v1/customers"}


def forbid(stripe: FakeStripe) -> None:
    """Let the key be a restricted one, which may not read some lists."""
    stripe.key = "rk_live_51TESTrestricted"
    message = "The key lacks permissions. Having the 'rak_charge_read' permission would allow this."
    stripe.on_request = lambda path, _: refusal(403, message) if path in FORBIDDEN else None


def test_streams_that_the_key_may_not_read_are_left_out(billing, caplog):
    """A source without `tables:` reads the others, with a notice; a list of a parent's objects is
    forbidden with the parents. `check` names them, `discover` marks them."""
    forbid(billing.stripe)
    billing.configure()
    result = billing.run()
    assert [table.error for table in result.tables if table.error] == []
    assert {"charges", "customers", "payment_methods", "tax_ids"}.isdisjoint(
        table.stream for table in result.tables
    )
    (notice,) = (r.getMessage() for r in caplog.records if "left out" in r.getMessage())
    assert "the API key may not read it: charges, customers, payment_methods, tax_ids" in notice
    streams = {s.name: s for s in project.discover(project.load(billing.file), "billing")}
    assert "rak_charge_read" in streams["charges"].unreadable_reason
    assert streams["invoices"].unreadable_reason is None
    caplog.clear()
    assert all(check.ok for check in project.check(project.load(billing.file)))
    assert "billing: the API key may not read: charges, customers" in caplog.text


def test_table_that_the_key_may_no_longer_read_fails(billing):
    """A table that the lake has, or that is named, is not left out in silence."""
    billing.configure()
    billing.run(select=["billing.charges"])
    forbid(billing.stripe)
    billing.configure()
    failed = {table.stream: table.error.message for table in billing.run().tables if table.error}
    assert list(failed) == ["charges"]
    assert "rak_charge_read" in failed["charges"]
    billing.configure(customers={}, invoices={})
    failed = [table.stream for table in billing.run().tables if table.error]
    assert failed == ["customers"]


def test_balance_transactions_become_available(billing):
    """`incremental` reads those that are pending again, and no others; later ones are added."""
    stripe = billing.stripe
    billing.configure(balance_transactions={"mode": "incremental", "deletes": "soft"})
    for number in range(120):
        status = "pending" if number < 3 else "available"
        created = stripe.now - number * DAY
        stripe.add(
            "balance_transactions", created=created, available_on=created + DAY, status=status
        )
    assert billing.run_table().rows_inserted == 120
    assert billing.run_table().rows_updated == 0
    stripe.now += DAY
    stripe.change("balance_transactions", "txn_00000002", status="available")
    stripe.add("balance_transactions", available_on=stripe.now + DAY, status="pending")
    result = billing.run_table()
    assert (result.rows_inserted, result.rows_updated) == (1, 1)
    billing.check_lake("balance_transactions", "status")
    stripe.now += DAY
    for id_ in stripe.rows("balance_transactions"):
        stripe.change("balance_transactions", id_, status="available")
    assert billing.run_table().rows_updated == 3
    billing.check_lake("balance_transactions", "status")
    billing.run_table()
    requests = stripe.requests["/v1/balance_transactions"]
    assert billing.run_table().rows_read == 0
    assert stripe.requests["/v1/balance_transactions"] == requests + 2


def test_all_connected_accounts_are_in_one_table(billing):
    """Objects of two accounts may have one id; each is followed and deleted in its own account."""
    stripe = billing.stripe
    billing.options = {"stripe_account": "all"}
    billing.configure(coupons={"mode": "incremental", "deletes": "hard"})
    one, two = stripe.connect(), stripe.connect()
    for number, account in enumerate((one, two)):
        account.add("coupons", id="WELCOME", created=stripe.now - DAY, times_redeemed=number)
    assert billing.run_table().rows_inserted == 2
    for account in (stripe, one, two):
        account.now += 600
    one.change("coupons", "WELCOME", "coupon.updated", times_redeemed=9)
    two.delete("coupons", "WELCOME", "coupon.deleted")
    stripe.connect().add("coupons", id="OLD", created=stripe.now - 90 * DAY, times_redeemed=3)
    result = billing.run_table()
    assert (result.rows_inserted, result.rows_updated, result.rows_deleted) == (1, 1, 1)
    first, _, third = stripe.connected
    sql = "select _account, id, times_redeemed from billing.coupons order by all"
    assert billing.ask(sql) == [(first, "WELCOME", 9), (third, "OLD", 3)]


def test_rows_of_another_version_are_told_until_they_are_loaded_anew(billing):
    """`api_version` and `expand` change the form of rows; no run of the table is stopped."""
    billing.configure(prices={"mode": "incremental"})
    billing.stripe.add("prices", created=billing.stripe.now - DAY, tiers=[{"up_to": 1}])
    assert billing.run_table().notices == ()
    billing.options = {"api_version": "2024-06-20", "expand": {"prices": ["tiers"]}}
    billing.configure(prices={"mode": "incremental"})
    for _ in range(2):
        (notice,) = billing.run_table().notices
        assert "as 2024-06-20 with tiers now: those that were loaded as 2026-10-28.endive" in notice
        assert "cdpsync run billing.prices --full-refresh" in notice
    assert billing.ask("select tiers from billing.prices") == [(None,)]
    assert billing.run_table(full_refresh=True).notices == ()
    assert billing.ask("select tiers::varchar from billing.prices") == [('[{"up_to":1}]',)]
    assert billing.run_table().notices == ()


def test_new_fields_add_columns_and_conflicts_become_json(billing):
    """A new field becomes a column; a field of two kinds becomes JSON, with a notice."""
    billing.configure(customers={"mode": "incremental"})
    billing.stripe.add("customers", score=5, share=1)
    billing.run_table()
    billing.stripe.now += 600
    billing.stripe.add("customers", event="customer.created", score="high", share=0.25, more=[1.10])
    result = billing.run_table()
    assert any('"score"' in notice for notice in result.notices)
    rows = billing.ask(
        "select score::varchar, share::varchar, more::varchar from billing.customers order by id"
    )
    assert rows == [("5", "1.00", None), ('"high"', "0.25", "[1.1]")]
    types = billing.ask(
        "select column_name, data_type from information_schema.columns "
        "where table_name = 'customers' and column_name in ('score', 'share', 'more')"
    )
    assert dict(types) == {"score": "JSON", "share": "DECIMAL(21,2)", "more": "JSON"}


def test_project_without_tables_reads_every_stream(billing):
    """A project that names no table has a table for each of Stripe's lists, but for those that
    take a request for each customer, or that not every account has."""
    billing.configure()
    add_customers(billing.stripe, 2)
    billing.stripe.add("subscriptions", status="canceled")
    billing.stripe.add("subscription_items", subscription="sub_00000001")
    billing.stripe.add("payment_methods", customer="cus_00000001")
    tables = billing.run().tables
    assert [table.error for table in tables if table.error] == []
    rows = {table.stream: table.rows_in_table for table in tables}
    assert len(rows) == 40
    assert {"accounts", "issuing_cards", "setup_attempts"}.isdisjoint(rows)
    assert {name for name, count in rows.items() if count} == {
        "account",
        "customers",
        "payment_methods",
        "subscription_items",
        "subscriptions",
    }


def test_page_that_is_not_json_is_an_error_and_changes_no_table(billing):
    """A proxy may answer with an error page of its own."""
    billing.configure(customers={})
    billing.stripe.on_request = lambda path, _: (
        Reply(200, b"<html>busy</html>") if path == "/v1/customers" else None
    )
    (result,) = billing.run().tables
    assert "not JSON" in result.error.message
    assert "<html>" in result.error.message


def test_answers_that_are_not_stripes_own_keep_rows_and_cursor(billing):
    """A proxy's 404 for changed customers deletes none; the run fails, and the next one reads
    their changes."""
    billing.configure(customers={"mode": "incremental", "deletes": "hard"})
    add_customers(billing.stripe, 8)
    billing.run_table()
    stripe = billing.stripe
    stripe.now += 600
    for id_ in stripe.rows("customers"):
        stripe.change("customers", id_, "customer.updated", balance=-1)
    cursor = billing.ask("select cursor_value from cdpsync.cursors")
    for reply in (
        Reply(404, b"<html>Not Found</html>"),
        Reply(404),
        Reply(200, {"error": {"message": "No"}}),
        Reply(301, b"", {"Location": "/v1/account"}),
        refusal(404, "No such customer", "resource_missing", "id"),
    ):
        stripe.on_request = lambda path, _, reply=reply: reply if "/cus_" in path else None
        (result,) = billing.run().tables
        assert result.error is not None
        assert billing.ask("select count(*), min(balance) from billing.customers") == [(8, 0)]
        assert billing.ask("select cursor_value from cdpsync.cursors") == cursor
    stripe.on_request = lambda *_: None
    assert billing.run_table().rows_updated == 8
    billing.check_lake("customers", "balance")


def test_verify_finds_and_repairs_differences(billing):
    """Lists are compared with the lake; a lost and a changed object are read again."""
    billing.configure(customers={"mode": "incremental", "deletes": "hard"})
    add_customers(billing.stripe, 120)
    billing.run_table()
    billing.stripe.now += 600
    billing.stripe.change("customers", "cus_00000100", "customer.updated", balance=-1)
    billing.run_table()
    (result,) = verify(billing.file)
    assert (result.error, result.status) == (None, VerifyStatus.EQUAL)
    with project.catalog_of(project.load(billing.file)).writer() as con:
        con.execute("delete from lake.billing.customers where id = 'cus_00000007'")
        con.execute("update lake.billing.customers set balance = 7 where id = 'cus_00000009'")
    (result,) = verify(billing.file, repair=True)
    assert (result.status, result.repaired) == (VerifyStatus.REPAIRED, 2)
    billing.check_lake("customers", "balance")
    billing.stripe.now += 600
    billing.stripe.change("customers", "cus_00000011", "customer.updated", balance=-1)
    billing.run_table()
    billing.check_lake("customers", "balance")
