"""The mysql connector."""

from cdpsync_connectors.mysql.connector import MysqlConnector

__all__ = ["MysqlConnector"]
