"""Snapshots of the lake: which changed the rows of a table, and which only moved them.

Compaction writes rows of old files into a new file. DuckLake shows each of them as deleted and
inserted, though no row has changed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cdpsync.model import TableName

AUTHOR = "cdpsync"
"""The author of our snapshots."""

# In DuckLake's text of a snapshot's changes. The names of created tables stand there, too, quoted.
_ACTION = re.compile(r"(?:^|,)([a-z_]+):(\d+)(?=,|$)")

_WITHOUT_ROWS = {"altered_table", "dropped_table", "merge_adjacent"}
_REWRITE = "rewrite_delete"  # shows each row that stays as updated


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that has not expired, with who made it.

    `changes` is DuckLake's text of what it changed: `inserted_into_table:2,altered_table:3`.
    """

    id: int
    time: datetime
    author: str | None = None
    message: str | None = None
    changes: str | None = None

    def actions_on(self, table_id: int) -> frozenset[str]:
        """Return what the snapshot did with the rows of a table, in DuckLake's words."""
        actions = _ACTION.findall(self.changes or "")
        return frozenset(action for action, id_ in actions if int(id_) == table_id) - _WITHOUT_ROWS

    def only_moves_rows(self, table: TableName, table_id: int) -> bool:
        """Whether the snapshot wrote rows of a table into other files, and changed none."""
        actions = self.actions_on(table_id)
        compacted = self.author == AUTHOR and (self.message or "").endswith(_compaction(table))
        return actions == {_REWRITE} or (bool(actions) and compacted)


@dataclass(frozen=True, slots=True)
class TableHistory:
    """What consecutive snapshots did with the rows of one table.

    `changed` are the ids of those that changed rows, `moved` of those that only moved them.
    `has_gap`: one in between has expired, so what it did is unknown. `by_others`: another writer
    changed rows, who may have written a row that is as before. `deletes`: rows may be deleted.
    """

    changed: tuple[int, ...] = ()
    moved: tuple[int, ...] = ()
    has_gap: bool = False
    by_others: bool = False
    deletes: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether the table surely has the rows that it had."""
        return not self.changed and not self.has_gap


def table_history(
    snapshots: Sequence[Snapshot], after: int, table: TableName, table_id: int
) -> TableHistory:
    """Return what the snapshots after one did with the rows of a table."""
    later = [snapshot for snapshot in snapshots if snapshot.id > after]
    touching = [snapshot for snapshot in later if snapshot.actions_on(table_id)]
    moved = [snapshot for snapshot in touching if snapshot.only_moves_rows(table, table_id)]
    changing = [snapshot for snapshot in touching if snapshot not in moved]
    return TableHistory(
        changed=tuple(snapshot.id for snapshot in changing),
        moved=tuple(snapshot.id for snapshot in moved),
        has_gap=bool(later) and later[-1].id - after != len(later),
        by_others=any(
            snapshot.author != AUTHOR or _REWRITE in snapshot.actions_on(table_id)
            for snapshot in changing
        ),
        deletes=any(
            snapshot.actions_on(table_id) != {"inserted_into_table"} for snapshot in changing
        ),
    )


def compaction_message(run_id: str, table: TableName) -> str:
    """Return the commit message of a compaction, by which `only_moves_rows` knows it."""
    return f"{run_id}{_compaction(table)}"


def _compaction(table: TableName) -> str:
    return f": {table}, compacted"
