"""Fields that Stripe leaves out unless it is asked: docs.stripe.com/api/expanding_objects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.stripe_lists import EXPANDABLE
from support.stripe_reading import read
from support.stripe_server import NOW, FakeStripe, fake_stripe

from cdpsync_connectors.stripe.streams import STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELDS = [
    (name, ours.path[4:], field)
    for name, ours in STREAMS.items()
    for field in sorted(EXPANDABLE.get(ours.path[4:], ()))
    if field != "tax_ids"  # a list of its own in the fake: test_streams.py
]


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    """An empty account whose clock stands still."""
    with fake_stripe() as server:
        yield server


def cut_list(url: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": entries[:10], "has_more": len(entries) > 10, "url": url}


@pytest.mark.parametrize(("name", "path", "field"), FIELDS)
def test_field_is_read_only_if_it_is_expanded(stripe, name, path, field):
    """From the list and, once an object changed, by its id; a list of more than ten is whole."""
    entries = [{"id": f"x_{number:02}"} for number in range(23)]
    for number in range(2):
        id_ = stripe.add(path, created=NOW - 86400 - number)["id"]
        cut = cut_list(f"/v1/{path}/{id_}/{field}", entries)
        stripe.change(path, id_, **{field: cut, f"_{field}": entries})
    assert {row[field] for row in read(stripe, name).rows} == {None}
    options = {"expand": {name: [field]}}
    rows = read(stripe, name, options=options).rows
    assert [json.loads(str(row[field]))["data"] for row in rows] == [entries, entries]
    stripe.now += 600
    own = next(t for t in STREAMS[name].event_types if STREAMS[name].id_path(t) is None)
    stripe.change(path, id_, own, amount=1)
    (row,) = read(stripe, name, NOW + 600, cursor_field="_updated_at", options=options).rows
    assert json.loads(str(row[field]))["data"] == entries


def test_lists_deep_inside_expanded_objects_are_whole(stripe):
    """A customer's subscriptions have their items, of which a list shows ten."""
    for number in range(12):
        stripe.add("subscription_items", subscription="sub_1", quantity=number)
    stripe.add("subscriptions", id="sub_1")
    items = list(stripe.rows("subscription_items").values())[::-1]
    inner = cut_list("/v1/subscription_items?subscription=sub_1", items)
    subscriptions = [{"id": f"sub_{n}", "items": inner} for n in range(11)]
    outer = cut_list("/v1/customers/cus_00000001/subscriptions", subscriptions)
    stripe.add("customers", subscriptions=outer, _subscriptions=subscriptions)
    (row,) = read(stripe, "customers", options={"expand": {"customers": "subscriptions"}}).rows
    value = json.loads(str(row["subscriptions"]))
    assert [len(entry["items"]["data"]) for entry in value["data"]] == [12] * 11
