"""Every example is a project that loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cdpsync import project

FOLDER = Path(__file__).resolve().parents[2] / "examples/configs"
EXAMPLES = sorted(path for path in FOLDER.iterdir() if path.is_dir() or path.suffix == ".yml")


def test_there_are_examples() -> None:
    """A check over nothing would prove nothing."""
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_loads(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With its variables set, every example is valid, and has a source."""
    files = [path] if path.is_file() else list(path.glob("*.yml"))
    key = tmp_path / "key"
    key.write_text("secret")
    for file in files:
        for name in re.findall(r"\$\{([A-Z0-9_]+)\}", file.read_text()):
            scheme = "mysql" if "MYSQL" in name else "postgresql"
            monkeypatch.setenv(name, f"{scheme}://reader@localhost/db")
    assert project.load(path).sources
