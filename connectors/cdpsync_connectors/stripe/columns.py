"""The columns of Stripe's streams: the documented fields, and two columns of cdpsync's own.

The fields are those of `options.API_VERSION`, from the annotations of the library's classes:
https://docs.stripe.com/api. Fields whose numbers may have decimals are left out, because only
their values show how many.
"""

from __future__ import annotations

from cdpsync.model import Column

TIME = "TIMESTAMP WITH TIME ZONE"
ACCOUNT = Column("_account", "VARCHAR", nullable=False)
"""The column that rows of all connected accounts have: whose row it is."""

UPDATED, DELETED = "_updated_at", "_deleted_at"
"""The columns that a read of changes adds: when an object last changed, and was deleted."""

_TYPES = {"": "VARCHAR", "i": "BIGINT", "b": "BOOLEAN", "j": "JSON", "t": TIME}

# A name without a sign is a text; `t` are seconds since 1970.
_FIELDS = {
    "account": """
        id object created:t business_profile:j business_type capabilities:j charges_enabled:b
        company:j controller:j country default_currency details_submitted:b email
        external_accounts:j future_requirements:j groups:j individual:j metadata:j payouts_enabled:b
        requirements:j settings:j tos_acceptance:j type
    """,
    "balance_transactions": """
        id object created:t amount:i available_on:t balance_type currency description fee:i
        fee_details:j net:i reporting_category source status type
    """,
    "charges": """
        id object created:t livemode:b amount:i amount_captured:i amount_refunded:i application
        application_fee application_fee_amount:i authorization_code balance_transaction
        billing_details:j calculated_statement_descriptor captured:b currency customer description
        disputed:b failure_balance_transaction failure_code failure_message fraud_details:j level3:j
        metadata:j on_behalf_of outcome:j paid:b payment_intent payment_method
        payment_method_details:j presentment_details:j radar_options:j receipt_email receipt_number
        receipt_url refunded:b refunds:j review shipping:j source:j source_transfer
        statement_descriptor statement_descriptor_suffix status transfer transfer_data:j
        transfer_group
    """,
    "checkout_sessions": """
        id object created:t livemode:b adaptive_pricing:j after_expiration:j allow_promotion_codes:b
        allowed_payment_method_types:j amount_subtotal:i amount_total:i automatic_tax:j
        billing_address_collection branding_settings:j cancel_url client_reference_id client_secret
        collected_information:j consent:j consent_collection:j currency currency_conversion:j
        custom_fields:j custom_text:j customer customer_account customer_creation customer_details:j
        customer_email discounts:j excluded_payment_method_types:j expires_at:t
        integration_identifier invoice invoice_creation:j line_items:j locale managed_payments:j
        metadata:j mode name_collection:j optional_items:j origin_context payment_intent
        payment_link payment_method_collection payment_method_configuration_details:j
        payment_method_options:j payment_method_types:j payment_status permissions:j
        phone_number_collection:j presentment_details:j recovered_from redirect_on_completion
        return_url saved_payment_method_options:j setup_intent shipping_address_collection:j
        shipping_cost:j shipping_options:j status submit_type subscription success_url
        tax_id_collection:j total_details:j ui_mode url wallet_options:j
    """,
    "coupons": """
        id object created:t livemode:b amount_off:i applies_to:j currency currency_options:j
        duration duration_in_months:i max_redemptions:i metadata:j name redeem_by:t times_redeemed:i
        valid:b
    """,
    "credit_notes": """
        id object created:t livemode:b amount:i amount_shipping:i currency customer customer_account
        customer_balance_transaction discount_amount:i discount_amounts:j effective_at:t invoice
        lines:j memo metadata:j number out_of_band_amount:i pdf post_payment_amount:i
        pre_payment_amount:i pretax_credit_amounts:j reason refunds:j shipping_cost:j status
        subtotal:i subtotal_excluding_tax:i total:i total_excluding_tax:i total_taxes:j type
        voided_at:t
    """,
    "customers": """
        id object created:t livemode:b address:j balance:i business_name cash_balance:j currency
        customer_account default_source delinquent:b description discount:j email individual_name
        invoice_credit_balance:j invoice_prefix invoice_settings:j metadata:j name
        next_invoice_sequence:i phone preferred_locales:j shipping:j sources:j subscriptions:j tax:j
        tax_exempt tax_ids:j test_clock
    """,
    "disputes": """
        id object created:t livemode:b amount:i balance_transactions:j charge currency
        enhanced_eligibility_types:j evidence:j evidence_details:j intended_submission_method
        is_charge_refundable:b metadata:j network_reason_code payment_intent
        payment_method_details:j reason status
    """,
    "events": """
        id object created:t livemode:b account api_version context data:j pending_webhooks:i
        request:j type
    """,
    "invoice_items": """
        id object date:t livemode:b amount:i currency customer customer_account description
        discountable:b discounts:j frozen_fields:j invoice invoicing_rules:j metadata:j net_amount:i
        parent:j period:j pricing:j proration:b proration_details:j quantity:i quantity_decimal
        tax_rates:j test_clock
    """,
    "invoices": """
        id object created:t livemode:b account_country account_name account_tax_ids:j amount_due:i
        amount_overpaid:i amount_paid:i amount_paid_off_stripe:i amount_remaining:i
        amount_shipping:i application attempt_count:i attempted:b auto_advance:b automatic_tax:j
        automatically_finalizes_at:t billing_reason collection_method confirmation_secret:j currency
        custom_fields:j customer customer_account customer_address:j customer_email customer_name
        customer_phone customer_shipping:j customer_tax_exempt customer_tax_ids:j
        default_payment_method default_source default_tax_rates:j description discounts:j due_date:t
        effective_at:t ending_balance:i footer from_invoice:j hosted_invoice_url invoice_pdf
        issuer:j last_finalization_error:j latest_revision lines:j metadata:j next_payment_attempt:t
        number on_behalf_of parent:j payment_settings:j payments:j period_end:t period_start:t
        post_payment_credit_notes_amount:i pre_payment_credit_notes_amount:i receipt_number
        rendering:j shipping_cost:j shipping_details:j starting_balance:i statement_descriptor
        status status_details:j status_transitions:j subtotal:i subtotal_excluding_tax:i test_clock
        threshold_reason:j total:i total_discount_amounts:j total_excluding_tax:i
        total_pretax_credit_amounts:j total_taxes:j webhooks_delivered_at:t
    """,
    "payment_intents": """
        id object created:t livemode:b allowed_payment_method_types:j amount:i amount_capturable:i
        amount_details:j amount_received:i application application_fee_amount:i
        automatic_payment_methods:j canceled_at:t cancellation_reason capture_method client_secret
        confirmation_method currency customer customer_account description
        excluded_payment_method_types:j hooks:j last_payment_error:j latest_charge
        managed_payments:j metadata:j next_action:j on_behalf_of payment_details:j payment_method
        payment_method_configuration_details:j payment_method_options:j payment_method_types:j
        payment_record presentment_details:j processing:j receipt_email review setup_future_usage
        shipping:j source statement_descriptor statement_descriptor_suffix status transfer_data:j
        transfer_group
    """,
    "payment_methods": """
        id object created:t livemode:b acss_debit:j affirm:j afterpay_clearpay:j alipay:j
        allow_redisplay alma:j amazon_pay:j au_becs_debit:j bacs_debit:j bancontact:j billie:j
        billing_details:j bizum:j blik:j boleto:j card:j card_present:j cashapp:j crypto:j custom:j
        customer customer_account customer_balance:j eps:j fpx:j giropay:j grabpay:j ideal:j
        interac_present:j kakao_pay:j klarna:j konbini:j kr_card:j link:j mb_way:j metadata:j
        mobilepay:j multibanco:j naver_pay:j nz_bank_account:j oxxo:j p24:j pay_by_bank:j payco:j
        paynow:j paypal:j paypay:j payto:j pix:j promptpay:j radar_options:j revolut_pay:j
        samsung_pay:j satispay:j scalapay:j sepa_debit:j sequra:j sofort:j sunbit:j swish:j twint:j
        type upi:j us_bank_account:j wechat_pay:j zip:j
    """,
    "payouts": """
        id object created:t livemode:b amount:i application_fee application_fee_amount:i
        arrival_date:t automatic:b balance_transaction currency description destination
        failure_balance_transaction failure_code failure_message metadata:j method original_payout
        payout_method reconciliation_status reversed_by source_type statement_descriptor status
        trace_id:j type
    """,
    "plans": """
        id object created:t livemode:b active:b amount:i amount_decimal billing_scheme currency
        interval interval_count:i metadata:j meter nickname product tiers:j tiers_mode
        transform_usage:j trial_period_days:i usage_type
    """,
    "prices": """
        id object created:t livemode:b active:b billing_scheme currency currency_options:j
        custom_unit_amount:j lookup_key metadata:j nickname product recurring:j tax_behavior tiers:j
        tiers_mode transform_quantity:j type unit_amount:i unit_amount_decimal
    """,
    "products": """
        id object created:t livemode:b active:b default_price description images:j
        marketing_features:j metadata:j name package_dimensions:j shippable:b statement_descriptor
        tax_code tax_details:j type unit_label updated:t url
    """,
    "promotion_codes": """
        id object created:t livemode:b active:b code customer customer_account expires_at:t
        max_redemptions:i metadata:j promotion:j restrictions:j times_redeemed:i
    """,
    "quotes": """
        id object created:t livemode:b amount_subtotal:i amount_total:i application
        application_fee_amount:i automatic_tax:j collection_method computed:j currency customer
        customer_account default_tax_rates:j description discounts:j expires_at:t footer
        from_quote:j header invoice invoice_settings:j line_items:j metadata:j number on_behalf_of
        status status_transitions:j subscription subscription_data:j subscription_schedule
        test_clock total_details:j transfer_data:j
    """,
    "refunds": """
        id object created:t amount:i balance_transaction charge currency customer customer_account
        description destination_details:j failure_balance_transaction failure_reason
        instructions_email metadata:j next_action:j payment_intent payment_method pending_reason
        presentment_details:j reason receipt_number source_transfer_reversal status
        transfer_reversal
    """,
    "reviews": """
        id object created:t livemode:b billing_zip charge closed_reason ip_address
        ip_address_location:j open:b opened_reason payment_intent reason session:j
    """,
    "setup_intents": """
        id object created:t livemode:b allowed_payment_method_types:j application attach_to_self:b
        automatic_payment_methods:j cancellation_reason client_secret customer customer_account
        description excluded_payment_method_types:j flow_directions:j last_setup_error:j
        latest_attempt managed_payments:j mandate metadata:j next_action:j on_behalf_of
        payment_method payment_method_configuration_details:j payment_method_options:j
        payment_method_types:j single_use_mandate status usage
    """,
    "subscription_items": """
        id object created:t billed_until:t billing_thresholds:j current_period_end:t
        current_period_start:t current_trial:j discounts:j metadata:j plan:j price:j quantity:i
        subscription tax_rates:j
    """,
    "subscription_schedules": """
        id object created:t livemode:b application billing_mode:j canceled_at:t completed_at:t
        current_phase:j customer customer_account default_settings:j end_behavior metadata:j
        pause_schedules:j phases:j released_at:t released_subscription status subscription
        test_clock
    """,
    "subscriptions": """
        id object created:t livemode:b application automatic_tax:j billing_cycle_anchor:t
        billing_cycle_anchor_config:j billing_mode:j billing_schedules:j billing_thresholds:j
        cancel_at:t cancel_at_period_end:b canceled_at:t cancellation_details:j collection_method
        currency customer customer_account days_until_due:i default_payment_method default_source
        default_tax_rates:j description discounts:j ended_at:t invoice_settings:j items:j
        latest_invoice managed_payments:j metadata:j next_pending_invoice_item_invoice:t
        on_behalf_of pause_collection:j payment_settings:j pending_invoice_item_interval:j
        pending_setup_intent pending_update:j presentment_details:j schedule start_date:t status
        status_details:j test_clock transfer_data:j trial_end:t trial_settings:j trial_start:t
    """,
    "tax_rates": """
        id object created:t livemode:b active:b country description display_name flat_amount:j
        inclusive:b jurisdiction jurisdiction_level metadata:j rate_type state tax_type
    """,
    "topups": """
        id object created:t livemode:b amount:i balance_transaction currency description
        expected_availability_date:t failure_code failure_message initiated_by metadata:j
        payment_method payment_method_options:j source:j statement_descriptor status transfer_group
    """,
    "transfers": """
        id object created:t livemode:b amount:i amount_reversed:i balance_transaction currency
        description destination destination_payment metadata:j reversals:j reversed:b
        source_transaction source_type transfer_group
    """,
    "application_fees": """
        id object created:t livemode:b account amount:i amount_refunded:i application
        balance_transaction charge currency fee_source:j originating_transaction refunded:b
        refunds:j
    """,
    "tax_ids": """
        id object created:t livemode:b country customer customer_account owner:j type value
        verification:j
    """,
    "customer_balance_transactions": """
        id object created:t livemode:b amount:i checkout_session credit_note currency customer
        customer_account description ending_balance:i invoice metadata:j type
    """,
    "active_entitlements": """
        id object customer livemode:b feature lookup_key
    """,
    "entitlement_features": """
        id object livemode:b active:b lookup_key metadata:j name
    """,
    "invoice_line_items": """
        id object livemode:b amount:i currency description discount_amounts:j discountable:b
        discounts:j invoice metadata:j parent:j period:j pretax_credit_amounts:j pricing:j
        quantity:i quantity_decimal subscription subtotal:i taxes:j
    """,
    "invoice_payments": """
        id object created:t livemode:b amount_paid:i amount_requested:i currency invoice
        is_default:b payment:j status status_transitions:j
    """,
    "payment_links": """
        id object livemode:b active:b after_completion:j allow_promotion_codes:b application
        application_fee_amount:i automatic_tax:j billing_address_collection consent_collection:j
        currency custom_fields:j custom_text:j customer_creation inactive_message invoice_creation:j
        line_items:j managed_payments:j metadata:j name_collection:j on_behalf_of optional_items:j
        payment_intent_data:j payment_method_collection payment_method_options:j
        payment_method_types:j phone_number_collection:j restrictions:j
        shipping_address_collection:j shipping_options:j submit_type subscription_data:j
        tax_id_collection:j transfer_data:j url
    """,
    "shipping_rates": """
        id object created:t livemode:b active:b delivery_estimate:j display_name fixed_amount:j
        metadata:j tax_behavior tax_code type
    """,
    "setup_attempts": """
        id object created:t livemode:b application attach_to_self:b customer customer_account
        flow_directions:j on_behalf_of payment_method payment_method_details:j setup_error:j
        setup_intent status usage
    """,
    "early_fraud_warnings": """
        id object created:t livemode:b actionable:b charge fraud_type payment_intent
    """,
    "billing_meters": """
        id object created:t livemode:b customer_mapping:j default_aggregation:j display_name
        event_name event_time_window status status_transitions:j updated:t value_settings:j
    """,
    "credit_grants": """
        id object created:t livemode:b amount:j applicability_config:j category customer
        customer_account effective_at:t expires_at:t metadata:j name priority:i test_clock updated:t
        voided_at:t
    """,
    "credit_balance_transactions": """
        id object created:t livemode:b credit:j credit_grant debit:j effective_at:t test_clock type
    """,
    "issuing_authorizations": """
        id object created:t livemode:b amount:i amount_details:j approved:b authorization_method
        balance_transactions:j card:j card_presence cardholder currency fleet:j fraud_challenges:j
        fuel:j merchant_amount:i merchant_currency merchant_data:j metadata:j network_data:j
        pending_request:j request_history:j status token transactions:j treasury:j
        verification_data:j verified_by_fraud_challenge:b wallet
    """,
    "issuing_cardholders": """
        id object created:t livemode:b billing:j company:j email individual:j metadata:j name
        phone_number preferred_locales:j requirements:j spending_controls:j status type
    """,
    "issuing_cards": """
        id object created:t livemode:b brand cancellation_reason cardholder:j currency cvc
        exp_month:i exp_year:i financial_account last4 latest_fraud_warning:j lifecycle_controls:j
        metadata:j number personalization_design replaced_by replacement_for replacement_reason
        second_line shipping:j spending_controls:j status type wallets:j
    """,
    "issuing_disputes": """
        id object created:t livemode:b amount:i balance_transactions:j currency evidence:j
        loss_reason metadata:j status transaction treasury:j
    """,
    "issuing_transactions": """
        id object created:t livemode:b amount:i amount_details:j authorization balance_transaction
        card cardholder currency dispute merchant_amount:i merchant_currency merchant_data:j
        metadata:j network_data:j purchase_details:j token treasury:j type wallet
    """,
}


_SAME_AS = {"accounts": "account", "account_tax_ids": "tax_ids"}


def columns_of(stream: str) -> tuple[Column, ...]:
    """Return the documented columns of a stream; `id` is never NULL."""
    fields = (field.partition(":") for field in _FIELDS[_SAME_AS.get(stream, stream)].split())
    return tuple(Column(name, _TYPES[sign], name != "id") for name, _, sign in fields)
