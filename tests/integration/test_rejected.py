"""`on_error: reject`: records that are no rows become a table beside it, in the same commit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import yaml
from support.cli_fakes import invoke

from cdpsync import query

if TYPE_CHECKING:
    from pathlib import Path


def test_rejected_records_are_a_table_of_the_same_commit(tmp_path: Path) -> None:
    """Rows and rejected records are those of one read of the file, and so after the next."""
    project = tmp_path / "cdpsync.yml"
    config = {
        "warehouse": {"path": "lake"},
        "sources": {"f": {"type": "files", "path": "./*.csv", "on_error": "reject"}},
    }
    project.write_text(yaml.safe_dump(config))

    def run(content: str) -> tuple[list[str], list[object], list[object]]:
        (tmp_path / "a.csv").write_text(content)
        result = invoke("-C", str(tmp_path), "run", "-o", "json")
        assert result.exit_code == 0, result.stderr
        (table,) = json.loads(result.stdout)["tables"]
        rows = query("select id, v from f.a order by id", config=project)
        rejected = query("select line, text from f.a__rejected order by line", config=project)
        return table["notices"], list(rows), list(rejected)

    notices, rows, rejected = run("id,v\n1,a\n2\n3,b,c\n")
    assert notices == ["2 records were rejected, with the reason in f.a__rejected"]
    assert (rows, rejected) == ([(1, "a")], [(3, "2"), (4, "3,b,c")])
    assert run("id,v\n1,a\n2,b\n3,b,c\n") == (
        ["1 record was rejected, with the reason in f.a__rejected"],
        [(1, "a"), (2, "b")],
        [(4, "3,b,c")],
    )
    assert run("id,v\n1,a\n2,b\n") == ([], [(1, "a"), (2, "b")], [])
    assert run("id,v\n1,a\n2,b\n9\n")[2] == [(4, "9")]
    snapshots = query(
        "select count(*) from ducklake_snapshots('lake') where commit_message like '%f.a'",
        config=project,
    )
    assert list(snapshots) == [(4,)]
    assert invoke("-C", str(tmp_path), "verify").exit_code == 0
    assert invoke("-C", str(tmp_path), "delete", "-y", "f.a__rejected").exit_code == 0
    assert invoke("-C", str(tmp_path), "maintain").exit_code == 0
