"""The `.env` beside a project file, and the file that `--env-file` names."""

import os

import pytest
from support.cli_fakes import invoke

from cdpsync.config.env_file import variables
from cdpsync.errors import ConfigError

SECRET = "hunter2-of-the-env"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """What a file sets stays in the process, so each test gets an environment of its own."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=1\nB = 2 # two\n# C=3\n\nexport D=4\n", {"A": "1", "B": "2", "D": "4"}),
        ("A='x # y'\nB=\"x\\ny\"\nC=a#b\n", {"A": "x # y", "B": "x\ny", "C": "a#b"}),
        ('KEY="-----BEGIN\nabc\n-----END"\nB=1\n', {"KEY": "-----BEGIN\nabc\n-----END", "B": "1"}),
        ("\ufeffA=1\r\nB=\r\nexport C\r\n", {"A": "1", "B": ""}),
        ("A=1\nA=2\n", {"A": "2"}),
        (
            "URL=postgresql://u:p%40$w@h/db?sslmode=require\n",
            {"URL": "postgresql://u:p%40$w@h/db?sslmode=require"},
        ),
        ("A=a\nB=${A}/${C:-c}/${OUTER}\nD='${A}'\n", {"A": "a", "B": "a/c/o", "D": "${A}"}),
        ("OUTER=mine\nB=${OUTER}\n", {"OUTER": "mine", "B": "o"}),
    ],
)
def test_syntax_is_that_of_dotenv(text, values):
    """Quotes, comments, export, several lines and references; the environment wins in these."""
    assert variables(text, ".env", {"OUTER": "o"}) == values


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (f'A=1\nB="{SECRET}\nC=2\n', 2, "NAME=value"),
        (f"A=1\n\n\n{SECRET}\n", 4, "NAME=value"),
        (f"A=1\n2B={SECRET}\n", 2, "NAME=value"),
        (f"KEY=-----BEGIN\n{SECRET}/+\n-----END\n", 2, "several lines"),
        (f"A=${{MISSING}}{SECRET}\n", 1, "single quotes"),
        (f"A={SECRET}\0\n", 1, "NUL"),
    ],
)
def test_broken_line_is_named_without_its_text(text, line, says):
    """A line that cannot be read has a place, and its secret stays unseen."""
    with pytest.raises(ConfigError, match=says) as caught:
        variables(text, "p/.env", {})
    assert caught.value.message.startswith(f"p/.env:{line}: ")
    assert SECRET not in caught.value.message


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project whose only source is a folder that `.env` names, entered from below."""
    below = tmp_path / "project" / "notes" / "old"
    below.mkdir(parents=True)
    project = tmp_path / "project"
    (project / "cdpsync.yml").write_text("sources: {inbox: {type: files, path: '${INBOX}'}}")
    (project / ".env").write_text("INBOX=data\n")
    for name, row in (("data", 1), ("other", 2)):
        (project / name).mkdir()
        (project / name / "t.csv").write_text(f"a\n{row}\n")
    monkeypatch.chdir(below)
    monkeypatch.delenv("INBOX", raising=False)
    return project


def value_of(*options):
    """The one value of the lake that a run with these options fills."""
    result = invoke(*options, "run", "-q")
    assert result.exit_code == 0, result.stderr
    result = invoke("query", "-o", "csv", "select a from inbox.t", *options)
    assert result.exit_code == 0, result.stderr
    return result.stdout.split()[1]


def test_env_file_is_read_beside_the_project(folder, tmp_path, monkeypatch):
    """Whatever the current folder is: below the project, or elsewhere with -C or -c."""
    assert value_of() == "1"
    for options in (["-C", str(folder)], ["-c", str(folder / "cdpsync.yml")], ["-c", str(folder)]):
        monkeypatch.delitem(os.environ, "INBOX")
        monkeypatch.chdir(tmp_path)
        assert value_of(*options) == "1"


def test_environment_wins(folder, monkeypatch):
    """A variable of the process is never replaced by a file."""
    monkeypatch.setenv("INBOX", "other")
    assert value_of() == "2"


def test_named_file_takes_the_place_of_the_env_file(folder, monkeypatch):
    """Its path starts from the folder of -C, as every path of the command line does."""
    (folder / "prod.env").write_text("INBOX=other\n")
    (folder / ".env").write_text("broken\n")
    monkeypatch.chdir("/")
    assert value_of("-C", str(folder), "--env-file", "prod.env") == "2"


@pytest.mark.parametrize("command", ["check", "discover", "status", "query", "init"])
def test_missing_named_file_is_refused_by_every_command(folder, command):
    """Before anything is done."""
    argv = {"query": ["select 1"], "discover": ["inbox"], "init": ["new"]}.get(command, [])
    result = invoke(command, *argv, "--env-file", "no/such.env")
    assert result.exit_code == 2
    assert "no/such.env: cannot be read (No such file or directory)" in result.stderr
    assert not (folder / "notes/old/new").exists()


def test_broken_line_stops_a_command(folder):
    """With its place as a user sees it from here."""
    (folder / ".env").write_text(f"INBOX=data\nPASSWORD {SECRET}\n")
    result = invoke("status")
    assert result.exit_code == 2
    assert f"{folder}/.env:2: " in result.stderr
    assert SECRET not in result.stderr


def test_folder_of_the_option_must_exist(tmp_path):
    """-C is told apart from -c."""
    result = invoke("status", "-C", str(tmp_path / "none"))
    assert result.exit_code == 2
    assert f"-C {tmp_path / 'none'}: not a folder" in result.stderr
