"""Results of a verification: one per table, with the keys that differ."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdpsync.model import Failure, SyncMode, TableName


class DiffKind(StrEnum):
    """The difference between a row of the lake and its row at the source.

    MISSING, STALE and EXTRA (not at the source, or more often in the lake) are errors of the lake.
    GONE was deleted at the source, and the lake keeps it as the project file asks. NEWER is a row
    that the next run reads.
    """

    MISSING = "missing"
    STALE = "stale"
    EXTRA = "extra"
    GONE = "gone"
    NEWER = "newer"


WRONG = (DiffKind.MISSING, DiffKind.STALE, DiffKind.EXTRA)
"""The differences that are errors."""


class VerifyStatus(StrEnum):
    """The result of a table in a verification."""

    EQUAL = "equal"
    DIFFERENT = "different"
    REPAIRED = "repaired"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Sample:
    """A part of the rows: about `rows` of them, or `percent` percent."""

    rows: int | None = None
    percent: float | None = None

    def parts(self, rows: int) -> int:
        """Return the number of equal parts of a table of `rows` rows, of which one is compared."""
        if self.rows is not None:
            return max(1, rows // self.rows)
        return max(1, round(100 / (self.percent or 100)))


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that differs. `key` has the text of each key column.

    If whole rows are compared, `key` is the hash of the row under the name `row`.
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
    """The counts of a comparison. `listed` are the first of the differences that are errors."""

    source: SideStats
    lake: SideStats
    counts: dict[DiffKind, int]
    listed: tuple[Difference, ...] = ()

    @property
    def wrong(self) -> int:
        """The number of rows in error."""
        return sum(self.counts.get(kind, 0) for kind in WRONG)


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """One verified table. `compared` is None without a comparison; `share` is N: 1 of N parts.

    `is_left_out`: it was to be repaired, and a run works on it.
    """

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
    is_left_out: bool = False
