"""What a verification finds: a verdict per table, and the keys that differ."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdpsync.model import Failure, SyncMode, TableName


class DiffKind(StrEnum):
    """How a row of the lake and one of the source differ.

    MISSING, STALE and EXTRA (not at the source, or there more often than at the source) are
    errors of the lake. GONE has left the source and is kept as the project file asks; NEWER is
    what the next run reads anyway.
    """

    MISSING = "missing"
    STALE = "stale"
    EXTRA = "extra"
    GONE = "gone"
    NEWER = "newer"


WRONG = (DiffKind.MISSING, DiffKind.STALE, DiffKind.EXTRA)
"""The differences that are errors."""


class VerifyStatus(StrEnum):
    """How a table came out of a verification."""

    EQUAL = "equal"
    DIFFERENT = "different"
    REPAIRED = "repaired"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Sample:
    """A part of the rows: about so many, or so many percent of them."""

    rows: int | None = None
    percent: float | None = None

    def parts(self, rows: int) -> int:
        """Return into how many shares a table of `rows` rows is cut, of which one is looked at."""
        if self.rows is not None:
            return max(1, rows // self.rows)
        return max(1, round(100 / (self.percent or 100)))


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that differs. `key` has the text of each key column.

    Of rows that are compared whole it is the hash of the row, under the name `row`.
    """

    kind: DiffKind
    key: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class SideStats:
    """The rows of one side, and the lowest and highest of their cursors as text."""

    rows: int
    lowest: str | None = None
    highest: str | None = None


@dataclass(frozen=True, slots=True)
class TableDiff:
    """What a comparison counted. `listed` are the first of the differences that are errors."""

    source: SideStats
    lake: SideStats
    counts: dict[DiffKind, int]
    listed: tuple[Difference, ...] = ()

    @property
    def wrong(self) -> int:
        """How many rows are in error."""
        return sum(self.counts.get(kind, 0) for kind in WRONG)


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """One table, verified. `compared` is None where it was not. `share` is 1 of so many parts."""

    source: str
    stream: str
    table: TableName
    mode: SyncMode | None
    status: VerifyStatus
    compared: TableDiff | None = None
    share: int = 1
    repaired: int = 0
    cursor_field: str | None = None
    seconds: float = 0.0
    error: Failure | None = None
    notices: tuple[str, ...] = ()
