"""Any REST or GraphQL API, described in YAML."""

from cdpsync_connectors.rest.connector import RestConnector

__all__ = ["RestConnector"]
