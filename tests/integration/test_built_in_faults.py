"""An exception that no built-in connector knows is its source's or table's, in one line."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from cdpsync import query, sync
from cdpsync.connector import registry
from cdpsync.model import Column, RunStatus, Stream
from cdpsync.project.check import check
from cdpsync.project.workspace import load
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from duckdb import DuckDBPyConnection, DuckDBPyRelation

OPTIONS: dict[str, dict[str, Any]] = {
    "postgres": {"url": "postgresql://u:p@localhost:1/shop"},
    "mysql": {"url": "mysql://u:p@localhost:1/shop"},
    "snowflake": {"account": "a-b", "user": "U", "password": "p4ssw0rd", "database": "D"},
    "stripe": {"api_key": "sk_test_51abc"},
    "files": {"path": "data/*.csv"},
}
FAULTS: dict[str, Exception] = {
    "discover": KeyError("x"),
    "source_identity": KeyError("x"),
    "read": KeyError("x"),
    "relation": KeyError("x"),
    "relation_2": EOFError("ended\nearly"),
    "relation_3": RecursionError("too deep"),
    "relation_4": MemoryError(),
    "safe_cursor": KeyError("x"),
    "translate": KeyError("x"),
}
OF_SOURCE = {"discover", "source_identity"}
COLUMNS = (Column("id", "INTEGER", nullable=False), Column("v", "VARCHAR"))


class _Chunks(list[Any]):
    """The chunks of a read, which have a cursor of their own."""

    error: Exception | None = None

    def safe_cursor(self, highest: object) -> object:
        if self.error is not None:
            raise self.error
        return highest


class _Chunk:
    label = "chunk 1"

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def relation(self, con: DuckDBPyConnection) -> DuckDBPyRelation:
        if self.error is not None:
            raise self.error
        return con.sql("select 1::integer as id, 'a' as v")


def _plant(connector: Any, fault: str) -> None:
    """Give a connector two streams without its server; `bad` meets the error of the fault."""
    error, place = FAULTS.get(fault, KeyError()), fault.rstrip("_234")

    def discover() -> list[Stream]:
        if place == "discover":
            raise error
        return [Stream(name, name, COLUMNS, ("id",), ("id",)) for name in ("bad", "good")]

    def source_identity() -> None:
        if place == "source_identity":
            raise error

    @contextmanager
    def read(request: Any) -> Iterator[_Chunks]:
        is_bad = request.stream.name == "bad"
        if is_bad and place == "read":
            raise error
        chunks = _Chunks([_Chunk(error if is_bad and place in {"relation", "translate"} else None)])
        chunks.error = error if is_bad and place == "safe_cursor" else None
        yield chunks

    def translate(_: Exception) -> None:
        if place == "translate":
            raise error

    methods = {"discover": discover, "source_identity": source_identity, "read": read}
    for name, method in {**methods, "translate": translate, "close": lambda: None}.items():
        setattr(connector, name, method)


@pytest.mark.parametrize("type_", OPTIONS)
def test_unknown_exception_stops_no_other_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_: str
) -> None:
    """In each method of every connector: one line with type and place; the others load.

    Each fault has a source of its own in one project.
    """
    faults = {fault for fault in FAULTS if type_ != "files" or fault != "safe_cursor"}
    source: dict[str, Any] = {"type": type_, **OPTIONS[type_]}
    if type_ != "files":
        source["defaults"] = {"mode": "incremental", "cursor_field": "id", "primary_key": "id"}
    project = tmp_path / "cdpsync.yml"
    project.write_text(json.dumps({"sources": dict.fromkeys([*sorted(faults), "well"], source)}))
    create = registry.create

    def create_with_fault(source: Any) -> Any:
        connector = create(source)
        _plant(connector, source.name if source.name in faults else "")
        return connector

    monkeypatch.setattr(registry, "create", create_with_fault)
    result = sync.run(project)
    failures = {str(table.table): table.error for table in result.tables if table.error}
    assert result.status is RunStatus.PARTIAL
    assert set(failures) == {f"{name}.{'*' if name in OF_SOURCE else 'bad'}" for name in faults}
    for table, failure in failures.items():
        assert failure is not None
        assert "\n" not in failure.message
        assert type(FAULTS[table.partition(".")[0]]).__name__ in failure.message
        assert re.search(r"\(\w+\.py:\d+\)", failure.message), failure.message
    loaded = [*sorted(faults - OF_SOURCE), "well"]
    rows = " union all ".join(f"select id from {name}.good" for name in loaded)
    assert query(rows, project) == [(1,)] * len(loaded)
    found = {str(table.table): str(table.status) for table in verify(project)}
    assert {found[f"{name}.good"] for name in loaded} == {"equal"}


@pytest.mark.parametrize("type_", OPTIONS)
def test_check_of_an_unknown_exception_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_: str
) -> None:
    """The other sources are checked."""
    (tmp_path / "other.csv").write_text("id\n7\n")
    far = {"type": "files", "path": "other.csv"}
    sources = {"own": {"type": type_, **OPTIONS[type_]}, "far": far}
    project = tmp_path / "cdpsync.yml"
    project.write_text(json.dumps({"sources": sources}))
    create = registry.create

    def fail() -> None:
        raise KeyError("x")

    def create_with_fault(source: Any) -> Any:
        connector: Any = create(source)
        if source.name == "own":
            connector.check = fail
        return connector

    monkeypatch.setattr(registry, "create", create_with_fault)
    results = {result.name: result for result in check(load(project))}
    assert results["far"].ok
    assert results["own"].error is not None
    assert re.search(r"KeyError: 'x' \(\w+\.py:\d+\)", results["own"].error.message)
