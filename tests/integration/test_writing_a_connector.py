"""The page for authors: its connector works from a file and from a package, and conforms."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.api_server import ApiRequest, ApiServer, Reply, serving

from cdpsync import query, run

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/writing-a-connector.md").read_text()
BIN = Path(sys.executable).parent


def block(language: str, number: int = 0) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[number]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What a reader of the page has in a folder, and two answers of the service."""
    (tmp_path / "weather.py").write_text(block("python"))
    (tmp_path / "cdpsync.yml").write_text(block("yaml"))
    (tmp_path / "answers").mkdir()
    answer(tmp_path, "2024-01-01", ("LIS", "11.5"), ("CPH", "-0.1"))
    answer(tmp_path, "2024-01-02", ("LIS", "12.0"), ("CPH", "null"))
    return tmp_path


def answer(folder: Path, day: str, *rows: tuple[str, str]) -> None:
    lines = [f'{{"station": "{s}", "day": "{day}", "degrees": {d}}}\n' for s, d in rows]
    (folder / f"answers/{day}.json").write_text("".join(lines))


def typed(folder: Path, *command: str) -> str:
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=folder, capture_output=True,
                          text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_connector_in_a_file(project: Path) -> None:
    """Every command works with it, and the second run takes what is new."""
    assert "weather" in typed(project, "cdpsync", "check")
    assert "days" in typed(project, "cdpsync", "discover", "weather")
    typed(project, "cdpsync", "run")
    answer(project, "2024-01-02", ("LIS", "12.3"), ("CPH", "null"))
    answer(project, "2024-01-03", ("LIS", "13.0"))
    typed(project, "cdpsync", "run")
    rows = typed(
        project, "cdpsync", "query", "-o", "csv", "from weather.days order by day, station"
    )
    assert rows.splitlines()[1:] == [
        "CPH,2024-01-01,-0.1", "LIS,2024-01-01,11.5", "CPH,2024-01-02,", "LIS,2024-01-02,12.3",
        "LIS,2024-01-03,13.0",
    ]  # fmt: skip


def test_connector_keeps_every_promise(project: Path) -> None:
    """The test of the page is the test that an author runs."""
    (project / "test_weather.py").write_text(block("python", 1))
    (project / "conftest.py").touch()
    told = typed(project, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "1 passed" in told


def test_connector_in_a_package(project: Path) -> None:
    """Installed, it is a type like any other; the page's pyproject.toml builds as it is."""
    (project / "pyproject.toml").write_text(block("toml"))
    site = project / "site"
    pip = ("python", "-m", "pip", "install", "-q", "--no-deps")
    # With our own hatchling, so that the test takes no newer one from the network.
    typed(project, *pip, "--no-build-isolation", "--target", str(site), ".")
    (project / "weather.py").unlink()
    file = project / "cdpsync.yml"
    file.write_text(file.read_text().replace("./weather.py", "weather"))
    run = (
        "import sys; sys.path.insert(0, 'site'); from cdpsync import run; print(run('cdpsync.yml'))"
    )
    assert "rows_inserted=4" in typed(project, "python", "-c", run)


def test_connector_of_an_http_api(tmp_path: Path) -> None:
    """The page's tracker is read page by page, and its changes from the cursor on."""
    source = block("python", 2)
    assert len(source.splitlines()) <= 25
    (tmp_path / "issues.py").write_text(source)
    issues = {number: f"2026-01-{number:02d}T00:00:00Z" for number in range(1, 8)}

    def listed(request: ApiRequest) -> Reply:
        start, low = int(request.query.get("start", 0)), request.query.get("since", "")
        rows = [{"id": n, "updated_at": at} for n, at in issues.items() if at >= low]
        link = f'</repos/a/b/issues?since={low}&start={start + 3}>; rel="next"'
        return Reply(rows[start : start + 3], headers={"Link": link} if rows[start + 3 :] else {})

    with serving(ApiServer({"GET /repos/a/b/issues": listed})) as api:
        api.before = lambda request: (
            Reply({"message": "slow down"}, 429, {"Retry-After": "0"})
            if len(api.requests) == 1
            else None
            if request.headers["Authorization"] == "Bearer token-1"
            else Reply({"message": "Bad credentials"}, 401)
        )
        (tmp_path / "cdpsync.yml").write_text(
            f"sources:\n  tracker:\n    type: ./issues.py\n    base_url: {api.url}\n"
            "    token: token-1\n    repository: a/b\n"
            "    tables: {issues: {mode: incremental, cursor_field: updated_at}}\n"
        )
        run(tmp_path / "cdpsync.yml")
        issues[2] = "2026-01-09T00:00:00Z"
        result = run(tmp_path / "cdpsync.yml")
    assert [(t.rows_inserted, t.rows_updated) for t in result.tables] == [(0, 1)]
    assert api.requests[-1].query["since"] == "2026-01-06T23:55:00Z"
    rows = query("select count(*), max(id) from tracker.issues", tmp_path / "cdpsync.yml")
    assert rows == [(7, 7)]
