"""The state file: the saved cursors, which people and scripts can read and rewind."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cdpsync.errors import CatalogError
from cdpsync.model import CursorType, SavedState
from cdpsync.model.cursors import cursor_json, parse_cursor
from cdpsync.model.state import StateFileEntry, TableKey
from cdpsync.system import disk, private_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

VERSION = 1

State = dict[TableKey, StateFileEntry]


def read_state(path: Path) -> State | None:
    """Return the state file's entries, or None if there is no file.

    Raises CatalogError that names the path and the next step, if it is not a state file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise CatalogError(
            f"{path}: cannot be read: {error.strerror}. Ask its owner to let you read it. To query "
            "the lake takes only its catalog, or a published lake: cdpsync query --lake PATH."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, str(error)) from error
    try:
        content = json.loads(text)
        version = content["version"]
        if version == VERSION:
            return {
                (source, stream): _entry(entry)
                for source, streams in content["tables"].items()
                for stream, entry in streams.items()
            }
    except RecursionError as error:
        raise _unreadable(path, "its values are nested too deep") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(path, f"{type(error).__name__}: {error}") from error
    raise CatalogError(
        f"{path}: the state file has version {version!r}, this cdpsync knows version {VERSION}. "
        "Upgrade cdpsync."
    )


def update_state(path: Path, change: Callable[[State], None]) -> None:
    """Read the state, change it and write it back, while other processes wait to do the same.

    An unchanged state is not written. The new file is complete on the disk before it replaces the
    old one.
    """
    with _exclusive(path):
        before = read_state(path)
        state = dict(before or {})
        change(state)
        if state != before:
            _write(path, state)


# Any: JSON of mixed depth
def state_json(state: Mapping[TableKey, StateFileEntry]) -> dict[str, Any]:
    """Return the state as the JSON of its file."""
    tables: dict[str, dict[str, Any]] = {}
    for (source, stream), entry in sorted(state.items()):
        cursor = entry.cursor
        tables.setdefault(source, {})[stream] = {
            "cursor_field": entry.cursor_field,
            "cursor": cursor and {"type": cursor.type.value, "value": cursor_json(cursor)},
            "run_id": entry.run_id,
            "committed_at": entry.committed_at and entry.committed_at.isoformat(),
        } | _optional(entry)
    return {"version": VERSION, "tables": tables}


def _optional(entry: StateFileEntry) -> dict[str, Any]:  # Any: JSON
    """Return the keys that an entry has only where they say something."""
    reset = {"reset": True} if entry.reset else {}
    source = {"source_identity": entry.source_identity} if entry.source_identity else {}
    return reset | source


def entry_of(saved_state: SavedState) -> StateFileEntry:
    """Return the state file's entry of a table with this state."""
    return StateFileEntry(
        saved_state.cursor_field,
        saved_state.cursor,
        saved_state.run_id,
        saved_state.committed_at,
        saved_state.reset,
        saved_state.source_identity.label if saved_state.source_identity else None,
    )


def reconcile(state: State | None, catalog: Iterable[SavedState]) -> tuple[State, tuple[str, ...]]:
    """Reconcile the state file with the catalog before a run; return the state and notices.

    If the two are of different runs, the catalog wins, because one transaction committed the rows
    and their cursor. If they are of the same run, the state file wins, because a person may have
    edited it. An entry that only the state file has stays if a person set it. It is dropped if a
    run wrote it, because its lake no longer exists.
    """
    if state is None:
        rebuilt = {(entry.source, entry.stream): entry_of(entry) for entry in catalog}
        return rebuilt, ("the state file is missing: rebuilt from the catalog",) if rebuilt else ()
    merged: State = {}
    notices: list[str] = []
    saved_states = {(saved.source, saved.stream): saved for saved in catalog}
    for key, saved in saved_states.items():
        entry = state.get(key)
        if entry is not None and entry.run_id == saved.run_id:
            merged[key] = entry
        else:
            merged[key] = entry_of(saved)
            notices.append(
                f"{key[0]}.{key[1]}: the state file is not of the catalog's last run: "
                "the catalog's cursor is used"
            )
    for key, entry in state.items():
        if key not in saved_states and entry.run_id is None:
            merged[key] = entry
    return merged, tuple(notices)


def _entry(content: dict[str, Any]) -> StateFileEntry:  # Any: JSON of the file
    cursor = content["cursor"]
    committed_at = content.get("committed_at")
    return StateFileEntry(
        cursor_field=content["cursor_field"],
        cursor=parse_cursor(CursorType(cursor["type"]), cursor["value"]) if cursor else None,
        run_id=content.get("run_id"),
        committed_at=datetime.fromisoformat(committed_at) if committed_at else None,
        reset=bool(content.get("reset", False)),
        source_identity=content.get("source_identity"),
    )


def _unreadable(path: Path, reason: str) -> CatalogError:
    return CatalogError(
        f"{path}: this is not a readable state file ({reason}). Nothing was changed. Fix it, or "
        "remove it: the next run rebuilds it from the catalog."
    )


def _write(path: Path, state: State) -> None:
    temporary = path.with_name(f".{path.name}.tmp")  # the lock's holder alone writes it
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(state_json(state), file, indent=2, ensure_ascii=False)
            file.write("\n")
            file.flush()
            disk.sync(file.fileno())
        temporary.replace(path)
        disk.fsync(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CatalogError(
            f"{path}: the state file cannot be written: {error.strerror}. The lake has the rows "
            "and their cursors; the next run corrects the file."
        ) from error


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    lock = path.with_name(f".{path.name}.lock")
    try:
        private_files.make_folder(path.parent)
        file = private_files.open_file(lock, "a")
    except OSError as error:
        raise CatalogError(f"{lock}: cannot be written: {error.strerror}.") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
