"""Feeds: what changed in a table or a query since a destination's position."""
