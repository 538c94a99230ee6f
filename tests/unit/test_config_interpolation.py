"""`${…}` in the values of a project file."""

from pathlib import Path

import pytest
from config_cases import source
from hypothesis import given
from hypothesis import strategies as st

from cdpsync.config.interpolate import interpolate
from cdpsync.errors import ConfigError

HERE = Path()
TRICKY = st.text(alphabet="a$\\{}:-V\n é'\"") | st.text()


def filled(text: str, **environ: str) -> str:
    """Fill a text in, expecting nothing wrong."""
    value, wrong = interpolate(text, environ, HERE)
    assert wrong == []
    return value


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
    value, wrong = interpolate(text, {"V": "x"}, HERE)
    assert isinstance(value, str)
    assert all(wrong)


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
    _, wrong = interpolate(text, {"V": "x"}, HERE)
    assert "not well formed" in wrong[0]


def test_file_content_is_relative_and_loses_its_newlines(tmp_path):
    """`${file:}` takes a path relative to the project file, and no newline of an editor."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "pw").write_bytes(b"two\r\nlines$${V}\r\n\n")
    value, wrong = interpolate("<${file:run/pw}>", {"V": "x"}, tmp_path)
    assert (value, wrong) == ("<two\r\nlines$${V}>", [])
    assert source(tmp_path, "user: ${file:run/pw}").options.user == "two\r\nlines$${V}"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("absent", None, "cannot be read"),
        (".", None, "cannot be read"),
        ("a\0b", None, "not a path"),
        ("binary", b"\xff\xfe", "not UTF-8"),
        ("large", b"x" * (1 << 20) + b"x", "larger than 1 MiB"),
    ],
)
def test_files_that_cannot_be_taken_are_refused(tmp_path, name, content, why):
    """A `${file:}` that is absent, unreadable, binary or endless is an error with its path."""
    if content:
        (tmp_path / name).write_bytes(content)
    _, wrong = interpolate(f"${{file:{name}}}", {}, tmp_path)
    assert why in wrong[0]


def test_keys_are_left_alone(tmp_path):
    """Only values are filled in."""
    found = source(tmp_path, "tables: {'${V}': {}}", {"V": "x"})
    assert found.tables[0].pattern == "${V}"


def test_text_with_references_is_checked_like_any_other(tmp_path):
    """A filled-in value that does not fit is refused, and not shown."""
    with pytest.raises(ConfigError, match='"port" must be a whole number') as caught:
        source(tmp_path, "port: ${PORT}", {"PORT": "fivethousand"})
    assert "fivethousand" not in str(caught.value)
