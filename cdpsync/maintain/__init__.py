"""Upkeep of the lake: old snapshots, small files, and the files of crashed runs."""

from cdpsync.maintain.maintenance import expire, expiry_is_due, maintain

__all__ = [
    "expire",
    "expiry_is_due",
    "maintain",
]
