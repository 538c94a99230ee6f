"""Destinations: net changes of lake tables and queries, sent as HTTP requests."""
