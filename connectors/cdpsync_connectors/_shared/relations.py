"""Reads of a relation: the checks, conditions and cursor literals of every SQL dialect.

A dialect brings its own names, literals and types; they are parameters of these functions.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol, TypeVar

from cdpsync.errors import ReadError
from cdpsync.model.types import MAX_PRECISION
from cdpsync.sql import fold_name, quote_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cdpsync.connector import ReadRequest
    from cdpsync.model.streams import CursorValue


class NamedColumn(Protocol):
    """A column of any dialect."""

    @property
    def name(self) -> str:
        """The column's name at the source."""


RelationT = TypeVar("RelationT")
ColumnT = TypeVar("ColumnT", bound=NamedColumn)


def require_relation(
    relations: Sequence[RelationT], request: ReadRequest, *, hidden: str = ""
) -> RelationT:
    """Return the relation that the catalog has under the stream's name.

    Raises ReadError where it has none. `hidden` says who may lack the right to see it.
    """
    if not relations:
        raise ReadError(
            f'table "{request.stream.name}" does not exist or was dropped{_or_hidden(hidden)}. '
            "List the tables with: cdpsync discover."
        )
    return relations[0]


def require_columns(
    columns: Sequence[NamedColumn], request: ReadRequest, *, hidden: str = ""
) -> None:
    """Raise ReadError where a requested column does not exist, or where none is requested."""
    existing = {column.name for column in columns}
    requested = [column.name for column in request.columns]
    requested += [request.window.cursor_field] if request.window else []
    missing = [name for name in dict.fromkeys(requested) if name not in existing]
    table = request.stream.name
    if missing:
        raise ReadError(
            f'table "{table}" has no column {quote_names(missing)}, or it was dropped'
            f"{_or_hidden(hidden)}. It has: {', '.join(sorted(existing))}."
        )
    if not request.columns:
        raise ReadError(f'table "{table}" has no columns to read.')


def _or_hidden(viewer: str) -> str:
    return f", or {viewer} may not see it" if viewer else ""


def user_conditions(request: ReadRequest) -> list[str]:
    """Return the user's `where` as a condition, if there is one.

    The line break ends a comment at the end of the user's text.
    """
    return [f"({request.where}\n)"] if request.where else []


def window_conditions(cursor: str, low: str) -> tuple[str, str]:
    """Return the two conditions of which a row in the window meets one, and never both.

    The second one stands even for a column declared NOT NULL, because that is no promise for a
    foreign table, nor for a constraint that is NOT VALID.
    """
    return f"{cursor} >= {low}", f"{cursor} is null"


def where_error(location: str, where: str, message: str) -> ReadError:
    """Return the error of a statement that fails, most likely because of the user's `where`."""
    return ReadError(f"{location}: where: {' '.join(where.split())}: {message}.")


def cursor_text(value: CursorValue) -> str:
    """Return a cursor's value as text: digits, a date, or a moment in UTC to the microsecond."""
    if isinstance(value, datetime):
        in_utc = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return in_utc.isoformat(sep=" ", timespec="microseconds")
    return value.isoformat() if isinstance(value, date) else format(Decimal(value), "f")


def bound_type(name: str, request: ReadRequest, *, is_open: bool) -> str | None:
    """Return the type that binds a column: the user's, or for an open column the lake's.

    The lake's binds nothing where its rows are replaced, or did not fit.
    """
    is_undecided = request.replaces or request.lake_digits is not None
    if name in request.types or not is_open or is_undecided:
        return request.types.get(name)
    lake_types = {fold_name(column): type_ for column, type_ in request.lake_types.items()}
    return lake_types.get(fold_name(name))


Digits = tuple[int, int]
"""The most digits before and behind the point that the values of a column need."""


def bound_types(
    columns: Sequence[ColumnT],
    request: ReadRequest,
    is_open: Callable[[ColumnT], bool],
    probe: Callable[[list[ColumnT]], Mapping[str, Digits | None]],
    empty_scale: Callable[[ColumnT], int],
) -> dict[str, str | None]:
    """Return the type that binds each column; `probe` asks the rows for the digits of open ones.

    An open column has the DECIMAL that holds every value of the rows and of the lake, or else is
    VARCHAR. `empty_scale` is the scale of a column that has no value at all.
    """
    types = {
        column.name: bound_type(column.name, request, is_open=is_open(column)) for column in columns
    }
    unbound = [column for column in columns if is_open(column) and types[column.name] is None]
    if not unbound:
        return types
    digits = probe(unbound)
    lake = {fold_name(name): known for name, known in (request.lake_digits or {}).items()}
    return types | {
        column.name: _fitting_type(
            digits[column.name], lake.get(fold_name(column.name)), empty_scale(column)
        )
        for column in unbound
    }


def probed_digits(names: Sequence[str], figures: Sequence[int | None]) -> dict[str, Digits | None]:
    """Return the digits of each open column; None for a column without a value.

    `figures` has two numbers for each column: the most digits behind the point, without trailing
    zeros, and the most before it.
    """
    pairs = zip(figures[0::2], figures[1::2], strict=True)
    return {
        name: None if scale is None else (whole or 0, scale)
        for name, (scale, whole) in zip(names, pairs, strict=True)
    }


def _fitting_type(digits: Digits | None, lake_digits: Digits | None, empty_scale: int) -> str:
    known = [each for each in (digits, lake_digits) if each is not None]
    if not known:
        return f"DECIMAL({MAX_PRECISION},{empty_scale})"
    whole, scale = (max(column) for column in zip(*known, strict=True))
    return f"DECIMAL({MAX_PRECISION},{scale})" if whole + scale <= MAX_PRECISION else "VARCHAR"
