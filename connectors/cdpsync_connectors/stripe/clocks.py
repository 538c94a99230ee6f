"""Objects of test clocks, which only sandboxes have: Stripe's lists leave them out, events do not.

The lists of customers, subscriptions and quotes have none, unless they are asked for one clock
(https://docs.stripe.com/api/customers/list#list_customers-test_clock). Payment methods and items of
subscriptions are read per customer and subscription of these lists. So reads of changes leave them
out, too. Of other objects the documentation says no such thing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cdpsync_connectors.stripe.streams import STREAMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from cdpsync.connector.records.parse import Fields
    from cdpsync_connectors.stripe.stream import StripeStream

_LISTED_WITHOUT_CLOCKS = {"customers", "subscriptions", "quotes"}


def has_test_clock(fields: Fields) -> bool:
    """Whether an object says that a test clock moves its time."""
    return bytes(fields.get("test_clock", b"null")) != b"null"


def is_left_out(stream: StripeStream, fields: Fields, fetch: Callable[[str, str], Fields]) -> bool:
    """Whether the list of a stream leaves an object out, because of a test clock.

    An object that is read per customer does not say so itself: its customer is fetched.
    """
    if stream.name in _LISTED_WITHOUT_CLOCKS:
        return has_test_clock(fields)
    customer = msgspec.json.decode(fields.get("customer", b"null"))
    if stream.parent != "customers" or not isinstance(customer, str):
        return False
    return is_of_test_clock(customer, fields, fetch)


def is_of_test_clock(customer: str, fields: Fields, fetch: Callable[[str, str], Fields]) -> bool:
    """Whether a customer, who has this object, is one of a test clock; asked in a sandbox only."""
    if bytes(fields.get("livemode", b"")) != b"false":
        return False
    return has_test_clock(fetch(STREAMS["customers"].path, customer))
