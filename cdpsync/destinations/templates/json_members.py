"""Members of JSON columns in expressions: `properties.price`, with all digits of the number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.destinations.templates.json_text import json_as_text, member_sql
from cdpsync.destinations.templates.syntax import Node, Tree, is_reference, to_sql, tree_of

if TYPE_CHECKING:
    from cdpsync.destinations.templates.rows import Binder

_COLUMN = 3  # names that lead to a column of an image: changes, row, properties

_EXACT = frozenset({"DECIMAL", "HUGEINT", "UHUGEINT"})
"""Types with more digits than a double, through which DuckDB takes a number of JSON."""


def with_members(tree: Node, binder: Binder) -> Node:
    """Return an expression in which members of JSON columns are taken out exactly.

    DuckDB's own path gives a double, and so does its cast of JSON to a decimal: of
    123456789012345678.25 it makes 123456789012345671.68.
    """
    return _replaced(tree, binder)  # type: ignore[no-any-return]  # a Node stays one


def _replaced(tree: Tree, binder: Binder) -> Tree:
    if isinstance(tree, list):
        return [_replaced(branch, binder) for branch in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.get("class") == "COLUMN_REF":
        sql = _member(tree, binder)
        return tree if sql is None or is_reference(tree_of(sql)) else _at(tree, sql)
    if tree.get("class") == "CAST" and tree["cast_type"]["id"] in _EXACT:
        child = tree["child"]
        sql = _member(child, binder) if is_reference(child) else None
        if sql is not None:
            return {**tree, "child": _at(child, json_as_text(f"({sql})"))}
    return {key: _replaced(branch, binder) for key, branch in tree.items()}


def _at(tree: Node, sql: str) -> Node:
    """Return the tree of some SQL, in place of another one."""
    return {**tree_of(sql), "alias": tree["alias"]}


def _member(tree: Node, binder: Binder) -> str | None:
    """Return SQL of a JSON column, or of the member that a name leads to; None: it is no JSON."""
    path = tree["column_names"]
    for length in range(_COLUMN, len(path) + 1):
        column = to_sql({**tree, "alias": "", "column_names": path[:length]})
        if str(binder.type_of(column)) == "JSON":
            return member_sql(column, path[length:]) if path[length:] else column
    return None
