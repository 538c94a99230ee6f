"""SQL that reads a value exactly, or ends the read with a message that names column and value.

Postgres raises errors only in functions, and a read-only user cannot create one. So these guards
cast the message to numeric. The server refuses it and repeats it, and `read_marker` finds it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.sql import quote_text

if TYPE_CHECKING:
    from cdpsync_connectors.postgres.catalog import SourceColumn

_BEGIN, _GUESSED, _END = "[cdpsync: ", "[cdpsync guessed: ", " :cdpsync]"
_MARKED = re.compile(
    f"(?:{re.escape(_BEGIN)}|{re.escape(_GUESSED)})(.*){re.escape(_END)}", re.DOTALL
)
_MAX_SHOWN = 60  # characters of a value in a message

# The first microsecond that DuckDB, counting from 1970, cannot distinguish from `infinity`.
_DUCKDB_END = "'294247-01-10 04:00:54.775807'"
_DUCKDB_END_TZ = "'294247-01-10 04:00:54.775807+00'"


def read_marker(text: str) -> str | None:
    """Return the message that one of these guards put into an error's text, or None."""
    match = _MARKED.search(text)
    return match[1] if match else None


def is_of_guess(text: str) -> bool:
    """Whether the message is about a type that only earlier rows gave to the column."""
    return _GUESSED in text


@dataclass(frozen=True, slots=True)
class Guard:
    """The checks of one column; `alias` is its name among the columns that Postgres sends."""

    stream: str
    column: str
    alias: str
    is_guessed: bool = False

    def decimal(self, value: str, precision: int, scale: int, nulls: str) -> str:
        """Return `value` as numeric(precision,scale) if it fits; `nulls` become NULL."""
        fits = (
            f"(scale({value}) <= {scale} or {value} = round({value}, {scale}))"
            f" and abs({value}) < 1e{precision - scale}"
        )
        cast = f"{value}::numeric({precision},{scale})"
        null = f" when {value} in ({nulls}) then null" if nulls else ""
        stop = self._stop(value, f"does not fit DECIMAL({precision},{scale})", self._retype())
        return f"(case when {fits} then {cast}{null} else {stop} end)::numeric({precision},{scale})"

    def integer(self, value: str, low: int, high: int, nulls: str, type_: str) -> str:
        """Return `value` if it is an integer within the bounds."""
        fits = f"{value} = round({value}) and {value} between {low} and {high}"
        null = f" when {value} in ({nulls}) then null" if nulls else ""
        stop = self._stop(value, f"does not fit {type_}", self._retype())
        return f"(case when {fits} then {value}{null} else {stop} end)"

    def without_nan(self, value: str) -> str:
        """Return a numeric that is not NaN."""
        stop = self._stop(value, "does not fit DECIMAL", self._nan())
        return f"case when {value} = 'NaN' then {stop} else {value} end"

    def list_without_nan(self, value: str) -> str:
        """Return a numeric array without NaN in it."""
        stop = self._stop(f"{value}::text", "holds a NaN, which does not fit DECIMAL", self._nan())
        return _unless(f"'NaN' = any ({value})", stop, value)

    def timestamp(self, value: str, kind: str) -> str:
        """Return a timestamp that DuckDB can hold, which includes `infinity`."""
        end = _DUCKDB_END if kind == "timestamp" else _DUCKDB_END_TZ
        stop = self._stop(value, "is later than the last timestamp of the lake", self._as_text())
        return (
            f"case when {value} < {end} then {value} when {value} = 'infinity' then {value}"
            f" else {stop}::text::{kind} end"
        )

    def list_of_timestamps(self, value: str, kind: str) -> str:
        """Return a one-dimensional array of timestamps that DuckDB can hold."""
        end = _DUCKDB_END if kind == "timestamp" else _DUCKDB_END_TZ
        stop = self._stop(
            value, "holds a timestamp later than the lake's last one", self._as_text()
        )
        too_late = f"{end}::{kind} <= any (array_remove({value}, 'infinity'))"
        return _unless(too_late, stop, value)

    def matching(self, value: str, form: str, type_: str, target: str) -> str:
        """Return text as a Postgres type, if it matches the pattern `form`."""
        stop = self._stop(value, f"is not written as a {target.lower()}", self._as_text())
        pattern = quote_text(form)
        return (
            f"(case when {value} ~ {pattern} then {value}::{type_} else {stop}::text::{type_} end)"
        )

    def shape(self, value: str, depth: int, target: str, then: str) -> str:
        """Return `then` if the array has this many dimensions, each counted from 1."""
        wrong = [f"array_ndims({value}) <> {depth}"]
        wrong += [f"array_lower({value}, {n}) <> 1" for n in range(1, depth + 1)]
        plural = "dimension" if depth == 1 else "dimensions"
        other_depth = target + "[]" if depth == 1 else target.removesuffix("[]")
        advice = (
            f'Set columns: {{types: {{{self.column}: "{other_depth.lower()}"}}}} if that is its '
            f'type, or "varchar" to keep it as text.'
        )
        stop = self._stop(value, f"does not have {depth} {plural} counted from 1", advice)
        return _unless(" or ".join(wrong), stop, then)

    def list_cast(self, value: str, type_: str, target: str) -> str:
        """Return an array cast to this element type, if that changes no value."""
        stop = self._stop(value, f"does not fit {target}", self._retype())
        cast = f"{value}::{type_}[]"
        changed = f"{cast} <> {value}::numeric[]"
        return _unless(changed, stop, cast)

    def json(self) -> str:
        """Return a DuckDB expression that parses the selected text as JSON, once."""
        before = quote_text(f"{_BEGIN}{self._where()} the value ")
        after = quote_text(f" is JSON that DuckDB does not accept. {self._as_text()}{_END}")
        stop = f"error({before} || left({self.alias}, {_MAX_SHOWN}) || {after})"
        parsed = f"try_cast({self.alias} as JSON)"
        return f"coalesce({parsed}, case when {self.alias} is not null then {stop} end)"

    def _stop(self, value: str, problem: str, advice: str) -> str:
        """Return a numeric expression that fails and shows `value`; for NULL it is NULL."""
        begin = _GUESSED if self.is_guessed else _BEGIN
        before = quote_text(f"{begin}{self._where()} the value ")
        after = quote_text(f" {problem}. {advice}{_END}")
        return f"({before} || left(({value})::text, {_MAX_SHOWN}) || {after})::numeric"

    def _where(self) -> str:
        return f'table "{self.stream}", column "{self.column}":'

    def _retype(self) -> str:
        return (
            f"Nothing is rounded: set columns: {{types: {{{self.column}: …}}}} to a type that "
            f"holds it (varchar holds all), and run this table with --full-refresh."
        )

    def _as_text(self) -> str:
        return (
            f"Set columns: {{types: {{{self.column}: varchar}}}} to keep it as text, and run this "
            "table with --full-refresh."
        )

    def _nan(self) -> str:
        return (
            f'Set "on_nan: null" on the source to read it as NULL, or columns: {{types: '
            f"{{{self.column}: varchar}}}}."
        )


def _unless(wrong: str, stop: str, then: str) -> str:
    """Return `then`, of any type; if the condition `wrong` holds, evaluate `stop`, which fails.

    `is true` is needed, because Postgres evaluates both sides of `null and stop`.
    """
    return f"(case when ({wrong}) is true and {stop} is null then null else {then} end)"


def text_array(column: SourceColumn, value: str) -> str:
    """Return an array as text[], each element as psql prints it."""
    if column.delimiter == ",":
        return f"pg_catalog.textin(pg_catalog.array_out({value}))::text[]"
    return f"{value}::text[]"


def json_lists(column: SourceColumn, text_lists: str) -> str:
    """Return a text[] of any depth as JSON text, with dates before Christ as DuckDB writes them."""
    json = f"to_json({text_lists})::text"
    if column.kind not in {"date", "timestamp", "timestamptz"}:
        return json
    before_christ = quote_text(r'"(\d+-\d\d-\d\d)( [0-9:.+-]+)? BC"')
    return f"regexp_replace({json}, {before_christ}, '\"\\1 (BC)\\2\"', 'g')"


def element_wise(lists: str, depth: int, expression: str) -> str:
    """Return DuckDB's nested list with each innermost `{x}` put through an expression."""
    inner = expression.replace("{x}", f"x{depth}")
    for level in range(depth, 1, -1):
        inner = f"list_transform(x{level - 1}, lambda x{level}: {inner})"
    return f"list_transform({lists}, lambda x1: {inner})"
