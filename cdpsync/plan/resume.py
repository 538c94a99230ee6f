"""The point where a read begins: the saved cursor, or the start, with the reason for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from cdpsync.model import Cursor, LakeTable, SavedState, SyncMode

if TYPE_CHECKING:
    from cdpsync.model import Stream, TablePlan


ROW_FORMAT = "row_format"
"""The setting that is the format of a table's rows: a change of it is told, and loads nothing."""


@dataclass(frozen=True, slots=True)
class PreviousState:
    """The state of a table before a run: its cursor, and its columns in the lake.

    `cursor` comes from the state file, which a person may edit. `saved_state` is the state that
    the table's last commit saved.
    """

    cursor_field: str | None = None
    cursor: Cursor | None = None
    reset: bool = False
    lake_table: LakeTable | None = None
    saved_state: SavedState | None = None


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """The cursor that a read continues from; None: every row is read.

    `reason` says why a table with a cursor is read from its start. `replaces`: the rows that are
    read replace those in the lake. `is_rebuilt`: whether they do is decided by the rows.
    """

    cursor: Cursor | None = None
    reason: str = ""
    replaces: bool = True
    is_rebuilt: bool = False


def resume_from(plan: TablePlan, previous: PreviousState, now: datetime) -> ResumePoint:
    """Return where a run begins to read; docs/decisions/0006 has the reasons.

    An append-only table has old versions of its rows. If its mode changes to one row per key, it
    is loaded from the start. A table that stays append-only keeps its rows in every case.
    """
    cursor, saved = previous.cursor, previous.saved_state
    appends = plan.mode is SyncMode.APPEND_ONLY
    if cursor is None or plan.cursor_type is None:
        is_continued = appends and _was_appended_without_cursor(saved, plan.cursor_field)
        return ResumePoint(replaces=not is_continued)
    has_other_field = previous.cursor_field not in {None, plan.cursor_field}
    was_appended = saved is not None and saved.mode is SyncMode.APPEND_ONLY
    if has_other_field or cursor.type is not plan.cursor_type or (was_appended and not appends):
        return ResumePoint(reason="its saved cursor does not fit its mode and cursor_field")
    if not appends and settings_changed(saved, plan.settings):
        return ResumePoint(reason="its primary key, where or deletes has changed")
    expired = "" if appends else _change_log_expired(plan.stream, cursor, now)
    if expired:
        return ResumePoint(reason=expired)
    if _is_rewritten(plan.stream, saved):
        reason = "the table was emptied or rewritten at the source"
        return ResumePoint(reason=reason, replaces=False, is_rebuilt=True)
    if _is_recreated(plan.stream, saved):
        if plan.stream.rebuild_changes_identity:
            reason = "the table was created again or rebuilt at the source"
            return ResumePoint(reason=reason, replaces=False, is_rebuilt=True)
        reason = "the table was created again at the source"
        return ResumePoint(reason=reason, replaces=not appends)
    return ResumePoint(cursor, replaces=False)


def settings_changed(saved: SavedState | None, settings: str) -> bool:
    """Whether a table was loaded with another primary key, `where` or `deletes`."""
    if saved is None or saved.settings is None:
        return False
    return _without_format(saved.settings) != _without_format(settings)


def row_format_notice(settings: str, row_format: str | None, refresh: str) -> list[str]:
    """Return a notice if a table's rows have another format than the source writes now."""
    loaded = _row_format_of(settings)
    if loaded == row_format or loaded is None or row_format is None:
        return []
    notice = (
        f"the source writes rows as {row_format} now: those that were loaded as {loaded} stay so "
        f"until they are read again. Load them all anew with {refresh}"
    )
    return [notice]


def _row_format_of(settings: str | None) -> str | None:
    """Return the format of a table's rows, from the settings that it was loaded with."""
    return json.loads(settings).get(ROW_FORMAT) if settings else None


def with_loaded_format(saved: SavedState | None, settings: str) -> str:
    """Return the settings with the format of the rows that the lake has.

    Of rows that an earlier version of cdpsync loaded, the format is taken to be today's.
    """
    loaded = _row_format_of(saved.settings) if saved else None
    return settings if loaded is None else json.dumps({**json.loads(settings), ROW_FORMAT: loaded})


def _without_format(settings: str) -> dict[str, object]:
    return {name: value for name, value in json.loads(settings).items() if name != ROW_FORMAT}


def _was_appended_without_cursor(saved: SavedState | None, cursor_field: str | None) -> bool:
    """Whether rows were appended to a table, and none of them gave a cursor to continue from."""
    if saved is None or saved.mode is not SyncMode.APPEND_ONLY:
        return False
    return saved.cursor is None and saved.cursor_field == cursor_field


def _is_recreated(stream: Stream, saved: SavedState | None) -> bool:
    """Whether the stream has the name of the one that was read before, but another identity."""
    if saved is None or saved.identity is None:
        return False
    before = saved.identity if stream.rewrite is None else _split(saved.identity)[0]
    if before == stream.identity:
        return False
    if not stream.rebuild_changes_identity:
        return True
    server_before, server = ((text or "").rpartition(" ")[0] for text in (before, stream.identity))
    return server_before == server


def _is_rewritten(stream: Stream, saved: SavedState | None) -> bool:
    """Whether the stream is the table that was read before, and its rows were all rewritten."""
    if saved is None or saved.identity is None or stream.rewrite is None:
        return False
    identity, rewrite = _split(saved.identity)
    is_known = bool(rewrite) and identity == stream.identity
    return is_known and not set(rewrite.split(",")) & set(stream.rewrite.split(","))


def _split(saved: str) -> tuple[str, str]:
    """Return the two parts of `Stream.saved_identity`; an earlier version saved the first alone."""
    identity, _, rewrite = saved.rpartition(" ")
    return (identity, rewrite) if identity else (saved, "")


def _change_log_expired(stream: Stream, cursor: Cursor, now: datetime) -> str:
    """Return the reason if the source's change log no longer reaches back to the cursor, or ""."""
    retention = stream.changes.retention if stream.changes else None
    if retention is None or not isinstance(cursor.value, datetime):
        return ""
    kept_since = stream.changes.kept_since if stream.changes else None
    if kept_since is not None:  # the source's clock decides: this machine's may be another
        now = kept_since + retention
    age = now - cursor.value
    if age <= retention:
        return ""
    return (
        f"the source keeps its change log for {retention.days} days, and the cursor is "
        f"{age.days} days old"
    )
