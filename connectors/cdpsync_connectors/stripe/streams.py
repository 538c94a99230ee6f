"""Stripe's lists as streams: where each is read, what filters it, which events tell of it.

Paths and parameters: https://docs.stripe.com/api. Types of events, and what their `data.object`
is: https://docs.stripe.com/api/events/types.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_DISCOUNT = ("customer.discount.created", "customer.discount.deleted", "customer.discount.updated")
_REFUND = ("charge.refund.updated",)
_DISPUTE = tuple(
    f"charge.dispute.{what}"
    for what in ("closed", "created", "funds_reinstated", "funds_withdrawn", "updated")
)


def _types(prefix: str, words: str) -> tuple[str, ...]:
    return tuple(f"{prefix}.{word}" for word in words.split())


_SUBSCRIPTION = _types(
    "customer.subscription",
    "created deleted paused pending_update_applied pending_update_expired resumed trial_will_end"
    " updated",
)


@dataclass(frozen=True, slots=True)
class Table:
    """One stream: `path` is its list's; `created` the field that the list can be filtered by.

    `events` are all types that tell of a change. Where their object is another one, `through`
    names the field that holds our id, or `one|other` of different versions of the API, by the
    beginning of the type. A list that is read per
    object of another stream names that stream as `parent`; `{parent}` stands for the id.
    """

    name: str
    path: str
    created: str | None = "created"
    params: Mapping[str, str] = field(default_factory=dict)
    events: tuple[str, ...] = ()
    through: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None
    item: str = ""
    is_single: bool = False

    @property
    def place(self) -> str:
        """The path of one object by its id, which is put behind it."""
        return self.item or self.path

    def pointer(self, event: str) -> str | None:
        """Return the field of this event's object that holds our id; None for its own."""
        return next((f for start, f in self.through.items() if event.startswith(start)), None)


_ALL = (
    Table("account", "/v1/account", created=None, is_single=True),
    Table("balance_transactions", "/v1/balance_transactions"),
    Table(
        "charges",
        "/v1/charges",
        events=(
            *_types("charge", "captured expired failed pending refunded succeeded updated"),
            *_DISPUTE,
            *_REFUND,
        ),
        through={"charge.dispute.": "charge", "charge.refund.": "charge"},
    ),
    Table(
        "checkout_sessions",
        "/v1/checkout/sessions",
        events=_types(
            "checkout.session",
            "async_payment_failed async_payment_succeeded completed expired",
        ),
    ),
    Table(
        "coupons",
        "/v1/coupons",
        events=(*_types("coupon", "created deleted updated"), *_DISCOUNT),
        through={"customer.discount.": "source.coupon|coupon"},
    ),
    Table(
        "credit_notes",
        "/v1/credit_notes",
        events=_types("credit_note", "created updated voided"),
    ),
    Table(
        "customers",
        "/v1/customers",
        events=(
            *_types("customer", "created deleted updated"),
            *_DISCOUNT,
            *_types("customer.source", "created deleted expiring updated"),
            *_types("customer.tax_id", "created deleted updated"),
            "customer_cash_balance_transaction.created",
        ),
        through={
            "customer.discount.": "customer",
            "customer.source.": "customer",
            "customer.tax_id.": "customer",
            "customer_cash_balance_transaction.": "customer",
        },
    ),
    Table("disputes", "/v1/disputes", events=_DISPUTE),
    Table("events", "/v1/events"),
    Table("invoice_items", "/v1/invoiceitems", created="date"),
    Table(
        "invoices",
        "/v1/invoices",
        events=_types(
            "invoice",
            "created deleted finalization_failed finalized marked_uncollectible overdue overpaid"
            " paid payment_action_required payment_attempt_required payment_failed"
            " payment_succeeded sent updated voided will_be_due",
        ),
    ),
    Table(
        "payment_intents",
        "/v1/payment_intents",
        events=_types(
            "payment_intent",
            "amount_capturable_updated canceled created partially_funded payment_failed"
            " processing requires_action succeeded",
        ),
    ),
    Table(
        "payment_methods",
        "/v1/customers/{parent}/payment_methods",
        created=None,
        events=_types("payment_method", "attached automatically_updated detached updated"),
        parent="customers",
        item="/v1/payment_methods",
    ),
    Table(
        "payouts",
        "/v1/payouts",
        events=_types("payout", "canceled created failed paid reconciliation_completed updated"),
    ),
    Table("plans", "/v1/plans", events=_types("plan", "created deleted updated")),
    Table("prices", "/v1/prices", events=_types("price", "created deleted updated")),
    Table("products", "/v1/products", events=_types("product", "created deleted updated")),
    Table(
        "promotion_codes",
        "/v1/promotion_codes",
        events=(*_types("promotion_code", "created updated"), *_DISCOUNT),
        through={"customer.discount.": "promotion_code"},
    ),
    Table(
        "quotes",
        "/v1/quotes",
        created=None,
        events=_types("quote", "accepted canceled created finalized"),
    ),
    Table(
        "refunds",
        "/v1/refunds",
        events=(*_types("refund", "created failed updated"), *_REFUND),
    ),
    Table("reviews", "/v1/reviews", events=_types("review", "closed opened")),
    Table(
        "setup_intents",
        "/v1/setup_intents",
        events=_types("setup_intent", "canceled created requires_action setup_failed succeeded"),
    ),
    Table(
        "subscription_items",
        "/v1/subscription_items",
        created=None,
        params={"subscription": "{parent}"},
        events=_SUBSCRIPTION,
        parent="subscriptions",
    ),
    Table(
        "subscription_schedules",
        "/v1/subscription_schedules",
        events=_types(
            "subscription_schedule",
            "aborted canceled completed created expiring released updated",
        ),
    ),
    Table(
        "subscriptions",
        "/v1/subscriptions",
        params={"status": "all"},
        events=(*_SUBSCRIPTION, *_DISCOUNT),
        through={"customer.discount.": "subscription"},
    ),
    Table("tax_rates", "/v1/tax_rates", events=_types("tax_rate", "created updated")),
    Table(
        "topups",
        "/v1/topups",
        events=_types("topup", "canceled created failed reversed succeeded"),
    ),
    Table("transfers", "/v1/transfers", events=_types("transfer", "created reversed updated")),
    Table(
        "application_fees",
        "/v1/application_fees",
        events=_types("application_fee", "created refund.updated refunded"),
        through={"application_fee.refund.": "fee"},
    ),
)

TABLES: Mapping[str, Table] = {table.name: table for table in _ALL}
"""Every stream by its name, in the order in which they are shown."""
