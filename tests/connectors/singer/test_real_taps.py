"""Three taps of PyPI, installed once, against a local service: two of GitHub, one of any API."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support import commands
from support.stub_api import Service, github, issue, service

from cdpsync import project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(900)  # the packages come over the network

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Taps:
    """A project with the three taps."""

    def __init__(self, folder: Path, server: Service) -> None:
        self.folder, self.server = folder, server
        github_issues = {"issues": {"mode": "incremental"}}
        stream = {
            "name": "issues",
            "path": "/repos/octo/hello/issues",
            "primary_keys": ["id"],
            "records_path": "$[*]",
            "num_inference_records": 5,
        }
        start = "2024-01-01T00:00:00Z"
        self.sources: dict[str, Any] = {
            "sdk": {
                "package": "meltanolabs-tap-github==1.30.1",
                "config": {
                    "repositories": ["octo/hello"],
                    "api_url_base": server.url,
                    "start_date": start,
                },
                "tables": {**github_issues, "repositories": {}},
            },
            "old": {
                "package": "tap-github==4.0.0",
                "config": {
                    "access_token": "ghp-0123456789",
                    "repository": "octo/hello",
                    "base_url": server.url,
                    "start_date": start,
                },
                "tables": github_issues,
            },
            "api": {
                "package": "tap-rest-api-msdk==1.4.2",
                "with": ["setuptools<81"],  # it needs pkg_resources, and does not say so
                "config": {"api_url": server.url, "streams": [stream]},
                "tables": {"issues": {"allow_shrink": True}},
            },
        }
        common = {"type": "singer", "python": PYTHON}
        document = {"sources": {n: common | source for n, source in self.sources.items()}}
        (folder / "cdpsync.yml").write_text(yaml.safe_dump(document))

    def cdpsync(self, *arguments: str) -> Any:
        return commands.run(*arguments, cwd=self.folder)

    def run(self) -> dict[str, Any]:
        done = self.cdpsync("run", "-o", "json")
        assert done.returncode == 0, done.stderr
        return {table["table"]: table for table in json.loads(done.stdout)["tables"]}

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with project.catalog_of(project.load(self.folder / "cdpsync.yml")).reader() as con:
            return con.execute(sql).fetchall()


@pytest.fixture(scope="module")
def taps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taps]:
    """The project, after `cdpsync install`."""
    with service(github(*map(issue, range(1, 6)))) as server:
        taps = Taps(tmp_path_factory.mktemp("taps"), server)
        refused = taps.cdpsync("run")
        assert refused.returncode == 1
        assert "is not installed. Install it: cdpsync install sdk" in refused.stderr
        installed = taps.cdpsync("install", "-o", "json")
        assert installed.returncode == 0, installed.stderr
        results = {result["source"]: result for result in json.loads(installed.stdout)}
        assert results["sdk"]["licence"] == "Apache-2.0"
        assert results["old"]["licence"] == "AGPL-3.0"
        yield taps


def test_real_taps_are_read_and_read_on(taps: Taps) -> None:
    """Of both kinds of taps the next run has the boundary again, and what is new."""
    first = taps.run()
    assert {name: t["rows_inserted"] for name, t in first.items()} == {
        "sdk.issues": 5,
        "sdk.repositories": 1,
        "old.issues": 5,
        "api.issues": 5,
    }
    taps.server.answers |= github(issue(7), issue(5, title="other"))
    taps.server.requests.clear()
    second = taps.run()
    for name in ("sdk.issues", "old.issues"):
        assert (second[name]["rows_inserted"], second[name]["rows_updated"]) == (1, 1), name
        assert taps.query(f"select title from lake.{name} where id = 5") == [("other",)]
    assert second["api.issues"]["rows_in_table"] == 2
    assert any("since=2024-01-05" in request for request in taps.server.requests)


def test_installing_again_does_nothing(taps: Taps) -> None:
    """The lock is beside the project file; other options want another one."""
    lock = taps.folder / "cdpsync-sdk.lock"
    before = lock.read_text()
    assert "--hash=sha256:" in before
    again = json.loads(taps.cdpsync("install", "sdk", "-o", "json").stdout)
    assert [result["is_new"] for result in again] == [False]
    assert lock.read_text() == before
    file = taps.folder / "cdpsync.yml"
    text = file.read_text()
    file.write_text(text.replace("meltanolabs-tap-github==1.30.1", "meltanolabs-tap-github"))
    try:
        refused = taps.cdpsync("check", "sdk").stderr
    finally:
        file.write_text(text)
    assert "cdpsync-sdk.lock was made for other options" in refused


def test_a_package_that_is_not_there_is_one_line(taps: Taps) -> None:
    """Nothing is left behind; the exit code tells."""
    folder = taps.folder / "none"
    folder.mkdir(exist_ok=True)
    source = {"type": "singer", "package": "tap-github==0.0.99", "python": PYTHON, "config": {}}
    (folder / "cdpsync.yml").write_text(yaml.safe_dump({"sources": {"none": source}}))
    done = commands.run("install", cwd=folder)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "it cannot be installed" in line
    assert not list(folder.glob("*.lock"))
