"""The source of a table's rows: the one that they were read from, and the one that is there now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cdpsync.errors import ContractError
from cdpsync.model import SyncMode

if TYPE_CHECKING:
    from cdpsync.model import SourceIdentity
    from cdpsync.plan.configured import ConfiguredTable
    from cdpsync.plan.resume import PreviousState


@dataclass(frozen=True, slots=True)
class TableSource:
    """The source that a table is read from: the identity to save, and how it has changed.

    `change` names the source before and the one now; empty: it is the same. `is_accepted`: a person
    has said that both have the same data. Otherwise a load replaces all rows of the lake.
    """

    identity: SourceIdentity | None
    change: str = ""
    is_accepted: bool = False

    @property
    def is_other(self) -> bool:
        """Whether the lake's rows are of another source."""
        return bool(self.change) and not self.is_accepted

    @property
    def notices(self) -> tuple[str, ...]:
        """What a person should know of the change."""
        if not self.change:
            return ()
        verb = "accepted as the same data" if self.is_accepted else "loaded from another source"
        return (f"{verb}: {self.change}",)


def source_of(
    table: ConfiguredTable,
    previous: PreviousState,
    current: SourceIdentity | None,
    *,
    full_refresh: bool,
    accepted: bool,
) -> TableSource:
    """Return the source of a table for this run.

    A table that was read from another source is read whole with `full_refresh`, and in a mode that
    reads every row anyway. Raises ContractError for one that would go on from its cursor, unless
    that is `accepted`.
    """
    before = previous.saved_state.source_identity if previous.saved_state else None
    if current is None:
        return TableSource(None if full_refresh else before)
    if before is None or not current.is_other_than(before):
        return TableSource(current.combined(before))
    change = f"it was read from {before.label}, and the source is now {current.label}"
    if not (accepted or full_refresh or table.mode is SyncMode.FULL_TABLE):
        raise _other_source(table, before, current)
    return TableSource(current, change, is_accepted=accepted)


def _other_source(
    table: ConfiguredTable, before: SourceIdentity, current: SourceIdentity
) -> ContractError:
    """Return the error, which has the same words for each table of the source: it is told once."""
    run = f"cdpsync run {table.source}"
    return ContractError(
        f"the cursor was read from {before.label}, and the source is now {current.label}. Nothing "
        "was read. If it has the same data, because a server has moved, go on from the cursors: "
        f"{run} --accept-source; else load its tables again: {run} --full-refresh."
    )


def without_stream_identity(previous: PreviousState) -> PreviousState:
    """Return the state of a table without what told its stream from another one of its source.

    A copy of a table is no table made anew, so it is not compared with the identity of the first.
    """
    if previous.saved_state is None:
        return previous
    return replace(previous, saved_state=replace(previous.saved_state, identity=None))
