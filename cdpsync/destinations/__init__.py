"""Destinations: net changes of lake tables and queries, sent as HTTP requests."""

from cdpsync.destinations.checks import check
from cdpsync.destinations.operations import (
    disable,
    drop_dead_letters,
    enable,
    find_dead_letters,
)
from cdpsync.destinations.overviews import overviews
from cdpsync.destinations.presets import preset_text, types
from cdpsync.destinations.previews import preview, try_one
from cdpsync.destinations.replay import replay
from cdpsync.destinations.runner import send, send_after_run
from cdpsync.destinations.selection import split_patterns

__all__ = [
    "check",
    "disable",
    "drop_dead_letters",
    "enable",
    "find_dead_letters",
    "overviews",
    "preset_text",
    "preview",
    "replay",
    "send",
    "send_after_run",
    "split_patterns",
    "try_one",
    "types",
]
