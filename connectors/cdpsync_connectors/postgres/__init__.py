"""The postgres connector."""

from cdpsync_connectors.postgres.connector import PostgresConnector

__all__ = ["PostgresConnector"]
