"""Upkeep of the lake: old snapshots, small files, and what crashed runs left."""

from cdpsync.maintain.maintenance import GRACE, age, has_aged, maintain

__all__ = [
    "GRACE",
    "age",
    "has_aged",
    "maintain",
]
