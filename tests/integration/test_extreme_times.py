"""Times outside of Python's range: exact in each format of `query`, or refused before they land."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cdpsync import sync
from cdpsync.cli.main import app
from cdpsync.model import RunStatus

if TYPE_CHECKING:
    from pathlib import Path

DATE, MOMENT, ZONED = pa.date32(), pa.timestamp("us"), pa.timestamp("us", tz="UTC")
FIRST_MOMENT = -9_223_372_022_400_000_000
KEPT = [
    (DATE, -(2**31) + 2, "5877642-06-25 (BC)"),
    (DATE, 2**31 - 2, "5881580-07-10"),
    (DATE, -(2**31) + 1, "-infinity"),
    (MOMENT, FIRST_MOMENT, "290309-12-22 (BC) 00:00:00"),
    (MOMENT, 2**63 - 2, "294247-01-10 04:00:54.775806"),
    (MOMENT, 2**63 - 1, "infinity"),
    (ZONED, FIRST_MOMENT, "290309-12-22 (BC) 00:00:00+00"),
    (ZONED, -(2**63) + 1, "-infinity"),
]
BEFORE = 'column "at" has a value before the first {} that the lake can be queried with'
MISREAD = "Date out of range in timestamp conversion"  # by DuckDB, of the file's statistics
REFUSED = [
    (DATE, -(2**31), BEFORE.format("date")),
    (MOMENT, FIRST_MOMENT - 1, MISREAD),
    (MOMENT, -(2**63), MISREAD),
    (ZONED, FIRST_MOMENT - 1, MISREAD),
    (ZONED, -(2**63) + 2, MISREAD),
]


def load(folder: Path, values: dict[str, tuple[pa.DataType, int]]) -> Path:
    """Write a Parquet file with a column per value, and a project that reads it."""
    columns = {
        name: pa.array([value], pa.int32() if type_ == DATE else pa.int64()).cast(type_)
        for name, (type_, value) in values.items()
    }
    pq.write_table(pa.table(columns), folder / "t.parquet")
    project = folder / "cdpsync.yml"
    source = {"type": "files", "path": "./*.parquet"}
    project.write_text(json.dumps({"sources": {"f": source}}))
    return project


def test_time_outside_of_pythons_range_has_duckdbs_text(tmp_path: Path) -> None:
    """In JSON, JSON Lines, CSV and a table, inside a list too."""
    project = load(tmp_path, {f"c{n}": case[:2] for n, case in enumerate(KEPT)})
    result = sync.run(project)
    assert result.status is RunStatus.OK, [table.error for table in result.tables]
    texts = [text for _, _, text in KEPT]
    names = ", ".join(f"c{n}, [c{n}] as l{n}" for n in range(len(KEPT)))

    def output(form: str) -> str:
        command = ["-c", str(project), "query", "-o", form, f"select {names} from f.t"]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        return done.stdout

    for row in (json.loads(output("json"))[0], json.loads(output("jsonl"))):
        assert [row[f"c{n}"] for n in range(len(KEPT))] == texts
        assert [row[f"l{n}"] for n in range(len(KEPT))] == [[text] for text in texts]
    for form in ("csv", "table"):
        assert [text for text in texts if text not in output(form)] == []


@pytest.mark.parametrize(("type_", "value", "reason"), REFUSED)
def test_time_that_no_query_could_read_is_refused(
    tmp_path: Path, type_: pa.DataType, value: int, reason: str
) -> None:
    """It used to land, and then no query of the table worked."""
    (table,) = sync.run(load(tmp_path, {"at": (type_, value)})).tables
    assert reason in table.error.message
