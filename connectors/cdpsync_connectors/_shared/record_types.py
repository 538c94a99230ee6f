"""The fields of an API's records to the columns of this read, each as SQL over the kept texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync_connectors._shared import exact_sql as sql
from cdpsync_connectors._shared.exact_types import growing_type, joined_with

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdpsync.connector import ReadRequest
    from cdpsync_connectors._shared.record_fields import Field

TIME = "TIMESTAMP WITH TIME ZONE"
"""Declared of a field that holds seconds since 1970."""

_TIME_DIGITS = 11  # of seconds: the year 5138
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
    """How the fields that were seen become the columns of this read."""

    request: ReadRequest
    declared: Mapping[str, str]
    fields: Mapping[str, Field]

    def columns(self) -> dict[str, str]:
        """Return each column with its value as SQL: the requested ones, then new ones.

        Raises ReadError for a name that cannot be a column's.
        """
        values = {}
        for column in self.request.columns:
            values[column.name] = self._value(column.name, column.type)
        for name, field in self.fields.items():
            if name not in values and (field.classes or name in self.request.types):
                values[name] = self._value(name, None)
        self._refuse_names(values)
        return values

    def _value(self, name: str, planned: str | None) -> str:
        field = self.fields.get(name)
        wanted = self.request.types.get(name)
        if field is None or not field.classes:
            return f"cast(null as {wanted or self._held(name) or planned or 'VARCHAR'})"
        text = f"substr({field.key}, 2)"
        is_time = self.declared.get(name) == TIME
        if wanted and wanted != "JSON" and not (is_time and wanted == TIME):
            where = f"stream {self.request.stream.name}"
            return sql.exact_cast(text, wanted, name, where)
        type_ = wanted or self._type(field)
        if type_ == TIME and is_time:
            return f"make_timestamptz(cast({text} as bigint) * 1000000)"
        if type_ == "JSON":
            said = f"starts_with({field.key}, 's')"
            return f"cast(case when {said} then to_json({text}) else {text} end as json)"
        return sql.plain_cast(text, type_)

    def _held(self, name: str) -> str | None:
        return self.request.lake_types.get(name) or self.declared.get(name)

    def _type(self, field: Field) -> str:
        """Return the lake's or the declared type, grown where values did; JSON if it cannot."""
        held = self._held(field.name)
        if held == "JSON":
            return held
        if held == TIME and self.declared.get(field.name) == TIME:
            is_time = field.classes == sql.INTEGER and field.whole <= _TIME_DIGITS
            return TIME if is_time else self._conflict(field, held)
        if held is None:
            return growing_type(field.seen, floats=field.floats) or self._mixed(field)
        return joined_with(held, field.seen, floats=field.floats) or self._conflict(field, held)

    def _mixed(self, field: Field) -> str:
        return "JSON" if field.classes == sql.NESTED else self._conflict(field, None)

    def _conflict(self, field: Field, held: str | None) -> str:
        kinds = dict.fromkeys(kind for bit, kind in _KINDS.items() if field.classes & bit)
        but = f", but the column is {held}" if held else ""
        self.request.on_notice(
            f'column "{field.name}" holds {" and ".join(kinds)}{but}: it becomes JSON.'
        )
        return "JSON"

    def _refuse_names(self, values: Mapping[str, str]) -> None:
        stream = self.request.stream.name
        lower = {name.lower(): name for name in self.request.lake_types}
        for name in values:
            then = f"Leave it out: columns: {{exclude: [{sql.quote_name(name)}]}}."
            if not name or "\0" in name:
                raise ReadError(f"stream {stream}: a field named {name!r} is no column. {then}")
            other = lower.setdefault(name.lower(), name)
            if other != name:
                raise ReadError(
                    f'stream {stream}: the fields "{other}" and "{name}" differ only in case, '
                    f"which columns cannot. {then}"
                )
