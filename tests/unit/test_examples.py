"""Every example of a project file is one: it loads, once its variables have values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cdpsync import project
from cdpsync.storage import open_storage

CONFIGS = sorted((Path(__file__).parents[2] / "examples/configs").iterdir())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_example_loads(path: Path, monkeypatch) -> None:
    """Its sources are understood, and its warehouse names a storage there is."""
    files = [path] if path.is_file() else sorted(path.glob("*.yml"))
    for file in files:
        for name in re.findall(r"\$\{([A-Z0-9_]+)\}", file.read_text()):
            monkeypatch.setenv(name, "postgresql://reader@localhost/shop" if "URL" in name else "x")
    config = project.load(path)
    assert config.sources
    assert open_storage(config.warehouse).root.endswith("/")
