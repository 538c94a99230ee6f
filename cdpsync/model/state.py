"""State of a project between two runs, from the catalog and the state file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cdpsync.model.plan import LakeTable, SavedState, TableName
    from cdpsync.model.results import RunRecord
    from cdpsync.model.streams import Cursor

TableKey = tuple[str, str]
"""The source and the stream of a table, which identify it in the state file."""


@dataclass(frozen=True, slots=True)
class StateFileEntry:
    """One table in the state file. `run_id` is None if a person has set the cursor.

    `source_identity` is the label of the source that the cursor was read from, as a copy for
    people: the catalog has what decides.
    """

    cursor_field: str | None
    cursor: Cursor | None
    run_id: str | None
    committed_at: datetime | None
    reset: bool = False
    source_identity: str | None = None


@dataclass(frozen=True, slots=True)
class ProjectState:
    """The state of a project between two runs.

    The catalog has `saved_states`, `latest_runs` and `tables`, read at one moment. `latest_runs`
    has each table's last record and its last successful record of each kind, newest first, and
    none from before the table was deleted. `tables` have their row counts where the history knows
    them. `entries` are those of the state file, reconciled with `saved_states`; they are empty, as
    are the `notices` about them, until the state file is read.
    """

    saved_states: tuple[SavedState, ...] = ()
    latest_runs: tuple[RunRecord, ...] = ()
    tables: Mapping[TableName, LakeTable] = field(default_factory=dict)
    entries: Mapping[TableKey, StateFileEntry] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
