"""Expressions over a row, compiled to SQL with its type.

An expression that can fail is computed in a projection of its own, under TRY, so that the row in
which it fails is told apart, and the other rows are not lost with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cdpsync.destinations.templates import filters
from cdpsync.destinations.templates.filters import FilterError, Typed
from cdpsync.destinations.templates.json_members import with_members
from cdpsync.destinations.templates.rows import RELATION, Binder, Names, UnknownNameError
from cdpsync.destinations.templates.syntax import (
    ExpressionError,
    is_reference,
    parse,
    reserved_column,
    to_sql,
    with_barriers,
    with_names,
)
from cdpsync.engine import first_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cdpsync.destinations.templates.syntax import Name, Node
    from cdpsync.destinations.templates.texts import Expression
    from cdpsync.errors import ConfigError


_NAME = re.compile(r'(?:\w+|"(?:""|[^"])*")(?:\.(?:\w+|"(?:""|[^"])*"))+')


@dataclass(frozen=True, slots=True)
class Fault:
    """SQL that tells of a row that it cannot be rendered, and why."""

    condition: str
    message: str


@dataclass(slots=True)
class Computed:
    """Columns that projections add to `changes`; one that needs another is a projection above."""

    _names: dict[str, str] = field(default_factory=dict)
    _depths: dict[str, int] = field(default_factory=dict)

    def add(self, sql: str) -> tuple[str, bool]:
        """Return the column of an expression, and whether it is a new one."""
        if sql in self._names:
            return self._names[sql], False
        name = self._names[sql] = f"computed_{len(self._names)}"
        needed = re.findall(rf"\b{RELATION}\.(computed_\d+)\b", sql)
        self._depths[name] = 1 + max((self._depths.get(other, 0) for other in needed), default=0)
        return name, True

    def over(self, relation: str) -> str:
        """Return the relation with the columns added, under the name of `changes`."""
        for depth in range(1, max(self._depths.values(), default=0) + 1):
            columns = ", ".join(
                f"{sql} as {name}"
                for sql, name in self._names.items()
                if self._depths[name] == depth
            )
            relation = f"(select {RELATION}.*, {columns} from {relation}) as {RELATION}"
        return relation


def compile_expression(expression: Expression, names: Names, binder: Binder) -> Typed:
    """Return an expression, with its filters, as SQL over `changes`. Raises ConfigError."""
    import duckdb

    try:
        value = _value(expression, names, binder)
        for used in expression.filters:
            trees = [_tree(text, names, binder) for text in used.arguments]
            arguments = [_bound(to_sql(with_barriers(tree, RELATION)), binder) for tree in trees]
            value = _bound(filters.apply(used.name, value, arguments), binder)
    except ExpressionError as problem:
        raise _no_expression(expression, problem, names.row.columns) from None
    except (UnknownNameError, FilterError) as problem:
        raise expression.error(str(problem)) from None
    except duckdb.Error as error:
        raise expression.error(_plain_reason(error)) from error
    return value


def _value(expression: Expression, names: Names, binder: Binder) -> Typed:
    """Return an expression without its filters; a name alone stays one if it has none."""
    tree = _tree(expression.sql, names, binder)
    if expression.filters or not is_reference(tree):
        tree = with_barriers(tree, RELATION)
    return _bound(to_sql(tree), binder)


def _tree(sql: str, names: Names, binder: Binder) -> Node:
    return with_members(with_names(parse(sql), names.resolve), binder)


def _bound(sql: str, binder: Binder) -> Typed:
    return Typed(sql, binder.type_of(sql))


def compute(
    expression: Expression, names: Names, binder: Binder, columns: Computed
) -> tuple[Typed, list[Fault]]:
    """Return an expression as a name over `changes`, and what may fail in it.

    What is more than a name becomes a column.
    """
    value = compile_expression(expression, names, binder)
    if _NAME.fullmatch(value.sql):
        return value, []
    name = add_column(value, binder, columns)
    fault = Fault(f"{name} is null", f"{expression.location}: {expression} fails for this row")
    return Typed(f"{name}.v", value.type), [fault]


def add_column(value: Typed, binder: Binder, columns: Computed) -> str:
    """Return the name of a column whose field `v` is the value."""
    column, is_new = columns.add(guarded(value.sql))
    if is_new:
        binder.add(column, f"STRUCT(v {value.type})")
    return f"{RELATION}.{column}"


def guarded(sql: str) -> str:
    """Return a struct with the value `v`, which is NULL where the value cannot be computed."""
    return f"try(struct_pack(v := {sql}))"


def _plain_reason(error: BaseException) -> str:
    """Return DuckDB's reason without its kind and its candidates."""
    text = first_line(error).split(" Candidate")[0].split(" You might need")[0]
    hint = " Give what is JSON a type: properties.price::decimal(18, 2)" if "JSON" in text else ""
    return re.sub(r"^[A-Z]\w+(?: \w+)? Error: ", "", text) + hint


def reference(expression: Expression) -> str | None:
    """Return the name, if an expression is one name without filters or a dot."""
    try:
        tree = parse(expression.sql)
    except ExpressionError:
        return None
    if expression.filters or not is_reference(tree) or len(tree["column_names"]) != 1:
        return None
    return str(tree["column_names"][0])


def _no_expression(
    expression: Expression, problem: ExpressionError, columns: Iterable[str]
) -> ConfigError:
    word = reserved_column(expression.sql, columns)
    hint = f'. "{word}" is a word of SQL: write row.{word}' if word else ""
    return expression.error(f"{problem}{hint}")


def named(expression: Expression, columns: Iterable[str] = ()) -> list[Name]:
    """Return the names in an expression and in its filters' arguments.

    Raises ConfigError, which helps with those of `columns` that are words of SQL.
    """
    names: list[Name] = []

    def note(name: Name) -> Name:
        names.append(name)
        return name

    try:
        for text in (expression.sql, *(t for used in expression.filters for t in used.arguments)):
            with_names(parse(text), note)
    except ExpressionError as problem:
        raise _no_expression(expression, problem, columns) from None
    return names
