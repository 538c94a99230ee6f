"""An error that a connector does not know is one table's: the other tables and sources land."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from cdpsync import project, query, sync
from cdpsync.cli.main import app
from cdpsync.connector.sql_chunk import SqlChunk
from cdpsync.model import RunStatus
from cdpsync_connectors.files import FilesConnector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ERRORS = [
    KeyError("x"),
    EOFError("ended\nearly"),
    ValueError("no such value"),
    RecursionError("too deep"),
    MemoryError("no more"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project of two sources: `f` with tables `a` and `b`, and `g` with table `c`."""
    for name in ("f/a", "f/b", "g/c"):
        path = tmp_path / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("id,v\n1,x\n2,y\n")
    sources = {name: {"type": "files", "path": name} for name in "fg"}
    config = {"warehouse": {"path": "./warehouse"}, "sources": sources}
    (tmp_path / "cdpsync.yml").write_text(json.dumps(config))
    return tmp_path


def _for_stream_a(method: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """Return a method that raises the error if any argument is about stream `a`."""

    def stand_in(self: object, *arguments: Any) -> Any:
        about = " ".join(map(str, (getattr(self, "label", ""), *arguments)))
        if "a.csv" in about or "name='a'" in about:
            raise error
        return method(self, *arguments)

    return stand_in


def _plant(monkeypatch: pytest.MonkeyPatch, place: str, error: Exception) -> None:
    owner = SqlChunk if place == "relation" else FilesConnector
    monkeypatch.setattr(owner, place, _for_stream_a(getattr(owner, place), error))


PLACES = ["_read_schema", "read", "relation"]


@pytest.mark.parametrize("place", PLACES)
def test_unknown_error_is_its_tables(
    folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """In discovery, at the begin of a read and in it: one line, with what the error says."""
    for number, error in enumerate(ERRORS):
        for name in ("f/a", "f/b", "g/c"):
            (folder / f"{name}.csv").write_text(f"id,v\n{number},x\n")
        with monkeypatch.context() as patch:
            _plant(patch, place, error)
            result = sync.run(folder / "cdpsync.yml")
        assert result.status is RunStatus.PARTIAL
        failures = {str(table.table): table.error for table in result.tables if table.error}
        assert list(failures) == ["f.a"], failures
        message = failures["f.a"].message
        known_by = (
            type(error).__name__ if place == "_read_schema" else str(error).split()[0].strip("'")
        )
        assert known_by in message
        assert "\n" not in message
        for table in ("f.b", "g.c"):
            assert query(f"select id from {table}", folder / "cdpsync.yml") == [(number,)]


def test_discover_check_and_verify_of_an_unknown_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other streams are listed and compared; the exit code says that one of them failed."""
    sync.run(folder / "cdpsync.yml")
    _plant(monkeypatch, "_read_schema", KeyError("x"))
    a, b = project.discover(project.load(folder / "cdpsync.yml"), "f")
    assert a.unreadable_reason is not None
    assert f"{folder}/f/a.csv: KeyError: 'x' (" in a.unreadable_reason
    assert b.unreadable_reason is None
    arguments = ["-c", str(folder / "cdpsync.yml"), "verify", "-o", "json"]
    verified = CliRunner().invoke(app, arguments)
    assert {table["table"]: table["status"] for table in json.loads(verified.stdout)} == {
        "f.a": "failed",
        "f.b": "equal",
        "g.c": "equal",
    }


def test_translation_that_fails_is_its_tables(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error while an error is translated is that table's too."""

    def fail(_self: FilesConnector, _error: Exception) -> None:
        raise EOFError("of the translation")

    _plant(monkeypatch, "relation", ValueError("x"))
    monkeypatch.setattr(FilesConnector, "translate", fail)
    result = sync.run(folder / "cdpsync.yml")
    failures = {str(table.table) for table in result.tables if table.error}
    assert (result.status, failures) == (RunStatus.PARTIAL, {"f.a"})
