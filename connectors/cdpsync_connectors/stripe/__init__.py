"""The stripe connector."""

from cdpsync_connectors.stripe.connector import StripeConnector

__all__ = ["StripeConnector"]
