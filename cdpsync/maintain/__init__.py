"""Upkeep of the lake: old snapshots, small files, and what crashed runs left."""

from cdpsync.maintain.maintenance import GRACE, expire, expiry_is_due, maintain

__all__ = [
    "GRACE",
    "expire",
    "expiry_is_due",
    "maintain",
]
