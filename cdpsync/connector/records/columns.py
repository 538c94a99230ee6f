"""The columns of a read of API records: each column's type, and the SQL that casts its texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.connector import exact_sql as sql
from cdpsync.connector.exact_types import growing_type, widened
from cdpsync.errors import ReadError
from cdpsync.sql import fold_name, quote_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdpsync.connector import ReadRequest
    from cdpsync.connector.records.fields import Field

TIME = "TIMESTAMP WITH TIME ZONE"
"""The declared type of a field that has seconds since 1970."""

_EPOCHS = {TIME: 1_000_000, "EPOCH": 1_000_000, "EPOCH_MS": 1_000}
"""Declared types of numbers that are times since 1970, with the microseconds of their unit."""

_TIME_DIGITS = {1_000_000: 11, 1_000: 14}  # of seconds and milliseconds: the year 5138
_KINDS = {
    sql.INTEGER: "numbers",
    sql.DECIMAL: "numbers",
    sql.FLOAT: "numbers",
    sql.BOOLEAN: "booleans",
    sql.TEXT: "texts",
    sql.NESTED: "objects or arrays",
}


@dataclass(frozen=True, slots=True)
class RecordColumns:
    """The fields of all records as the columns of one read.

    Without `keeps_unknown`, a requested column that has neither a value nor a type is none.
    """

    request: ReadRequest
    declared: Mapping[str, str]
    fields: Mapping[str, Field]
    keeps_unknown: bool = True

    def columns(self) -> dict[str, str]:
        """Return each column with its value as SQL: the requested columns, then new ones.

        Raises ReadError for a field whose name cannot be a column's.
        """
        values = {}
        for column in self.request.columns:
            if self._is_unknown(column.name):
                continue
            values[column.name] = self._value(column.name, column.type)
        for name, field in self.fields.items():
            if name not in values and (field.classes or name in self.request.types):
                values[name] = self._value(name, None)
        self._check_names(values)
        return values

    def _is_unknown(self, name: str) -> bool:
        """Whether only values tell a column's type, and it has none yet: then it is no column."""
        if self.keeps_unknown:
            return False
        field, request = self.fields.get(name), self.request
        has_values = field is not None and bool(field.classes)
        return not has_values and self._existing_type(name) is None and name not in request.types

    def _value(self, name: str, planned_type: str | None) -> str:
        field = self.fields.get(name)
        requested_type = self.request.types.get(name)
        if field is None or not field.classes:
            null_type = requested_type or self._existing_type(name) or planned_type or "VARCHAR"
            return f"cast(null as {null_type})"
        text = f"substr({field.key}, 2)"
        epoch = None if field.times else _EPOCHS.get(self.declared.get(name, ""))
        is_time = epoch is not None
        is_requested_time = is_time and requested_type == TIME
        if requested_type and requested_type != "JSON" and not is_requested_time:
            where = f"stream {self.request.stream.name}"
            return sql.exact_cast(text, requested_type, name, where)
        type_ = requested_type or self._type(field)
        if field.times and type_ == field.times:
            return f"cast({text} as {type_})"  # each was checked; the connection's zone is UTC
        if type_ == TIME and is_time:
            return f"make_timestamptz(cast({text} as bigint) * {epoch})"
        if type_ == "JSON":
            is_string = f"starts_with({field.key}, 's')"
            return f"cast(case when {is_string} then to_json({text}) else {text} end as json)"
        return sql.plain_cast(text, type_)

    def _existing_type(self, name: str) -> str | None:
        """Return the lake's type of a column, or else the declared one."""
        return self.request.lake_types.get(name) or self._declared_type(name)

    def _declared_type(self, name: str) -> str | None:
        type_ = self.declared.get(name)
        return TIME if type_ in _EPOCHS else type_

    def _binding_type(self, name: str) -> str | None:
        """Return the type that the values must widen; rows that are replaced bind nothing."""
        return self._declared_type(name) if self.request.replaces else self._existing_type(name)

    def _type(self, field: Field) -> str:
        """Return the existing type, widened to the values; JSON where that is impossible."""
        existing = self._binding_type(field.name)
        if existing == "JSON":
            return existing
        if existing is not None and existing == field.times:
            return self._time_type(field, existing)
        epoch = _EPOCHS.get(self.declared.get(field.name, ""))
        if existing == TIME and epoch is not None:
            digits = _TIME_DIGITS[epoch]
            is_time = field.classes == sql.INTEGER and field.whole_digits <= digits
            return TIME if is_time else self._json_with_notice(field, existing)
        if existing is not None:
            joined = widened(existing, field.values, floats=field.floats)
            return joined or self._json_with_notice(field, existing)
        own = growing_type(field.values, floats=field.floats)
        if own is None and field.classes == sql.NESTED:
            return "JSON"
        return own or self._json_with_notice(field, None)

    def _time_type(self, field: Field, existing: str) -> str:
        """Return the type of texts that should be times: the existing one, if each is."""
        if field.classes == sql.TEXT and field.fits is not None:
            return existing
        if field.classes == sql.TEXT and field.name not in self._lake_types():
            return "VARCHAR"
        return self._json_with_notice(field, existing)

    def _lake_types(self) -> Mapping[str, str]:
        return {} if self.request.replaces else self.request.lake_types

    def _json_with_notice(self, field: Field, existing: str | None) -> str:
        kinds = dict.fromkeys(kind for bit, kind in _KINDS.items() if field.classes & bit)
        but = f", but the column is {existing}" if existing else ""
        self.request.on_notice(
            f'column "{field.name}" holds {" and ".join(kinds)}{but}: it becomes JSON.'
        )
        return "JSON"

    def _check_names(self, values: Mapping[str, str]) -> None:
        stream = self.request.stream.name
        names_by_lower = {fold_name(name): name for name in self.request.lake_types}
        for name in values:
            advice = f"Leave it out: columns: {{exclude: [{quote_name(name)}]}}."
            if not name or "\0" in name:
                raise ReadError(
                    f"stream {stream}: a field named {name!r} cannot be a column. {advice}"
                )
            namesake = names_by_lower.setdefault(fold_name(name), name)
            if namesake != name:
                raise ReadError(
                    f'stream {stream}: the fields "{namesake}" and "{name}" differ only in case, '
                    f"which columns cannot. {advice}"
                )
