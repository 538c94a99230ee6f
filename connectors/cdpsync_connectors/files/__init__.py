"""The files connector."""

from cdpsync_connectors.files.connector import FilesConnector

__all__ = ["FilesConnector"]
