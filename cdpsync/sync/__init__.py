"""One run, from its start to its end."""

from cdpsync.sync.runner import plan, run

__all__ = [
    "plan",
    "run",
]
