"""The streams of a Stripe account: the path of each list, its filter, and its types of events.

Paths and parameters: https://docs.stripe.com/api. Types of events, and the object that each has
in `data.object`: https://docs.stripe.com/api/events/types.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

EVENT_RETENTION = timedelta(days=30)
"""Stripe's API returns events of this age: https://docs.stripe.com/api/events/list."""

_DISCOUNT = ("customer.discount.created", "customer.discount.deleted", "customer.discount.updated")
_REFUND = ("charge.refund.updated",)
_DISPUTE = tuple(
    f"charge.dispute.{action}"
    for action in ("closed", "created", "funds_reinstated", "funds_withdrawn", "updated")
)


def _types(prefix: str, words: str) -> tuple[str, ...]:
    return tuple(f"{prefix}.{word}" for word in words.split())


_SUBSCRIPTION = _types(
    "customer.subscription",
    "created deleted paused pending_update_applied pending_update_expired resumed trial_will_end"
    " updated",
)


@dataclass(frozen=True, slots=True)
class StripeStream:
    """One stream: `path` is its list's path, `created` the field by which the list is filtered.

    `event_types` are all types of events that report a change of its objects. An event may have
    another object, which contains our id: `id_paths` has the path to the id, by the beginning of
    the event's type. `a|b` are the paths of different versions of the API.
    A list that must be read for each object of another stream has that stream's name as `parent`;
    `{parent}` stands for the id of that object.
    """

    name: str
    path: str
    created: str | None = "created"
    params: Mapping[str, str] = field(default_factory=dict)
    event_types: tuple[str, ...] = ()
    id_paths: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None
    item_path: str = ""
    is_single: bool = False

    @property
    def object_path(self) -> str:
        """The path of one object, to which its id is appended."""
        return self.item_path or self.path

    def id_path(self, event_type: str) -> str | None:
        """Return the path to our id in this event's object; None if the object is our own."""
        prefixes = self.id_paths.items()
        return next((path for prefix, path in prefixes if event_type.startswith(prefix)), None)


_ALL = (
    StripeStream("account", "/v1/account", created=None, is_single=True),
    StripeStream("balance_transactions", "/v1/balance_transactions"),
    StripeStream(
        "charges",
        "/v1/charges",
        event_types=(
            *_types("charge", "captured expired failed pending refunded succeeded updated"),
            *_DISPUTE,
            *_REFUND,
        ),
        id_paths={"charge.dispute.": "charge", "charge.refund.": "charge"},
    ),
    StripeStream(
        "checkout_sessions",
        "/v1/checkout/sessions",
        event_types=_types(
            "checkout.session",
            "async_payment_failed async_payment_succeeded completed expired",
        ),
    ),
    StripeStream(
        "coupons",
        "/v1/coupons",
        event_types=(*_types("coupon", "created deleted updated"), *_DISCOUNT),
        id_paths={"customer.discount.": "source.coupon|coupon"},
    ),
    StripeStream(
        "credit_notes",
        "/v1/credit_notes",
        event_types=_types("credit_note", "created updated voided"),
    ),
    StripeStream(
        "customers",
        "/v1/customers",
        event_types=(
            *_types("customer", "created deleted updated"),
            *_DISCOUNT,
            *_types("customer.source", "created deleted expiring updated"),
            *_types("customer.tax_id", "created deleted updated"),
            "customer_cash_balance_transaction.created",
        ),
        id_paths={
            "customer.discount.": "customer",
            "customer.source.": "customer",
            "customer.tax_id.": "customer",
            "customer_cash_balance_transaction.": "customer",
        },
    ),
    StripeStream("disputes", "/v1/disputes", event_types=_DISPUTE),
    StripeStream("events", "/v1/events"),
    StripeStream("invoice_items", "/v1/invoiceitems", created="date"),
    StripeStream(
        "invoices",
        "/v1/invoices",
        event_types=_types(
            "invoice",
            "created deleted finalization_failed finalized marked_uncollectible overdue overpaid"
            " paid payment_action_required payment_attempt_required payment_failed"
            " payment_succeeded sent updated voided will_be_due",
        ),
    ),
    StripeStream(
        "payment_intents",
        "/v1/payment_intents",
        event_types=_types(
            "payment_intent",
            "amount_capturable_updated canceled created partially_funded payment_failed"
            " processing requires_action succeeded",
        ),
    ),
    StripeStream(
        "payment_methods",
        "/v1/customers/{parent}/payment_methods",
        created=None,
        event_types=_types("payment_method", "attached automatically_updated detached updated"),
        parent="customers",
        item_path="/v1/payment_methods",
    ),
    StripeStream(
        "payouts",
        "/v1/payouts",
        event_types=_types(
            "payout", "canceled created failed paid reconciliation_completed updated"
        ),
    ),
    StripeStream("plans", "/v1/plans", event_types=_types("plan", "created deleted updated")),
    StripeStream("prices", "/v1/prices", event_types=_types("price", "created deleted updated")),
    StripeStream(
        "products", "/v1/products", event_types=_types("product", "created deleted updated")
    ),
    StripeStream(
        "promotion_codes",
        "/v1/promotion_codes",
        event_types=(*_types("promotion_code", "created updated"), *_DISCOUNT),
        id_paths={"customer.discount.": "promotion_code"},
    ),
    StripeStream(
        "quotes",
        "/v1/quotes",
        created=None,
        event_types=_types("quote", "accepted canceled created finalized"),
    ),
    StripeStream(
        "refunds",
        "/v1/refunds",
        event_types=(*_types("refund", "created failed updated"), *_REFUND),
    ),
    StripeStream("reviews", "/v1/reviews", event_types=_types("review", "closed opened")),
    StripeStream(
        "setup_intents",
        "/v1/setup_intents",
        event_types=_types(
            "setup_intent", "canceled created requires_action setup_failed succeeded"
        ),
    ),
    StripeStream(
        "subscription_items",
        "/v1/subscription_items",
        created=None,
        params={"subscription": "{parent}"},
        event_types=_SUBSCRIPTION,
        parent="subscriptions",
    ),
    StripeStream(
        "subscription_schedules",
        "/v1/subscription_schedules",
        event_types=_types(
            "subscription_schedule",
            "aborted canceled completed created expiring released updated",
        ),
    ),
    StripeStream(
        "subscriptions",
        "/v1/subscriptions",
        params={"status": "all"},
        event_types=(*_SUBSCRIPTION, *_DISCOUNT),
        id_paths={"customer.discount.": "subscription"},
    ),
    StripeStream("tax_rates", "/v1/tax_rates", event_types=_types("tax_rate", "created updated")),
    StripeStream(
        "topups",
        "/v1/topups",
        event_types=_types("topup", "canceled created failed reversed succeeded"),
    ),
    StripeStream(
        "transfers", "/v1/transfers", event_types=_types("transfer", "created reversed updated")
    ),
    StripeStream(
        "application_fees",
        "/v1/application_fees",
        event_types=_types("application_fee", "created refund.updated refunded"),
        id_paths={"application_fee.refund.": "fee"},
    ),
)

STREAMS: Mapping[str, StripeStream] = {stream.name: stream for stream in _ALL}
"""Every stream by its name, in the order in which `discover` lists them."""
