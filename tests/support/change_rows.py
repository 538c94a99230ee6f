"""A relation `changes` with rows of any type, as a feed makes it, and what is rendered of it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cdpsync import engine
from cdpsync.destinations.templates.compile import CompiledRequests, Row, compile_requests, row_of
from cdpsync.model.destinations import RequestTemplate, Template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdpsync.model.destinations import Body

_CHANGES = """
    create or replace temp table changes as
    select
        md5(number::varchar) as event_id,
        '["' || number || '"]' as key,
        'update' as change,
        7::bigint as snapshot_id,
        timestamptz '2026-01-02 03:04:05Z' as changed_at,
        number as ord,
        struct as "row",
        {old} as old
    from (select row_number() over () as number, struct from ({rows}) as rows (struct))
"""


def text(template: str, *constants: str) -> Template:
    """A text of line 3 of a project file; U+0000 stands for each constant."""
    return Template(template, "cdpsync.yml:3", constants)


def body_of(tree: Any) -> Any:
    """A tree of a YAML file as the configuration has it: texts are templates."""
    if isinstance(tree, dict):
        return {key: body_of(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return tuple(body_of(value) for value in tree)
    return text(tree) if isinstance(tree, str) else tree


class Changes:
    """Changes of the rows of a SELECT."""

    def __init__(self, rows: str, old: str = "null", alias: str | None = None) -> None:
        self.con = engine.connect(threads=1)
        old = f"{old}::{self._type(rows)}"
        self.con.execute(_CHANGES.format(rows=rows, old=old))
        self.row: Row = row_of(self.con, alias=alias)

    def _type(self, rows: str) -> str:
        return str(self.con.sql(f"select struct from ({rows}) as rows (struct)").types[0])

    def compile(
        self, body: Any, inputs: Mapping[str, Body] | None = None, **options: Any
    ) -> CompiledRequests:
        """Compile a POST with this body."""
        request = RequestTemplate("POST", text("https://example.com/"), body=body_of(body))
        return compile_requests(self.row, request, inputs and body_of(inputs), **options)

    def rows(self, compiled: CompiledRequests) -> list[dict[str, Any]]:
        """Return the rows that a compilation gives, in their order."""
        cursor = self.con.execute(f"from ({compiled.select()}) order by ord")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]

    def rendered(self, body: Any, inputs: Any = None, **options: Any) -> list[dict[str, Any]]:
        """Compile a body and return its rows."""
        return self.rows(self.compile(body, inputs, **options))

    def texts(self, body: Any, inputs: Any = None, **options: Any) -> list[str]:
        """Return the text of a body for each row, none of which has an error."""
        compiled = self.compile(body, inputs, **options)
        rows = self.rows(compiled)
        assert [row["error"] for row in rows] == [None] * len(rows)
        return [row.get("body", compiled.steps[""].body) for row in rows]

    def values(self, body: Any, inputs: Any = None, **options: Any) -> list[Any]:
        """Return a body for each row, parsed by Python with exact numbers."""
        return [exact_json(rendered) for rendered in self.texts(body, inputs, **options)]


def exact_json(rendered: str) -> Any:
    """Parse strict JSON: exact numbers, no NaN, each key once."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), pairs
        return dict(pairs)

    return json.loads(
        rendered, parse_float=Decimal, parse_constant=refuse, object_pairs_hook=unique
    )
