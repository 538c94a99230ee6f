"""Where a read of a table begins: at its cursor, or at its start, and what becomes of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from cdpsync.model import Cursor, CursorType, LakeTable, SavedState, SyncMode

if TYPE_CHECKING:
    from cdpsync.plan.configured import ConfiguredTable


@dataclass(frozen=True, slots=True)
class PreviousState:
    """What is known of a table from before: where its cursor stands, and its form in the lake.

    The state file says where to go on; `saved_state` is what the last commit knew.
    """

    cursor_field: str | None = None
    cursor: Cursor | None = None
    reset: bool = False
    lake_table: LakeTable | None = None
    saved_state: SavedState | None = None


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where to go on from; without a cursor every row is read, and `reason`, where that is news.

    `replaces`: what is read takes the place of the rows that landed.
    """

    cursor: Cursor | None = None
    reason: str = ""
    replaces: bool = True


def resume_from(
    one: ConfiguredTable,
    remembered: PreviousState,
    cursor_field: str | None,
    cursor_type: CursorType | None,
    settings: str,
    now: datetime,
) -> ResumePoint:
    """Return where a run begins; docs/decisions/0006 says why.

    A table that was appended to holds old versions of its rows: to become a table with one row
    per key, it is loaded anew. Rows that were appended stay, whatever became of the source.
    """
    cursor, known = remembered.cursor, remembered.saved_state
    appends = one.mode is SyncMode.APPEND_ONLY
    if cursor is None or cursor_field is None:
        return ResumePoint(replaces=not (appends and _was_appended_to(known, cursor_field)))
    other_field = remembered.cursor_field not in {None, cursor_field}
    was_appended = known is not None and known.mode is SyncMode.APPEND_ONLY
    if other_field or cursor.type is not cursor_type or (was_appended and not appends):
        return ResumePoint(reason="its cursor does not apply")
    if not appends and settings_changed(known, settings):
        return ResumePoint(reason="its primary key, where or deletes has changed")
    forgotten = "" if appends else _change_log_expired(one, cursor, now)
    if forgotten:
        return ResumePoint(reason=forgotten)
    if _is_recreated(one, known):
        return ResumePoint(reason="the table was made anew at the source", replaces=not appends)
    return ResumePoint(cursor, replaces=False)


def settings_changed(known: SavedState | None, settings: str) -> bool:
    """Whether a table was loaded with another key, `where` or `deletes`."""
    return known is not None and known.settings not in {None, settings}


def _was_appended_to(known: SavedState | None, cursor_field: str | None) -> bool:
    """Whether a table was appended to without any row that had a cursor to go on from."""
    if known is None or known.mode is not SyncMode.APPEND_ONLY:
        return False
    return known.cursor is None and known.cursor_field == cursor_field


def _is_recreated(one: ConfiguredTable, known: SavedState | None) -> bool:
    """Whether the stream is not the one that was read before, though it has its name."""
    if known is None or one.stream is None:
        return False
    return known.identity not in {None, one.stream.identity}


def _change_log_expired(one: ConfiguredTable, cursor: Cursor, now: datetime) -> str:
    """Say that the source's log of changes does not reach back to the cursor, if it does not."""
    kept = one.stream.changes.retention if one.stream and one.stream.changes else None
    if kept is None or not isinstance(cursor.value, datetime) or now - cursor.value <= kept:
        return ""
    days = (now - cursor.value).days
    return f"the source keeps its log of changes for {kept.days} days, and the cursor is {days} old"
