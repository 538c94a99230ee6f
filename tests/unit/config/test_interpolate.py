"""`${…}` in the values of a project file."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.config_cases import source

from cdpsync.config.interpolate import interpolate
from cdpsync.errors import ConfigError

HERE = Path()
TRICKY = st.text(alphabet="a$\\{}:-V\n é'\"") | st.text()


def filled(text: str, **environ: str) -> str:
    """Fill a text in, expecting nothing wrong."""
    result = interpolate(text, environ, HERE)
    assert result.wrong == ()
    return result.text


@given(TRICKY)
def test_escaped_text_comes_back(text):
    """Whatever a value is, doubling its dollars writes it down."""
    assert filled(text.replace("$", "$$")) == text


@given(TRICKY, TRICKY, TRICKY)
def test_values_are_never_filled_in_twice(before, value, after):
    """What stands in the environment is taken as it is, references and dollars too."""
    plain_before, plain_after = before.replace("$", "$$"), after.replace("$", "$$")
    text = f"{plain_before}${{VALUE}}{plain_after}"
    assert filled(text, VALUE=value, V="never", a="never") == before + value + after


@given(TRICKY)
def test_no_text_breaks_it(text):
    """Every text is either filled in or refused in words."""
    result = interpolate(text, {"V": "x"}, HERE)
    assert isinstance(result.text, str)
    assert all(result.wrong)


@pytest.mark.parametrize(
    ("text", "environ", "meant"),
    [
        ("${V}", {"V": "x"}, "x"),
        ("${V}", {"V": ""}, ""),
        ("a${V}b${W}", {"V": "1", "W": "2"}, "a1b2"),
        ("${V:-d}", {}, "d"),
        ("${V:-d}", {"V": ""}, "d"),
        ("${V:-d}", {"V": "x"}, "x"),
        ("${V:-}", {}, ""),
        ("${V:-a:-b c}", {}, "a:-b c"),
        ("${V:-$$5}", {}, "$5"),
        ("$${V}", {"V": "x"}, "${V}"),
        ("$$$${V}", {"V": "x"}, "$${V}"),
        ("$$${V}", {"V": "x"}, "$x"),
        ("pa$word costs $5 or $", {}, "pa$word costs $5 or $"),
    ],
)
def test_forms(text, environ, meant):
    """The forms of the contract, as in a shell; a dollar that begins nothing stays."""
    assert filled(text, **environ) == meant


@pytest.mark.parametrize(
    "text", ["${", "${V", "${}", "${1V}", "${V-d}", "${V:?d}", "${ V }", "${A:-${V}}"]
)
def test_malformed_references_are_refused(text):
    """A reference that means nothing is an error, never text."""
    assert "not well formed" in interpolate(text, {"V": "x"}, HERE).wrong[0]


def test_file_content_is_relative_and_loses_its_newlines(tmp_path):
    """`${file:}` takes a path relative to the project file, and no newline of an editor."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "pw").write_bytes(b"two\r\nlines$${V}\r\n\n")
    result = interpolate("<${file:run/pw}>", {"V": "x"}, tmp_path)
    assert (result.text, result.wrong) == ("<two\r\nlines$${V}>", ())
    assert source(tmp_path, "user: ${file:run/pw}").options.user == "two\r\nlines$${V}"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("absent", None, "cannot be read"),
        (".", None, "cannot be read"),
        ("a\0b", None, "not a path"),
        ("binary", b"\xff\xfe", "not UTF-8"),
        ("large", b"x" * (1 << 20) + b"x", "larger than 1 MiB"),
    ],
)
def test_files_that_cannot_be_taken_are_refused(tmp_path, name, content, reason):
    """A `${file:}` that is absent, unreadable, binary or endless is an error with its path."""
    if content:
        (tmp_path / name).write_bytes(content)
    assert reason in interpolate(f"${{file:{name}}}", {}, tmp_path).wrong[0]


def refusal(path: Path, folder: Path, environ: Mapping[str, str] | None = None) -> str:
    """Return what is said of a `${file:}`, nothing where it is read."""
    return " ".join(interpolate(f"${{file:{path}}}", environ or {}, folder).wrong)


def test_files_are_read_from_where_secrets_are_kept(tmp_path, monkeypatch):
    """The project's folder, home, the temporary one, systemd's, what CDPSYNC_FILE_ROOTS names."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "temporary/key").write_text("k" * 30)
    assert refusal(tmp_path / "temporary/key", tmp_path / "project") == ""
    folders = [tmp_path / name for name in ("project/sub", "home/keys", "credentials", "more")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "key").write_text("k" * 30)
    project, home, credentials, extra = folders
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert refusal(project / "key", tmp_path / "project") == ""
    assert refusal(home / "key", tmp_path / "project") == ""
    for folder, name in ((credentials, "CREDENTIALS_DIRECTORY"), (extra, "CDPSYNC_FILE_ROOTS")):
        assert "may not read" in refusal(folder / "key", tmp_path / "project")
        assert refusal(folder / "key", tmp_path / "project", {name: str(folder)}) == ""
    both = {"CDPSYNC_FILE_ROOTS": f"relative::{credentials}:{extra}"}
    assert [refusal(folder / "key", tmp_path / "project", both) for folder in folders[2:]] == [
        "",
        "",
    ]


def test_files_elsewhere_are_refused_however_they_are_named(tmp_path, monkeypatch):
    """Neither a full path, nor `..`, nor a symbolic link, nor a home of `/` leads outside."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "outside").write_text("private")
    (tmp_path / "project-too").mkdir()
    (tmp_path / "project-too/key").write_text("private")
    (project / "link").symlink_to(tmp_path / "outside")
    (project / "folder").symlink_to(tmp_path)
    monkeypatch.setenv("HOME", "/")
    for name in ("/etc/passwd", "/proc/self/environ", "../outside", "link", "folder/outside",
                 "../project-too/key"):  # fmt: skip
        message = refusal(Path(name), project)
        assert "may not read" in message, name
        assert "CDPSYNC_FILE_ROOTS" in message
        assert "private" not in message


def test_links_that_stay_inside_are_followed(tmp_path):
    """A mounted secret is a link to a link beside it."""
    (tmp_path / "..2024").mkdir()
    (tmp_path / "..2024/pw").write_text("hunter22")
    (tmp_path / "..data").symlink_to("..2024")
    (tmp_path / "pw").symlink_to("..data/pw")
    assert interpolate("${file:pw}", {}, tmp_path).text == "hunter22"


def test_pipes_and_devices_are_refused_at_once(tmp_path):
    """What never ends, or waits for a writer, is no secret."""
    os.mkfifo(tmp_path / "pipe")
    assert "is not an ordinary file" in refusal(tmp_path / "pipe", tmp_path)
    assert "is not an ordinary file" in refusal(
        Path("/dev/zero"), tmp_path, {"CDPSYNC_FILE_ROOTS": "/dev"}
    )


def test_keys_are_left_alone(tmp_path):
    """Only values are filled in."""
    loaded_source = source(tmp_path, "tables: {'${V}': {}}", {"V": "x"})
    assert loaded_source.tables[0].pattern == "${V}"


def test_text_with_references_is_checked_like_any_other(tmp_path):
    """A filled-in value that does not fit is refused, and not shown."""
    with pytest.raises(ConfigError, match='"port" must be a whole number') as caught:
        source(tmp_path, "port: ${PORT}", {"PORT": "fivethousand"})
    assert "fivethousand" not in str(caught.value)
