"""The state file: the persisted cursors, for people and scripts to read and to rewind."""

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
    """Return the state file's entries, or None when there is no file.

    Raises CatalogError, naming the path and the way out, when it is not a state file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, str(error)) from error
    try:
        said = json.loads(text)
        version = said["version"]
        if version == VERSION:
            return {
                (source, stream): _entry(entry)
                for source, streams in said["tables"].items()
                for stream, entry in streams.items()
            }
    except RecursionError as error:
        raise _unreadable(path, "its values are nested too deep") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(path, f"{type(error).__name__}: {error}") from error
    raise CatalogError(
        f"{path}: state of version {version!r}; this cdpsync knows version {VERSION}. "
        "Upgrade cdpsync."
    )


def update_state(path: Path, change: Callable[[State], None]) -> None:
    """Read the state, change it and write it back, while no other process does the same.

    What is as it was is not written.
    The new file is complete on the disk before it takes the old one's name.
    """
    with _alone(path):
        before = read_state(path)
        state = dict(before or {})
        change(state)
        if state != before:
            _write(path, state)


# Any: JSON of mixed depth
def state_json(state: Mapping[TableKey, StateFileEntry]) -> dict[str, Any]:
    """Return the state as the JSON that its file holds."""
    tables: dict[str, dict[str, Any]] = {}
    for (source, stream), entry in sorted(state.items()):
        cursor = entry.cursor
        tables.setdefault(source, {})[stream] = {
            "cursor_field": entry.cursor_field,
            "cursor": cursor and {"type": cursor.type.value, "value": cursor_json(cursor)},
            "run_id": entry.run_id,
            "committed_at": entry.committed_at and entry.committed_at.isoformat(),
        } | ({"reset": True} if entry.reset else {})
    return {"version": VERSION, "tables": tables}


def entry_of(saved_state: SavedState) -> StateFileEntry:
    """Return the state file's entry of a table whose state is this one."""
    return StateFileEntry(
        saved_state.cursor_field,
        saved_state.cursor,
        saved_state.run_id,
        saved_state.committed_at,
        saved_state.reset,
    )


def reconcile(state: State | None, catalog: Iterable[SavedState]) -> tuple[State, tuple[str, ...]]:
    """Bring state file and catalog together after whatever happened between two runs.

    The transaction that committed the rows holds their cursor too, so where the two speak of
    different runs the catalog is right. Where they speak of the same run, the state file is: a
    person may have edited it. What only the state file knows is kept when a person set it there
    and dropped when a run did: the lake it spoke of is gone. Returns the state and notices.
    """
    if state is None:
        rebuilt = {(entry.source, entry.stream): entry_of(entry) for entry in catalog}
        notices = ("the state file is missing: rebuilt from the catalog",) if rebuilt else ()
        return rebuilt, notices
    merged: State = {}
    notices_found: list[str] = []
    known = {(entry.source, entry.stream): entry for entry in catalog}
    for key, entry in known.items():
        said = state.get(key)
        if said is not None and said.run_id == entry.run_id:
            merged[key] = said
        else:
            merged[key] = entry_of(entry)
            notices_found.append(
                f"{key[0]}.{key[1]}: the state file is not of the catalog's last run: "
                "the catalog's cursor is used"
            )
    for key, said in state.items():
        if key not in known and said.run_id is None:
            merged[key] = said
    return merged, tuple(notices_found)


def _entry(said: dict[str, Any]) -> StateFileEntry:  # Any: whatever stands in the file
    cursor = said["cursor"]
    committed_at = said.get("committed_at")
    return StateFileEntry(
        cursor_field=said["cursor_field"],
        cursor=parse_cursor(CursorType(cursor["type"]), cursor["value"]) if cursor else None,
        run_id=said.get("run_id"),
        committed_at=datetime.fromisoformat(committed_at) if committed_at else None,
        reset=bool(said.get("reset", False)),
    )


def _unreadable(path: Path, why: str) -> CatalogError:
    return CatalogError(
        f"{path}: this is not a readable state file ({why}). Nothing was changed. Mend it, or "
        "remove it: it is rebuilt from the catalog at the next run."
    )


def _write(path: Path, state: State) -> None:
    temporary = path.with_name(f".{path.name}.tmp")  # of whoever has the lock; a dead one's is used
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(state_json(state), file, indent=2, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        disk.fsync(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CatalogError(
            f"{path}: the state file cannot be written: {error.strerror}. The lake has the rows "
            "and their cursors; the file is mended at the next run."
        ) from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    lock = path.with_name(f".{path.name}.lock")
    try:
        private_files.make_folder(path.parent)
        file = private_files.open_file(lock, "a")
    except OSError as error:
        raise CatalogError(f"{lock}: cannot be written: {error.strerror}.") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
