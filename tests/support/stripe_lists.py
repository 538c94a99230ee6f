"""The lists of Stripe's API that the fake server has: their filters, parents and fields.

https://docs.stripe.com/api. Each list is named by its path behind `/v1/`.
"""

from __future__ import annotations

CREATED_LISTS = {  # with the beginning of an id
    "balance_transactions": "txn",
    "charges": "ch",
    "checkout/sessions": "cs",
    "coupons": "co",
    "credit_notes": "cn",
    "customers": "cus",
    "disputes": "dp",
    "events": "evt",
    "invoices": "in",
    "payment_intents": "pi",
    "payouts": "po",
    "plans": "plan",
    "prices": "price",
    "products": "prod",
    "promotion_codes": "promo",
    "refunds": "re",
    "reviews": "prv",
    "setup_intents": "seti",
    "subscription_schedules": "sub_sched",
    "subscriptions": "sub",
    "tax_rates": "txr",
    "topups": "tu",
    "transfers": "tr",
    "application_fees": "fee",
    "invoiceitems": "ii",
    "accounts": "acct",
    "invoice_payments": "inpay",
    "issuing/authorizations": "iauth",
    "issuing/cardholders": "ich",
    "issuing/cards": "ic",
    "issuing/disputes": "idp",
    "issuing/transactions": "ipi",
    "radar/early_fraud_warnings": "issfr",
    "shipping_rates": "shr",
}
LISTS = {
    **CREATED_LISTS,
    "billing/credit_balance_transactions": "cbtxn",
    "billing/credit_grants": "credgr",
    "billing/meters": "mtr",
    "customer_balance_transactions": "cbtxn",
    "entitlements/active_entitlements": "ent",
    "entitlements/features": "feat",
    "payment_links": "plink",
    "payment_methods": "pm",
    "quotes": "qt",
    "setup_attempts": "setatt",
    "subscription_items": "si",
    "tax_ids": "txi",
}
EXTRA = {"events": {"type", "types"}, "subscriptions": {"status"}}
OBJECTS = {"checkout/sessions": "checkout.session", "invoiceitems": "invoiceitem"}

REQUIRED = {  # a parameter that names a parent, and the parents' list
    "billing/credit_balance_transactions": ("customer", "customers"),
    "entitlements/active_entitlements": ("customer", "customers"),
    "setup_attempts": ("setup_intent", "setup_intents"),
    "subscription_items": ("subscription", "subscriptions"),
}
OPTIONAL = {
    "billing/credit_balance_transactions": ("credit_grant", "billing/credit_grants"),
    "invoice_payments": ("invoice", "invoices"),
}
OF_CUSTOMERS = {  # the last part of the path, and the list
    "balance_transactions": "customer_balance_transactions",
    "payment_methods": "payment_methods",
    "tax_ids": "tax_ids",
}
WITH_STUBS = {"customers", "products", "coupons"}

EXPANDABLE = {  # fields that an object has only if they are asked for
    "charges": {"refunds"},
    "checkout/sessions": {"line_items"},
    "coupons": {"applies_to", "currency_options"},
    "customers": {"sources", "subscriptions", "tax_ids"},
    "invoices": {"payments"},
    "payment_links": {"line_items"},
    "plans": {"tiers"},
    "prices": {"currency_options", "tiers"},
    "quotes": {"line_items"},
}
