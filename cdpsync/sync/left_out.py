"""Streams that a source without `tables:` leaves out, and those of them that the lake has."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cdpsync.plan.configured import is_left_out, table_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cdpsync.model import Source, Stream
    from cdpsync.model.state import ProjectState

log = logging.getLogger("cdpsync.sync.left_out")


def loaded_streams(
    source: Source, streams: Iterable[Stream], load_state: Callable[[], ProjectState]
) -> set[str]:
    """Return the streams that the lake has, if any would be left out of the source.

    Those that are left out because they cannot be read are told.
    """
    left_out = [
        stream
        for stream in streams
        if is_left_out(source, stream) and table_options(source, stream.name)
    ]
    if not left_out:
        return set()
    loaded = {saved.stream for saved in load_state().saved_states if saved.source == source.name}
    unreadable = [s for s in left_out if s.unreadable_reason and s.name not in loaded]
    if unreadable:
        log.warning(
            "%s: left out, because %s: %s. A table that is named under tables: is not left out",
            source.name,
            unreadable[0].only_if_named,
            ", ".join(stream.name for stream in unreadable),
        )
    return loaded
