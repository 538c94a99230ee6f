"""The snowflake connector."""

from cdpsync_connectors.snowflake.connector import SnowflakeConnector

__all__ = ["SnowflakeConnector"]
