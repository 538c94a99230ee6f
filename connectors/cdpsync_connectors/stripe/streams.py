"""The streams of a Stripe account: the path of each list, its filter, and its types of events.

Paths and parameters: https://docs.stripe.com/api. Types of events, and the object that each has
in `data.object`: https://docs.stripe.com/api/events/types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync_connectors.stripe.stream import StripeStream, event_types

if TYPE_CHECKING:
    from collections.abc import Mapping

_CREDIT_NOTE = event_types("credit_note", "created updated voided")
_CUSTOMER = event_types("customer", "created deleted updated")
_DISCOUNT = event_types("customer.discount", "created deleted updated")
_DISPUTE = event_types("charge.dispute", "closed created funds_reinstated funds_withdrawn updated")
_INVOICE = event_types(
    "invoice",
    "created deleted finalization_failed finalized marked_uncollectible overdue overpaid"
    " paid payment_action_required payment_attempt_required payment_failed"
    " payment_succeeded sent updated voided will_be_due",
)
# Before 2024-10-28, refunds of charges had `charge.refund.updated` only:
# https://docs.stripe.com/changelog/acacia/2024-10-28/refund-webhook-update
_REFUND = (*event_types("refund", "created failed updated"), "charge.refund.updated")
_SETUP_INTENT = event_types(
    "setup_intent", "canceled created requires_action setup_failed succeeded"
)
_SUBSCRIPTION = event_types(
    "customer.subscription",
    "created deleted paused pending_update_applied pending_update_expired resumed trial_will_end"
    " updated",
)
_TAX_ID = event_types("customer.tax_id", "created deleted updated")
_ISSUING = "it is for accounts with Stripe Issuing"

_ALL = (
    StripeStream("account", "/v1/account", created=None, is_single=True),
    StripeStream("balance_transactions", "/v1/balance_transactions", settles=True),
    StripeStream(
        "charges",
        "/v1/charges",
        event_types=(
            *event_types("charge", "captured expired failed pending refunded succeeded updated"),
            *_DISPUTE,
            *_REFUND,
        ),
        id_paths={"charge.dispute.": "charge", "charge.refund.": "charge", "refund.": "charge"},
        expandable=("refunds",),
    ),
    StripeStream(
        "checkout_sessions",
        "/v1/checkout/sessions",
        event_types=event_types(
            "checkout.session",
            "async_payment_failed async_payment_succeeded completed expired",
        ),
        expandable=("line_items",),
    ),
    StripeStream(
        "coupons",
        "/v1/coupons",
        event_types=(*event_types("coupon", "created deleted updated"), *_DISCOUNT),
        id_paths={"customer.discount.": "source.coupon|coupon"},
        expandable=("applies_to", "currency_options"),
    ),
    StripeStream(
        "credit_notes",
        "/v1/credit_notes",
        event_types=_CREDIT_NOTE,
    ),
    StripeStream(
        "customers",
        "/v1/customers",
        event_types=(
            *_CUSTOMER,
            *_DISCOUNT,
            *event_types("customer.source", "created deleted expiring updated"),
            *_TAX_ID,
            "customer_cash_balance_transaction.created",
        ),
        id_paths={
            "customer.discount.": "customer",
            "customer.source.": "customer",
            "customer.tax_id.": "customer",
            "customer_cash_balance_transaction.": "customer",
        },
        expandable=(
            "cash_balance",
            "invoice_credit_balance",
            "sources",
            "subscriptions",
            "tax",
            "tax_ids",
        ),
    ),
    StripeStream("disputes", "/v1/disputes", event_types=_DISPUTE),
    StripeStream("events", "/v1/events"),
    StripeStream("invoice_items", "/v1/invoiceitems", created="date"),
    StripeStream(
        "invoices",
        "/v1/invoices",
        event_types=(*_INVOICE, *_CREDIT_NOTE, "invoice_payment.paid"),
        id_paths={"credit_note.": "invoice", "invoice_payment.": "invoice"},
        expandable=("payments",),
    ),
    StripeStream(
        "payment_intents",
        "/v1/payment_intents",
        event_types=event_types(
            "payment_intent",
            "amount_capturable_updated canceled created partially_funded payment_failed"
            " processing requires_action succeeded",
        ),
    ),
    StripeStream(
        "payment_methods",
        "/v1/customers/{parent}/payment_methods",
        created=None,
        event_types=event_types(
            "payment_method", "attached automatically_updated detached updated"
        ),
        parent="customers",
        may_move=True,
        item_path="/v1/payment_methods",
    ),
    StripeStream(
        "payouts",
        "/v1/payouts",
        event_types=event_types(
            "payout", "canceled created failed paid reconciliation_completed updated"
        ),
    ),
    StripeStream(
        "plans",
        "/v1/plans",
        event_types=event_types("plan", "created deleted updated"),
        expandable=("tiers",),
    ),
    StripeStream(
        "prices",
        "/v1/prices",
        event_types=event_types("price", "created deleted updated"),
        expandable=("currency_options", "tiers"),
    ),
    StripeStream(
        "products", "/v1/products", event_types=event_types("product", "created deleted updated")
    ),
    StripeStream(
        "promotion_codes",
        "/v1/promotion_codes",
        event_types=(*event_types("promotion_code", "created updated"), *_DISCOUNT),
        id_paths={"customer.discount.": "promotion_code"},
    ),
    StripeStream(
        "quotes",
        "/v1/quotes",
        created=None,
        event_types=event_types("quote", "accepted canceled created finalized"),
        expandable=("line_items",),
    ),
    StripeStream(
        "refunds",
        "/v1/refunds",
        event_types=_REFUND,
    ),
    StripeStream("reviews", "/v1/reviews", event_types=event_types("review", "closed opened")),
    StripeStream(
        "setup_intents",
        "/v1/setup_intents",
        event_types=_SETUP_INTENT,
    ),
    StripeStream(
        "subscription_items",
        "/v1/subscription_items",
        created=None,
        params={"subscription": "{parent}"},
        event_types=_SUBSCRIPTION,
        parent="subscriptions",
        follows_parent=True,
        may_move=True,
    ),
    StripeStream(
        "subscription_schedules",
        "/v1/subscription_schedules",
        event_types=event_types(
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
    StripeStream(
        "tax_rates", "/v1/tax_rates", event_types=event_types("tax_rate", "created updated")
    ),
    StripeStream(
        "topups",
        "/v1/topups",
        event_types=event_types("topup", "canceled created failed reversed succeeded"),
    ),
    StripeStream(
        "transfers",
        "/v1/transfers",
        event_types=event_types("transfer", "created reversed updated"),
    ),
    StripeStream(
        "application_fees",
        "/v1/application_fees",
        event_types=event_types("application_fee", "created refund.updated refunded"),
        id_paths={"application_fee.refund.": "fee"},
    ),
    # Of customers.
    StripeStream(
        "tax_ids",
        "/v1/customers/{parent}/tax_ids",
        created=None,
        event_types=_TAX_ID,
        parent="customers",
        inner="tax_ids",
        parent_params={"expand[0]": "data.tax_ids"},
        item_path="/v1/tax_ids",
    ),
    StripeStream("account_tax_ids", "/v1/tax_ids", created=None),
    StripeStream(
        "customer_balance_transactions",
        "/v1/customers/{parent}/balance_transactions",
        created=None,
        event_types=_CUSTOMER,
        parent="customers",
        follows_parent=True,
        only_if_named="it takes a request for each customer",
    ),
    StripeStream(
        "active_entitlements",
        "/v1/entitlements/active_entitlements",
        created=None,
        params={"customer": "{parent}"},
        event_types=("entitlements.active_entitlement_summary.updated",),
        id_paths={"entitlements.": "customer"},
        parent="customers",
        follows_parent=True,
        parent_column="customer",
        reports_deletions=False,
        only_if_named="it takes a request for each customer",
    ),
    StripeStream("entitlement_features", "/v1/entitlements/features", created=None),
    # Of invoices and payments.
    StripeStream(
        "invoice_line_items",
        "/v1/invoices/{parent}/lines",
        created=None,
        event_types=_INVOICE,
        parent="invoices",
        inner="lines",
        follows_parent=True,
        reports_deletions=False,
    ),
    StripeStream(
        "invoice_payments",
        "/v1/invoice_payments",
        params={"invoice": "{parent}"},
        event_types=(*_INVOICE, "invoice_payment.paid"),
        id_paths={"invoice_payment.": "invoice"},
        parent="invoices",
        has_whole_list=True,
        follows_parent=True,
    ),
    StripeStream(
        "payment_links",
        "/v1/payment_links",
        created=None,
        event_types=event_types("payment_link", "created updated"),
        expandable=("line_items",),
    ),
    StripeStream("shipping_rates", "/v1/shipping_rates"),
    StripeStream(
        "setup_attempts",
        "/v1/setup_attempts",
        created=None,
        params={"setup_intent": "{parent}"},
        event_types=_SETUP_INTENT,
        parent="setup_intents",
        follows_parent=True,
        only_if_named="it takes a request for each setup intent",
    ),
    StripeStream(
        "early_fraud_warnings",
        "/v1/radar/early_fraud_warnings",
        event_types=event_types("radar.early_fraud_warning", "created updated"),
    ),
    # Of usage-based billing.
    StripeStream(
        "billing_meters",
        "/v1/billing/meters",
        created=None,
        event_types=event_types("billing.meter", "created deactivated reactivated updated"),
    ),
    StripeStream(
        "credit_grants",
        "/v1/billing/credit_grants",
        created=None,
        event_types=event_types("billing.credit_grant", "created updated"),
    ),
    StripeStream(
        "credit_balance_transactions",
        "/v1/billing/credit_balance_transactions",
        created=None,
        params={"credit_grant": "{parent}"},
        event_types=("billing.credit_balance_transaction.created",),
        parent="credit_grants",
        owner_fields=("customer", "customer_account"),
    ),
    # Of products that not every account has.
    StripeStream("accounts", "/v1/accounts", only_if_named="it is for platforms of Stripe Connect"),
    StripeStream(
        "issuing_authorizations",
        "/v1/issuing/authorizations",
        event_types=event_types("issuing_authorization", "created request updated"),
        only_if_named=_ISSUING,
    ),
    StripeStream(
        "issuing_cardholders",
        "/v1/issuing/cardholders",
        event_types=event_types("issuing_cardholder", "created updated"),
        only_if_named=_ISSUING,
    ),
    StripeStream(
        "issuing_cards",
        "/v1/issuing/cards",
        event_types=event_types("issuing_card", "created updated"),
        only_if_named=_ISSUING,
    ),
    StripeStream(
        "issuing_disputes",
        "/v1/issuing/disputes",
        event_types=event_types(
            "issuing_dispute",
            "closed created funds_reinstated funds_rescinded submitted updated",
        ),
        only_if_named=_ISSUING,
    ),
    StripeStream(
        "issuing_transactions",
        "/v1/issuing/transactions",
        event_types=event_types(
            "issuing_transaction", "created purchase_details_receipt_updated updated"
        ),
        only_if_named=_ISSUING,
    ),
)

STREAMS: Mapping[str, StripeStream] = {stream.name: stream for stream in _ALL}
"""Every stream by its name, in the order in which `discover` lists them."""
