"""Faults in a connector's own code: each is named with its line, and stops no other table."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from cdpsync import query, sync
from cdpsync.cli.main import app
from cdpsync.model import TableStatus
from cdpsync.project.check import check
from cdpsync.project.workspace import load
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    from pathlib import Path

CONNECTOR = '''
from contextlib import contextmanager

import pyarrow
from pydantic import field_validator

from cdpsync.connector import ConnectorOptions
from cdpsync.errors import ReadError
from cdpsync.model import Column, Stream
from cdpsync.sql import quote_name

COLUMNS = (Column("id", "INTEGER", nullable=False), Column("title", "VARCHAR"))


class Options(ConnectorOptions):
    fault: str = ""

    @field_validator("fault")
    @classmethod
    def _known(cls, fault):
        return {}[fault] if fault == "options" else fault


class Down(Exception):
    """An error of the driver."""


class Page:
    def __init__(self, request, fault):
        self.request, self.fault = request, fault

    @property
    def label(self):
        return {}["label"] if self.fault == "label" else "page 1"

    def relation(self, con):
        if self.fault == "relation":
            return {"id": 1}["x"]
        if self.fault == "rows":
            return [{"id": 1, "title": "a"}]
        if self.fault == "sql":
            return con.sql("select id, title frm page")
        if self.fault == "late":
            return con.sql("select 1 as id, error('no page') as title")
        if self.fault == "reader":
            return con.from_arrow(pyarrow.RecordBatchReader.from_batches(SCHEMA, batches()))
        if self.fault == "down":
            raise Down("503 from the service")
        if self.fault == "argument":
            return con.sql(f"select 1 as {quote_name(None)}")
        columns = {"id": "1", "title": "'a'"}
        if self.fault in columns:
            columns.pop(self.fault)
        if self.fault == "extra":
            columns["extra_field"] = "'b'"
        return con.sql("select " + ", ".join(f"{v} as {k}" for k, v in columns.items()))


SCHEMA = pyarrow.schema([("id", pyarrow.int32()), ("title", pyarrow.string())])


def batches():
    yield pyarrow.record_batch([pyarrow.array([1], pyarrow.int32()), pyarrow.array(["a"])], SCHEMA)
    raise KeyError("x")


class Pages(list):
    def safe_cursor(self, highest):
        if self[0].fault == "order":
            return highest[0]
        return highest.value if self[0].fault == "cursor" else highest


class Issues:
    Options, extensions = Options, ()

    def __init__(self, options):
        self.fault = options.fault
        if self.fault == "init":
            raise ValueError("no token")

    @property
    def concurrency_limit(self):
        if self.fault == "limit":
            raise TypeError("no limit")
        return 3 if self.fault == "limit of 3" else None

    def check(self):
        if self.fault == "check":
            raise KeyError("x")

    def discover(self):
        if self.fault == "discover":
            raise KeyError("x")
        if self.fault == "discover down":
            raise Down("502 from the service")
        if self.fault == "dicts":
            return [{"name": "issues"}]
        if self.fault == "nothing":
            return None
        columns = ({"id": "INTEGER"},) if self.fault == "columns" else COLUMNS
        return [Stream("issues", "issues", columns, ("id",), ("id",))]

    def read(self, request):
        if self.fault == "no context":
            return [Page(request, "")]
        return self._read(request)

    @contextmanager
    def _read(self, request):
        if self.fault == "read":
            raise KeyError("x")
        if self.fault == "list of dicts":
            yield [{"id": 1, "title": "a"}]
        elif self.fault == "dict":
            yield {"id": 1, "title": "a"}
        elif self.fault == "each":
            yield [Page(request, "")]
            yield [Page(request, "")]
        elif self.fault == "none":
            return
        else:
            yield Pages([Page(request, self.fault)])
        if self.fault == "exit":
            raise KeyError("x")

    def translate(self, error):
        if self.fault == "translate":
            raise KeyError("t")
        if self.fault == "translated":
            return "down"
        return ReadError("the service is down") if isinstance(error, Down) else None

    def close(self):
        if self.fault == "close":
            raise KeyError("x")
'''

RAISED = r"{} \(issues\.py:\d+\)\. The connector's own code raised it"
RETURNED = r"{}\. docs/writing-a-connector\.md"
FAULTS = {
    "init": RAISED.format("ValueError: no token"),
    "limit": RAISED.format("TypeError: no limit"),
    "limit of 3": RETURNED.format(
        r"Issues\.concurrency_limit must be a ConcurrencyLimit or None, not int"
    ),
    "discover": RAISED.format("KeyError: 'x'"),
    "discover down": "the service is down",
    "dicts": RETURNED.format(r"Issues\.discover must return Stream objects, not dict"),
    "nothing": RETURNED.format(r"Issues\.discover must return Stream objects, not None"),
    "columns": RETURNED.format(r"Issues\.discover must return columns as Column objects, not dict"),
    "read": RAISED.format("KeyError: 'x'"),
    "exit": RAISED.format("KeyError: 'x'"),
    "no context": RETURNED.format(
        r"Issues\.read must be a context manager, not return list: add @contextmanager"
    ),
    "list of dicts": RETURNED.format(
        r"Issues\.read must yield Chunk objects, with label and relation, in a list; not dict"
    ),
    "dict": RETURNED.format(r"Issues\.read must yield a list of Chunk objects, not dict"),
    "each": RETURNED.format(r"Issues\.read must yield once: a list of all the chunks"),
    "none": RETURNED.format(r"Issues\.read must yield once: a list of all the chunks"),
    "label": RAISED.format("KeyError: 'label'"),
    "relation": RAISED.format("KeyError: 'x'"),
    "rows": RETURNED.format(r"Page\.relation must return a relation of DuckDB, not list: con\..*"),
    "sql": RAISED.format(r"ParserException: Parser Error: syntax error.*"),
    "late": "no page",
    "reader": RAISED.format("KeyError: 'x'"),
    "argument": RAISED.format("AttributeError: 'NoneType' object has no attribute 'replace'"),
    "down": "the service is down",
    "cursor": r"Pages\.safe_cursor must return a Cursor or None, not int",
    "order": RAISED.format("TypeError: 'Cursor' object is not subscriptable"),
    "id": r'what Page\.relation returns lacks "id", which the read asks for',
    "title": r'what Page\.relation returns lacks "title", which the read asks for',
    "extra": r'what Page\.relation returns has "extra_field", which the read does not ask for',
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a source for each fault, and two that have none."""
    (tmp_path / "issues.py").write_text(CONNECTOR)
    sources = {
        f"s{number}": {
            "type": "./issues.py",
            "fault": fault,
            "defaults": {"mode": "incremental", "cursor_field": "id"},
        }
        for number, fault in enumerate(FAULTS)
    }
    whole = {"type": "./issues.py", "tables": {"issues": {}}}
    sources |= {"whole": whole, "closing": {**whole, "fault": "close"}}
    file = tmp_path / "cdpsync.yml"
    file.write_text(json.dumps({"sources": sources}))
    return file


def test_faults_of_a_connector_are_named_and_stop_no_other_source(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In a run and in `verify`: type, text, file and line, or the method with what it returned."""
    results = {result.source: result for result in sync.run(project).tables}
    messages = {
        fault: getattr(results[f"s{number}"].error, "message", "no error")
        for number, fault in enumerate(FAULTS)
    }
    wrong = {
        fault: message
        for fault, message in messages.items()
        if not re.search(FAULTS[fault], message) or "\n" in message
    }
    assert wrong == {}
    assert results["whole"].status is results["closing"].status is TableStatus.OK
    assert re.search(r"closing: close: KeyError: 'x' \(issues\.py:\d+\)", caplog.text)
    assert query("select * from closing.issues", project) == [(1, "a")]
    errors = {result.source: result.error for result in verify(project)}
    assert errors["whole"] is None
    assert re.search(FAULTS["discover"], errors["s3"].message)


def test_check_and_a_broken_translate_are_named(project: Path) -> None:
    """`check`, and an error whose translation fails or is none."""
    document = json.loads(project.read_text())
    for fault in ("check", "translate", "translated"):
        document["sources"] = {"a": {"type": "./issues.py", "fault": fault}}
        project.write_text(json.dumps(document))
        connector = project.with_name("issues.py")
        connector.write_text(CONNECTOR.replace('self.fault == "relation"', "self.fault[0] == 't'"))
        (result,) = check(load(project), ["a"])[1:]
        if fault == "check":
            assert re.search(RAISED.format("KeyError: 'x'"), result.error.message)
            continue
        assert result.error is None
        (table,) = sync.run(project).tables
        expected = {
            "translate": RAISED.format("KeyError: 't'"),
            "translated": r"Issues\.translate must return an error of cdpsync or None, not str",
        }[fault]
        assert re.search(expected, table.error.message)


def test_verbose_shows_the_traceback(project: Path) -> None:
    """Without -v one line; with it the author's own lines too. No line blames cdpsync."""
    number = list(FAULTS).index("relation")
    for arguments, is_shown in (([], False), (["-v"], True)):
        command = ["-c", str(project), *arguments, "run", f"s{number}"]
        output = CliRunner().invoke(app, command).stderr
        assert ('return {"id": 1}["x"]' in output) is is_shown
        assert "defect of cdpsync" not in output
        assert re.search(
            rf"^error: s{number}\.issues: KeyError: 'x' \(issues", output, re.MULTILINE
        )


def test_fault_in_the_options_is_named(project: Path) -> None:
    """The project file cannot be read then, but the message leads to the connector's line."""
    project.write_text(json.dumps({"sources": {"a": {"type": "./issues.py", "fault": "options"}}}))
    result = CliRunner().invoke(app, ["-c", str(project), "run"])
    assert result.exit_code != 0
    assert re.match("error: " + RAISED.format("KeyError: 'options'"), result.stderr)
