"""Airbyte's connectors: manifests that its CDK runs, and packages that are programs."""

from cdpsync_connectors.airbyte.connector import AirbyteConnector

__all__ = ["AirbyteConnector"]
