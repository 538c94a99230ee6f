"""`discover --yaml`: a `tables:` section to paste, with a mode for each stream and the reason."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from cdpsync.serialize.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cdpsync.model import ChangeLog, Stream

# A cursor has to move whenever a row changes. A time is not enough for that: created_at and
# order_date are times too, and following them would lose updates in silence.
_SAYS_CHANGED = re.compile(
    r"updat|modif|chang|edited|touched|last_?mod|_mtime|^mtime|systemmodstamp|synced", re.IGNORECASE
)
_PLAIN = re.compile(r"[A-Za-z_][\w.\-]*")
_NOT_TEXT = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def proposal(source: str, streams: Sequence[Stream]) -> str:
    """Return YAML that stands under `sources: <source>:`, each stream with a safe mode."""
    if not streams:
        return f'# no streams were found in "{source}"\n'
    head = [
        f'# Paste this under "sources: {printable(source)}:", then choose: a mode is proposed',
        "# where the columns speak for it; what reads every row is always right.",
        "tables:",
    ]
    entries = [_entry(stream) for stream in streams]
    width = max(len(entry) for entry, _ in entries)
    return "\n".join([*head, *(f"  {entry:<{width}}  # {why}" for entry, why in entries)]) + "\n"


def _entry(stream: Stream) -> tuple[str, str]:
    cursor = next(_change_times(stream), None)
    name = _scalar(stream.name)
    if stream.unreadable_reason:
        return (
            f"{name}: {{mode: full_table}}",
            f"cannot be read: {printable(stream.unreadable_reason)}",
        )
    keys = ", ".join(map(printable, stream.primary_key))
    key = ", ".join(map(_scalar, stream.primary_key))
    if stream.primary_key and stream.changes:
        return f"{name}: {{mode: incremental}}", f"key {keys}; {_log(stream.changes)}"
    if stream.primary_key and cursor:
        options = f"mode: incremental, cursor_field: {_scalar(cursor)}, primary_key: [{key}]"
        return f"{name}: {{{options}}}", f"{keys} is its key; {printable(cursor)} says what changed"
    return f"{name}: {{mode: full_table}}", _why_full(stream, cursor)


def _log(changes: ChangeLog) -> str:
    kept = f", kept for {changes.retention.days} days" if changes.retention else ""
    gone = "; deletes: hard or soft follows deletions" if changes.includes_deletes else ""
    return f"the source has a log of what changed{kept}{gone}"


def _why_full(stream: Stream, cursor: str | None) -> str:
    if cursor:
        return f"no primary key: give primary_key to follow {printable(cursor)}"
    if not stream.cursor_fields:
        return "no column to follow"
    named = ", ".join(map(printable, stream.cursor_fields[:3]))
    return f"no column is known to move with every change; possible cursors: {named}"


def _change_times(stream: Stream) -> Iterator[str]:
    for name in stream.cursor_fields:
        column = stream.column(name)
        is_time = column is not None and column.type.startswith(("TIMESTAMP", "DATE"))
        if is_time and _SAYS_CHANGED.search(name):
            yield name


def _scalar(text: str) -> str:
    """Return a text as YAML, quoted where it would be read as something else."""
    if _PLAIN.fullmatch(text) and text.isascii() and text.lower() not in _NOT_TEXT:
        return text
    return json.dumps(text)
