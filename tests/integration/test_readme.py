"""The README and its pages in docs/ are run: every command, their YAML and their Python."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest
from support import commands

from cdpsync import engine, project

if TYPE_CHECKING:
    from support.servers import Database

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text()
GUIDES = ("project-file", "sync-modes", "cron", "verify", "querying", "operating")
"""The pages of docs/ that go on with the README's project, in the order in which they are run."""
PAGES = README + "".join((ROOT / f"docs/{name}.md").read_text() for name in GUIDES)
BIN = Path(sys.executable).parent


def blocks(language: str, pages: str = PAGES) -> list[str]:
    """Return the code blocks of a language: the README's, then those of its pages."""
    return re.findall(rf"^```{language}\n(.*?)^```", pages, re.MULTILINE | re.DOTALL)


def typed_commands(pages: str = PAGES) -> list[str]:
    """Return what is typed in the README and its pages, in their order."""
    text = "\n".join(blocks("console", pages))
    return re.findall(r"^\$ ((?:.*\n(?:    .*\n)*))", text, re.MULTILINE)


def test_every_page_has_its_commands_run() -> None:
    """A page whose blocks are not found would be tested in name only."""
    typed = "".join(typed_commands())
    for part in ("init", "-c ", "--accept-changes", "--due", "--repair", "--at", "reset"):
        assert part in typed
    assert len(blocks("yaml")) >= 2
    assert len(blocks("python")) == 2


@pytest.fixture
def at_home(tmp_path: Path, pg: Database) -> dict[str, str]:
    """An environment in which the README's reader types."""
    pg.execute((Path(__file__).parent / "readme_shop.sql").read_text())
    return {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(tmp_path), "SHOP_DATABASE_URL": pg.url}


def test_every_command_of_the_readme_works(tmp_path: Path, pg: Database, at_home: dict) -> None:
    """Typed one after the other, each ends with 0.

    A shell runs those of the README. Those of its pages need no shell.
    """
    yaml = blocks("yaml")[0]
    folder = tmp_path
    in_readme = len(typed_commands(README))
    for number, command in enumerate(typed_commands()):
        typed = command.strip()
        if typed.startswith("cd "):
            folder = folder / typed.removeprefix("cd ")
            continue
        if typed.startswith("export "):
            continue  # the address is at_home's
        if typed.startswith("cdpsync plan"):
            (folder / "cdpsync.yml").write_text(yaml)
            (folder / "report.sql").write_text("select 1")
        if typed == "cdpsync run shop.orders":
            pg.execute("update orders set status = 'paid', updated_at = now() where id in (1, 3)")
            pg.execute("insert into orders (customer_id, total, status) values (7, 19.99, 'open')")
        typed = typed.replace("2026-01-31T12:00:00", "2999-01-31T12:00:00")  # any later than now
        if number < in_readme:
            done = subprocess.run(
                ["/bin/sh", "-c", typed], cwd=folder, env=at_home, capture_output=True, text=True
            )
        else:
            program, *arguments = shlex.split(typed)
            assert program == "cdpsync"
            done = commands.run(*arguments, cwd=folder, env=at_home)
        assert done.returncode == 0, f"{typed}\n{done.stdout}{done.stderr}"
    query = [BIN / "cdpsync", "query", "-o", "csv", "select count(*) as n from shop.orders"]
    asked = subprocess.run(query, cwd=folder, env=at_home, capture_output=True, text=True)
    assert asked.stdout.split() == ["n", "120001"]


def test_python_of_the_readme_works(tmp_path: Path, at_home: dict) -> None:
    """Both ways into the lake, as they are printed; only the download is left out."""
    (tmp_path / "cdpsync.yml").write_text(blocks("yaml")[0])
    without, library = blocks("python")
    run = {"cwd": tmp_path, "env": at_home, "capture_output": True, "text": True, "check": True}
    printed = subprocess.run([sys.executable, "-c", library], **run).stdout
    assert "shop.orders ok 120000 None" in printed
    path = engine.wheel_file("ducklake", duckdb.__version__)
    offline = without.replace("install ducklake; load ducklake", f"load '{path}'")
    assert offline != without
    assert "paid" in subprocess.run([sys.executable, "-c", offline], **run).stdout


def test_every_yaml_of_the_readme_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown can be pasted."""
    monkeypatch.setenv("SHOP_DATABASE_URL", "postgresql://reader@localhost/shop")
    monkeypatch.setenv("STRIPE_API_KEY", "rk_test_1")
    for number, text in enumerate(blocks("yaml")):
        file = tmp_path / f"{number}.yml"
        file.write_text(text)
        assert "shop" in project.load(file).sources


def test_demo_runs(tmp_path: Path) -> None:
    """`make demo` ends well: December arrives and is sent on, and the project it leaves answers."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CDPSYNC_DEMO": str(tmp_path / "demo")}
    done = subprocess.run(
        [sys.executable, ROOT / "examples/demo/demo.py"], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"nyc\.flights +incremental +ok +\S+ +28,135 +722 +0 +336,776", done.stdout)
    assert "142 of them, in 2 requests" in done.stdout
    asked = subprocess.run(
        [BIN / "cdpsync", "query", "-o", "csv", "select count(*) as n from nyc.flights"],
        cwd=tmp_path / "demo",
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.split() == ["n", "336776"]


def test_every_command_and_option_is_told_of(tmp_path: Path) -> None:
    """The README names each command that there is."""
    done = subprocess.run(
        [BIN / "cdpsync", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
    )
    listed = re.findall(r"^│ (\w+)  ", done.stdout.split("Commands")[1], re.MULTILINE)
    assert len(listed) >= 10
    for name in listed:
        assert f"cdpsync {name}" in README or f"`{name}`" in README, name
