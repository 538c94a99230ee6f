"""The YAML of `discover --yaml`: a `tables:` section with a mode for each stream, and why."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from cdpsync.plan.selector import as_pattern
from cdpsync.serialize.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cdpsync.model import ChangeLog, Stream

# A cursor has to move whenever a row changes. That a column is a time is not enough: created_at and
# order_date are times too, and to follow them would lose updates in silence.
_CHANGE_TIME = re.compile(
    r"updat|modif|chang|edited|touched|last_?mod|_mtime|^mtime|systemmodstamp|synced", re.IGNORECASE
)
_INDENT = " " * 4  # of a source's keys, in the file that `init` writes
_PLAIN = re.compile(r"[A-Za-z_][\w.\-]*")
_NOT_TEXT = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def proposal(source: str, streams: Sequence[Stream], suggestions: Sequence[str] = ()) -> str:
    """Return YAML to paste below the keys of a source, with a safe mode for each stream.

    What the connector suggests to change stands above, as comments.
    """
    if not streams:
        return f'# no streams were found in "{source}"\n'
    head = [
        *(f"# {printable(suggestion)}" for suggestion in suggestions),
        f'# Paste this below the keys of "{printable(source)}:", then choose: a mode is proposed',
        "# where the columns allow it; full_table, which reads every row, is always right.",
        "tables:",
    ]
    lines = [f"{_INDENT}{line}" for line in [*head, *(f"  {line}" for line in entries(streams))]]
    return "\n".join(lines) + "\n"


def entries(streams: Sequence[Stream]) -> list[str]:
    """Return a line of YAML for each stream: its name, a safe mode, and the reason."""
    pairs = [_entry(stream) for stream in streams]
    width = max(len(entry) for entry, _ in pairs)
    return [f"{entry:<{width}}  # {reason}" for entry, reason in pairs]


def _entry(stream: Stream) -> tuple[str, str]:
    cursor = next(_change_times(stream), None)
    name = _scalar(as_pattern(stream.name))
    if stream.only_if_named:
        return f"{name}: {{enabled: false}}", printable(stream.only_if_named)
    if stream.unreadable_reason:
        return (
            f"{name}: {{mode: full_table}}",
            f"cannot be read: {printable(stream.unreadable_reason)}",
        )
    keys = ", ".join(map(printable, stream.primary_key))
    key = ", ".join(map(_scalar, stream.primary_key))
    if stream.primary_key and stream.changes:
        return f"{name}: {{mode: incremental}}", f"key {keys}; {_change_log(stream.changes)}"
    if stream.primary_key and cursor:
        options = f"mode: incremental, cursor_field: {_scalar(cursor)}, primary_key: [{key}]"
        reason = f"{keys} is its key; {printable(cursor)} shows which rows changed"
        return f"{name}: {{{options}}}", reason
    return f"{name}: {{mode: full_table}}", _reason_for_full_table(stream, cursor)


def _change_log(changes: ChangeLog) -> str:
    if changes.cursor is None:
        return "the source reports how far it was read"
    retention = f", kept for {changes.retention.days} days" if changes.retention else ""
    deletes = "; deletes: hard or soft follows deletions" if changes.includes_deletes else ""
    return f"the source has a log of changes{retention}{deletes}"


def _reason_for_full_table(stream: Stream, cursor: str | None) -> str:
    if cursor:
        return f"no primary key: give primary_key to follow {printable(cursor)}"
    if not stream.cursor_fields:
        return "no column to follow"
    cursors = ", ".join(map(printable, stream.cursor_fields[:3]))
    return f"no column is known to move with every change; possible cursors: {cursors}"


def _change_times(stream: Stream) -> Iterator[str]:
    for name in stream.cursor_fields:
        column = stream.column(name)
        is_time = column is not None and column.type.startswith(("TIMESTAMP", "DATE"))
        if is_time and _CHANGE_TIME.search(name):
            yield name


def _scalar(text: str) -> str:
    """Return a text as YAML, quoted where it would be read as something else."""
    if _PLAIN.fullmatch(text) and text.isascii() and text.lower() not in _NOT_TEXT:
        return text
    return json.dumps(text)
