"""The project file is found in the current folder, or in the nearest folder above it."""

import os
from pathlib import Path

import pytest

from cdpsync.config.locate import project_files, project_folder
from cdpsync.errors import ConfigError


@pytest.fixture
def below(tmp_path, monkeypatch):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", ["cdpsync.yml", "cdpsync.yaml"])
def test_file_above_is_found_as_git_does(below, name):
    """Messages show its full path."""
    (below.parents[1] / name).write_text("")
    assert project_files(None) == [Path.cwd().parents[1] / name]
    assert project_folder(None) == Path.cwd().parents[1]


def test_nearest_file_wins(below):
    """A project inside a project is its own."""
    for folder in (below, below.parent):
        (folder / "cdpsync.yml").write_text("")
    assert project_files(None) == [Path("cdpsync.yml")]


def test_two_spellings_in_one_folder_are_refused(below):
    """Neither is preferred silently."""
    for name in ("cdpsync.yml", "cdpsync.yaml"):
        (below.parent / name).write_text("")
    with pytest.raises(ConfigError, match=r"cdpsync\.yml and cdpsync\.yaml"):
        project_files(None)


def test_file_of_another_user_above_is_named_and_not_read(below, monkeypatch):
    """A project file can name code to run, so that of a stranger's folder must be asked for."""
    (below.parent / "cdpsync.yml").write_text("")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    os.chown(below.parent / "cdpsync.yml", 1, 1) if os.getuid() == 0 else None
    with pytest.raises(ConfigError, match=rf"-c {below.parent}/cdpsync\.yml"):
        project_files(None)
    assert project_folder(None) is None


def test_missing_project_says_how_to_begin(below):
    """The message names both ways out."""
    with pytest.raises(ConfigError, match=r"or above it; run `cdpsync init`, or .* -c or -C"):
        project_files(None)
