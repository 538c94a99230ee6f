"""The syntax tree of an SQL expression: checked, its names replaced, and written as SQL again.

DuckDB parses the expression and writes it. So what was checked is what is run, whatever quotes,
comments and brackets the text has.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from cdpsync.destinations.templates.sandbox import row_functions, sandbox
from cdpsync.errors import suggest
from cdpsync.sql import quote_name, quote_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Tree: TypeAlias = Any  # what JSON has: objects, lists and scalars
Node: TypeAlias = dict[str, Tree]
"""A node of DuckDB's syntax tree; its shape is that of `json_serialize_sql`."""

Name: TypeAlias = tuple[str, ...]
"""A dotted name: `old.status` is ("old", "status")."""

_SCALAR = frozenset({
    "BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT",
    "FUNCTION", "LAMBDA", "OPERATOR",
})  # fmt: skip
_OF_MANY_ROWS = {
    "SUBQUERY": "a query",
    "STAR": "`*`",
    "WINDOW": "a window function",
    "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "`#1`",
    "DEFAULT": "`default`",
}
_WORD = re.compile(r"[^\W\d]\w*")
_TAKES_LAMBDA = re.compile(r"(list_|array_)?(transform|apply|filter|reduce)")
_TIMES = frozenset({
    "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp",
})  # fmt: skip

_ISO = "'%Y-%m-%dT%H:%M:%S.%fZ'"
HELPERS = {
    "epoch_ms": "epoch_ms(cast(x as timestamptz))",
    "epoch_s": "epoch_ms(cast(x as timestamptz)) // 1000",
    "iso": f"strftime(timezone('UTC', cast(x as timestamptz)), {_ISO})",
    "lower_sha256": "sha256(lower(trim(cast(x as varchar))))",
}
"""Functions of our own, which expressions call with one argument, here `x`."""


class ExpressionError(Exception):
    """A text that is not one expression over one row."""


@lru_cache(maxsize=1024)
def parse(sql: str) -> Node:
    """Return the tree of an expression, which is not to be changed. Raises ExpressionError.

    A word of SQL alone, such as `order`, is a column's name.
    """
    try:
        return _parsed(sql)
    except ExpressionError:
        if not _WORD.fullmatch(sql):
            raise
        return _parsed(quote_name(sql))


def _parsed(sql: str) -> Node:
    alone = _select_list(f"select {sql}\n")
    bracketed = _select_list(f"select (\n{sql}\n)")
    if len(alone) != 1 or len(bracketed) != 1:
        raise ExpressionError("an expression is one value")
    expression: Node = _rewritten(bracketed[0])
    for node in _nodes(expression):
        _check(node)
    return expression


def tree_of(sql: str) -> Node:
    """Return the tree of SQL of our own, which is not checked."""
    return _select_list(f"select {sql}")[0]


def _select_list(statement: str) -> list[Node]:
    """Return what a statement selects. Raises ExpressionError if it does anything besides."""
    with sandbox() as con:  # without parameters: DuckDB would import pandas for them
        row = con.execute(f"select json_serialize_sql({quote_text(statement)})").fetchone()
    tree = json.loads(row[0]) if row else {}
    if tree.get("error", True):
        raise ExpressionError(_reason(str(tree.get("error_message", ""))))
    if len(tree["statements"]) != 1:
        raise ExpressionError("an expression is one value, not several statements")
    select = tree["statements"][0]["node"]
    beside = ("where_clause", "group_expressions", "having", "qualify", "sample", "modifiers")
    if (
        select["type"] != "SELECT_NODE"
        or select["from_table"]["type"] != "EMPTY"
        or select["cte_map"]["map"]
        or any(select[key] for key in beside)
    ):
        raise ExpressionError("an expression is one value, not a query")
    columns: list[Node] = select["select_list"]
    return columns


def _reason(message: str) -> str:
    if "Only SELECT" in message:
        return "an expression is one value, not a statement"
    text = " ".join(message.split())
    return re.sub(r'^syntax error at or near "(.*)"$', r"\1 does not belong here", text)


def _nodes(tree: object) -> Iterator[Node]:
    """Return each expression of a tree, the outer before the inner."""
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for key, branch in tree.items():
            if key not in ("value", "cast_type") and not _names_parameters(tree, key):
                yield from _nodes(branch)
    elif isinstance(tree, list):
        for branch in tree:
            yield from _nodes(branch)


def _names_parameters(tree: Tree, key: str) -> bool:
    """Whether this branch is the `a, b` of `lambda a, b: …`."""
    return key == "lhs" and bool(tree[key].get("function_name") == "row")


def _check(node: Node) -> None:
    """Raise ExpressionError for what is more than a value of the row; qualify no function."""
    kind = node["class"]
    if kind not in _SCALAR or node["type"] == "GROUPING_FUNCTION":
        name = _OF_MANY_ROWS.get(kind, "this")
        raise ExpressionError(f"{name} does not belong into an expression over one row")
    if kind == "FUNCTION":
        _check_function(node)


def _check_function(node: Node) -> None:
    name = node["function_name"]
    if node["catalog"] or node["schema"] not in ("", "main"):
        raise ExpressionError(f"the function {name} cannot be called by a schema's name")
    node["schema"] = ""
    plain = not node["distinct"] and not node["filter"] and not node["order_bys"]["orders"]
    if plain and (node["is_operator"] or name.lower() in row_functions()):
        return
    meant = suggest(name, row_functions())
    hint = f' Did you mean "{meant}"?' if meant and meant[:1] == name[:1].lower() else ""
    raise ExpressionError(f"{name} is not a function that gives one value of one row.{hint}")


def _rewritten(tree: Tree) -> Tree:
    """Return a tree in which functions of our own are DuckDB's, and doubles stay doubles.

    DuckDB writes the double 1e10 as 10000000000.0, which it reads as a decimal.
    """
    if isinstance(tree, list):
        return [_rewritten(branch) for branch in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.get("class") == "CONSTANT" and tree["value"]["type"]["id"] == "DOUBLE":
        number = quote_text(repr(float(tree["value"]["value"])))
        return {**tree_of(f"cast({number} as double)"), "alias": tree["alias"]}
    tree = {key: _rewritten(branch) for key, branch in tree.items()}
    name = str(tree.get("function_name", "")).lower()
    if tree.get("class") == "FUNCTION" and name in HELPERS and len(tree["children"]) == 1:
        argument = {**tree["children"][0], "alias": ""}
        body = _replaced(tree_of(HELPERS[name]), lambda _: argument)
        return {**body, "alias": tree["alias"]}
    return tree


def _replaced(tree: Tree, replace: Callable[[Node], Node]) -> Tree:
    """Return a tree in which each name is what `replace` gives for it."""
    if isinstance(tree, list):
        return [_replaced(branch, replace) for branch in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.get("class") == "COLUMN_REF":
        return replace(tree)
    return {key: _replaced(branch, replace) for key, branch in tree.items()}


def with_names(tree: Node, resolve: Callable[[Name], Name]) -> Node:
    """Return an expression in which each name is what `resolve` gives for it.

    Names that a lambda binds stay as they are, and so do those of the time.
    """
    return _renamed(tree, resolve, frozenset())  # type: ignore[no-any-return]  # a Node stays one


def _renamed(tree: Tree, resolve: Callable[[Name], Name], bound: frozenset[str]) -> Tree:
    if isinstance(tree, list):
        return [_renamed(branch, resolve, bound) for branch in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.get("class") == "COLUMN_REF":
        return _renamed_reference(tree, resolve, bound)
    renamed = dict(tree)
    for key, branch in tree.items():
        renamed[key] = (
            [_renamed_argument(node, resolve, bound) for node in branch]
            if key == "children" and _takes_lambda(tree)
            else _renamed(branch, resolve, bound)
        )
    return renamed


def _takes_lambda(tree: Node) -> bool:
    return _TAKES_LAMBDA.fullmatch(str(tree.get("function_name", "")).lower()) is not None


def _renamed_argument(node: Node, resolve: Callable[[Name], Name], bound: frozenset[str]) -> Node:
    """Rename inside an argument; a lambda's own names are bound in its body."""
    if node["class"] != "LAMBDA":
        return _renamed(node, resolve, bound)  # type: ignore[no-any-return]  # a Node stays one
    own = {ref["column_names"][0].lower() for ref in _nodes(node["lhs"]) if "column_names" in ref}
    return {**node, "expr": _renamed(node["expr"], resolve, bound | own)}


def _renamed_reference(node: Node, resolve: Callable[[Name], Name], bound: frozenset[str]) -> Node:
    name: Name = tuple(node["column_names"])
    if name[0].lower() in bound:
        return node
    return {**node, "column_names": list(resolve(name))}


@lru_cache(maxsize=1)
def _reserved() -> frozenset[str]:
    with sandbox() as con:
        words = con.execute(
            "select keyword_name from duckdb_keywords() where keyword_category = 'reserved'"
        ).fetchall()
    return frozenset(word for (word,) in words)


def reserved_column(sql: str, columns: Iterable[str]) -> str | None:
    """Return a column whose name is a word of SQL, if the text has it as a word."""
    words = {word.lower() for word in re.findall(r"\w+", sql)} & _reserved()
    return next((column for column in columns if column.lower() in words), None)


def is_time(name: Name) -> bool:
    """Whether a name without brackets is SQL's for the time: `current_date`."""
    return len(name) == 1 and name[0].lower() in _TIMES


def is_reference(tree: Node) -> bool:
    """Whether an expression is a name alone, which cannot fail and costs nothing."""
    return tree["class"] == "COLUMN_REF" and not is_time(tuple(tree["column_names"]))


def to_sql(tree: Node) -> str:
    """Return the SQL of an expression, in brackets if it is more than a name."""
    statement = json.dumps(
        {
            "error": False,
            "statements": [
                {"node": {**_empty_select(), "select_list": [tree]}, "named_param_map": []}
            ],
        }
    )
    with sandbox() as con:
        row = con.execute(f"select json_deserialize_sql({quote_text(statement)})").fetchone()
    sql = str(row[0]).removeprefix("SELECT ") if row else ""
    return sql if is_reference(tree) else f"({sql})"


def with_barriers(tree: Node, relation: str) -> Node:
    """Return an expression in which DuckDB does not move a cast of a column into its scan.

    It does so with a field of a struct, and the cast then fails outside of TRY (DuckDB 1.5.5).
    """

    def barrier(node: Node) -> Node:
        if node["column_names"][0] != relation:
            return node
        wrapped = _replaced(tree_of("coalesce(x, null)"), lambda _: {**node, "alias": ""})
        return {**wrapped, "alias": node["alias"]}

    return _replaced(tree, barrier)  # type: ignore[no-any-return]  # a Node stays one


@lru_cache(maxsize=1)
def _empty_select() -> Node:
    with sandbox() as con:
        row = con.execute("select json_serialize_sql('select 1')").fetchone()
    select: Node = json.loads(row[0])["statements"][0]["node"] if row else {}
    return select
