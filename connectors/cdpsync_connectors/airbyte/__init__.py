"""Airbyte connectors."""
