"""All accounts that are connected to a platform: one table, with the account as a column."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from support.stripe_answers import FOREIGN_ANSWERS
from support.stripe_reading import Read, at, read
from support.stripe_server import NOW, FakeStripe, fake_stripe, refusal

from cdpsync.errors import ConnectError, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.stripe_server import Reply

OPTIONS = {"stripe_account": "all"}
DAY = 86400


@pytest.fixture
def platform() -> Iterator[FakeStripe]:
    """A platform with three accounts, which were connected long ago."""
    with fake_stripe() as server:
        server.now = NOW - 100 * DAY
        for _ in range(3):
            server.connect()
        server.now = NOW
        yield server


def read_all(platform: FakeStripe, name: str, since: int | None = None, **asked: Any) -> Read:
    return read(platform, name, since, options=OPTIONS, **asked)


def pairs(result: Read) -> list[tuple[str | None, str | None]]:
    return sorted((row["_account"], row["id"]) for row in result.rows)


def test_rows_of_all_accounts_have_their_account(platform):
    """Two accounts may have objects of one id, such as a coupon's."""
    for number, account in enumerate(platform.connected.values()):
        account.add("coupons", id="WELCOME", percent_off=number)
        account.add("charges", id=f"ch_{number}")
    platform.add("coupons", id="OWN")
    coupons = read_all(platform, "coupons")
    assert pairs(coupons) == [(id_, "WELCOME") for id_ in platform.connected]
    assert {row["percent_off"] for row in coupons.rows} == {"0", "1", "2"}
    assert [row["id"] for row in sorted(read_all(platform, "charges").rows, key=str)] == [
        "ch_0",
        "ch_1",
        "ch_2",
    ]
    assert {row["id"] for row in read_all(platform, "accounts").rows} == set(platform.connected)
    assert "_account" not in read_all(platform, "accounts").types


def test_changes_and_deletions_are_followed_in_each_account(platform):
    """Each account has its own events; an account that was connected since is read as a whole."""
    for account in platform.connected.values():
        for age in range(3):
            account.add("customers", created=NOW - (age + 1) * DAY)
    first = read_all(platform, "customers", cursor_field="_updated_at")
    assert len(first.rows) == 9
    assert first.cursor == at(NOW - 300)
    platform.now += 600
    one, two, three = platform.connected.values()
    for account in (one, two, three):
        account.now = platform.now
    one.change("customers", "cus_00000001", "customer.updated", balance=5)
    two.delete("customers", "cus_00000001", "customer.deleted")
    new = platform.connect()
    new.add("customers", created=NOW - 50 * DAY, balance=7)
    ids = list(platform.connected)
    result = read_all(
        platform, "customers", NOW + 300, cursor_field="_updated_at", include_deletes=True
    )
    rows = {(row["_account"], row["id"]): row for row in result.rows}
    assert set(rows) == {
        (ids[0], "cus_00000001"),
        (ids[1], "cus_00000001"),
        (ids[3], "cus_00000001"),
    }
    assert rows[ids[0], "cus_00000001"]["balance"] == "5"
    assert rows[ids[1], "cus_00000001"]["_deleted_at"] is not None
    assert rows[ids[3], "cus_00000001"]["balance"] == "7"


NEW = {  # stream, its list, and fields that each object needs
    "customers": ("customers", {}),
    "quotes": ("quotes", {}),
    "subscription_items": ("subscription_items", {"subscription": "sub_1"}),
}


@pytest.mark.parametrize("name", NEW)
def test_deletions_in_an_account_that_counts_as_new_are_followed(platform, name):
    """It was connected within the minutes of late events, so it was read before, and is again."""
    path, fields = NEW[name]
    account = platform.connect()
    account.add("subscriptions", id="sub_1", created=NOW - DAY)
    for number in range(3):
        account.add(path, id=f"x_{number}", created=NOW - DAY, **fields)
    platform.now = account.now = NOW + 60
    before = list(account.rows(path).values())
    event = {"customers": "customer.deleted", "quotes": None}.get(name)
    account.delete(path, "x_1", event)
    if name == "subscription_items":
        account.event("customer.subscription.updated", {"id": "sub_1"}, {"items": {"data": before}})
    result = read_all(platform, name, NOW - 300, cursor_field="_updated_at", include_deletes=True)
    deleted = {row["id"]: row["_deleted_at"] is not None for row in result.rows}
    expected = {"x_0": False, "x_2": False} | ({} if name == "quotes" else {"x_1": True})
    assert deleted == expected


def test_cursor_of_created_objects_is_not_above_the_begin_of_the_read(platform):
    """An account is read before another one, so the highest of all may hide its next object."""
    for account in platform.connected.values():
        account.add("charges", created=NOW)
    for highest in (NOW, NOW - 300, NOW - DAY):
        result = read_all(platform, "charges", cursor_field="created", highest=at(highest))
        assert result.cursor == at(min(highest, NOW - 300))


def test_charges_of_an_account_that_was_connected_since_are_all_read(platform):
    """They are older than the cursor."""
    platform.connect().add("charges", created=NOW - 90 * DAY)
    result = read_all(platform, "charges", NOW - DAY, cursor_field="created")
    assert len(result.rows) == 1


def test_key_need_not_see_the_platform_itself(platform):
    """A restricted key may have permissions for connected accounts alone."""
    platform.on_request = lambda path, _: refusal(403, "No") if path == "/v1/account" else None
    assert len(read_all(platform, "accounts").rows) == 3


def test_pending_transactions_of_any_account_hold_the_cursor(platform):
    """The next read begins at the oldest one of all accounts."""
    for number, account in enumerate(platform.connected.values()):
        created = NOW - (number + 2) * DAY
        account.add(
            "balance_transactions", created=created, status="pending", available_on=NOW + DAY
        )
    result = read_all(platform, "balance_transactions", cursor_field="_updated_at")
    assert result.cursor == at(NOW - 4 * DAY)


@pytest.mark.parametrize("path", ["/v1/accounts", "/v1/charges"])
def test_answer_that_is_not_stripes_own_is_an_error(platform, path):
    """Neither the list of accounts nor a list of one account is believed to be empty."""
    asked: list[Reply] = []
    for reply in FOREIGN_ANSWERS.values():

        def answer(asked_path: str, _: Any, reply: Reply = reply) -> Reply | None:
            if not re.fullmatch(path, asked_path):
                return None
            asked.append(reply)
            return reply

        platform.on_request = answer
        with pytest.raises((ReadError, ConnectError)):
            read_all(platform, "charges")
    assert asked
