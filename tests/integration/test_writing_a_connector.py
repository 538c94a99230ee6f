"""The page for authors: its connector works from a file and from a package, and conforms."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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
