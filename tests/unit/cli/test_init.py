"""`init`: a project that loads, and nothing overwritten."""

import os
import re
import subprocess

import pytest
from support.cli_fakes import invoke

from cdpsync import project
from cdpsync.cli.commands.init_templates import starter
from cdpsync.connector import registry


@pytest.mark.parametrize("source", ["postgres", "mysql", "files"])
def test_a_starter_can_be_loaded(tmp_path, monkeypatch, source):
    result = invoke("init", str(tmp_path / "new"), "--source", source)
    assert result.exit_code == 0
    scheme = "mysql" if source == "mysql" else "postgresql"
    monkeypatch.setenv("SHOP_DATABASE_URL", f"{scheme}://user:password@localhost/shop")
    (only,) = project.load(tmp_path / "new" / "cdpsync.yml").sources.values()
    assert only.type == source


def test_env_example_works_once_it_is_copied(tmp_path, monkeypatch):
    """`init` says that .env is read, and it is."""
    monkeypatch.setattr("os.environ", os.environ.copy())
    monkeypatch.delenv("SHOP_DATABASE_URL", raising=False)
    invoke("init", str(tmp_path))
    assert "beside cdpsync.yml" in (tmp_path / ".env.example").read_text()
    (tmp_path / ".env.example").rename(tmp_path / ".env")
    result = invoke("-C", str(tmp_path), "plan", "shop")
    assert "localhost" in result.stderr
    assert "not set" not in result.stderr


def test_init_tells_what_comes_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("init")
    assert result.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".env.example",
        ".gitignore",
        "cdpsync.yml",
    ]
    for step in ("check", "discover", "run", "query"):
        assert f"cdpsync {step}" in result.stderr


@pytest.mark.parametrize("name", ["cdpsync.yml", ".env.example"])
def test_init_never_overwrites(tmp_path, name):
    (tmp_path / name).write_text("mine")
    result = invoke("init", str(tmp_path))
    assert result.exit_code == 2
    assert str(tmp_path / name) in result.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_gitignore_that_is_there_stays_and_its_lines_are_named(tmp_path):
    (tmp_path / ".gitignore").write_text("mine")
    result = invoke("init", str(tmp_path))
    assert result.exit_code == 0
    assert (tmp_path / ".gitignore").read_text() == "mine"
    assert ".cdpsync/  warehouse/" in result.stderr


def test_an_unknown_type_is_refused_with_the_installed_ones(tmp_path):
    result = invoke("init", str(tmp_path), "--source", "oracel")
    assert result.exit_code == 2
    assert re.search(r"Installed: .*\bfiles, ", result.stderr)
    assert not list(tmp_path.iterdir())


def test_a_type_without_a_starter_of_its_own_gets_a_general_one():
    files = starter("my-crm")
    assert "  my_crm:" in files["cdpsync.yml"]
    assert "    type: my-crm\n" in files["cdpsync.yml"]


def test_git_ignores_the_lake(tmp_path):
    invoke("init", str(tmp_path))
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for path in (".cdpsync/state.json", "warehouse/shop/a.parquet", ".env"):
        subprocess.run(["git", "-C", tmp_path, "check-ignore", "-q", path], check=True)


def test_a_manifest_comes_with_what_it_needs(tmp_path, monkeypatch):
    """Filled in, the starter of an API is whole; what may be left out is a comment."""
    assert invoke("init", str(tmp_path), "--source", "hubspot").exit_code == 0
    text = (tmp_path / "cdpsync.yml").read_text()
    assert "    token: ${HUBSPOT_TOKEN}   # " in text
    assert "HUBSPOT_TOKEN=\n" in (tmp_path / ".env.example").read_text()
    monkeypatch.setenv("HUBSPOT_TOKEN", "pat-1")
    (source,) = project.load(tmp_path / "cdpsync.yml").sources.values()
    assert source.options is not None


def test_each_starter_of_an_api_can_be_loaded(tmp_path, monkeypatch):
    for name in registry.manifests():
        folder = tmp_path / name
        assert invoke("init", str(folder), "--source", name).exit_code == 0
        for line in (folder / ".env.example").read_text().splitlines():
            if line.endswith("="):
                monkeypatch.setenv(line[:-1], "https://host.example")
        (source,) = project.load(folder / "cdpsync.yml").sources.values()
        assert source.problem == "" or source.problem is None
        assert source.options is not None, name
