"""What a user reads when the project file is wrong: kept word for word in a golden file."""

import json
import os
import re
from pathlib import Path

import pytest
from support.config_cases import load, opened, options_for, source

from cdpsync.config import load_config
from cdpsync.errors import ConfigError

GOLDEN = Path(__file__).parents[2] / "golden" / "config_errors.txt"


# One key more on each line: libraries that count for themselves stop at lines of their own.
STAIRS = b"".join(b" " * level + b"a:\n" for level in range(1200))


def message_of(text: str) -> str:
    """Return the error of a project file, which lies in the current folder."""
    Path("cdpsync.yml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        opened(load_config(options_for=options_for, environ={}))
    assert caught.value.exit_code == 2
    return caught.value.message.replace(str(Path.cwd()), "/project")


def test_errors_read_as_in_the_golden_file(tmp_path, monkeypatch):
    """Each mistake is told by file, line, what is wrong and the next step.

    The golden file holds mistakes and messages side by side; `UPDATE_GOLDEN=1` writes it anew.
    """
    monkeypatch.chdir(tmp_path)
    cases = re.findall(r"^=== (.+)\n((?:(?!>>> |=== ).*\n)*)", GOLDEN.read_text(), re.MULTILINE)
    blocks = []
    for title, text in cases:
        lines = "".join(f">>> {line}\n" for line in message_of(text).splitlines())
        blocks.append(f"=== {title}\n{text}{lines}")
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text("".join(blocks))
    assert "".join(blocks) == GOLDEN.read_text()


def test_every_problem_is_told_at_once(tmp_path):
    """One run of the command shows all there is to mend, over all files, in their order."""
    (tmp_path / "b.yml").write_text("sources: {s: {type: shop, host: db, prot: 5}}\nx: 1\n")
    (tmp_path / "a.yml").write_text("warehouse:\n\tpath: x\n")
    (tmp_path / "c.yml").write_text("sources:\n  t: {type: shop, host: '${NOWHERE}'}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, options_for=options_for, environ={})
    places = [line.split(": ")[0] for line in caught.value.message.splitlines()]
    assert places == [f"{tmp_path}/{end}" for end in ("a.yml:2", "b.yml:1", "b.yml:2", "c.yml:2")]


def test_broken_reference_is_the_only_problem_told_of_its_value(tmp_path):
    """A missing variable is not also called an empty text or a bad number."""
    (tmp_path / "a.yml").write_text(
        "warehouse: {path: '${A}', storage: {endpoint: '${B}'}}\n"
        "sources: {s: {type: '${C}', every: '${D}'}, t: {type: shop, url: '${E}', port: '${F}',\n"
        "  defaults: {mode: '${G}'}, tables: {x: {cursor_field: '${H}'}}}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, options_for=options_for, environ={})
    lines = caught.value.message.splitlines()
    assert [re.search(r"variable (\w) is not set", line)[1] for line in lines] == list("ABCDEFGH")


def test_wrong_key_does_not_blame_others(tmp_path):
    """A table is not said to lack a cursor which a mistaken glob or defaults may have meant."""
    for body in (
        "defaults: {mode: append, curser: id}\ntables: {t: {}}",
        "tables: {'*': {curser: id}, t: {mode: append}}",
        "defaults: {mode: append}\ntables: {t: {curser: id}}",
    ):
        with pytest.raises(ConfigError) as caught:
            source(tmp_path, body)
        assert 'unknown key "curser"' in caught.value.message
        assert len(caught.value.message.splitlines()) == 1


def test_second_description_names_both_places(tmp_path):
    """A source or a warehouse that two files describe is an error with both lines."""
    for name in ("a.yml", "b.yml"):
        (tmp_path / name).write_text("warehouse: {path: x}\nsources: {s: {type: shop, host: db}}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, options_for=options_for, environ={})
    a, b = tmp_path / "a.yml", tmp_path / "b.yml"
    assert caught.value.message.splitlines() == [
        f"{b}:1: warehouse is already described at {a}:1. Keep one of them.",
        f'{b}:2: source "s" is already described at {a}:2. Keep one of them.',
    ]


def test_missing_project_says_how_to_begin(tmp_path, monkeypatch):
    """Without a project file, the next step is `cdpsync init` or -c."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_config(options_for=options_for)
    assert caught.value.message == (
        f"no cdpsync.yml in {Path.cwd()} or above it; run `cdpsync init`, or name one with -c or -C"
    )
    with pytest.raises(ConfigError, match=r"lake\.yml: no such file or folder; correct -c"):
        load_config("lake.yml", options_for=options_for)
    with pytest.raises(ConfigError, match=r"no \*\.yml in this folder"):
        load_config(tmp_path, options_for=options_for)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\nb: \xff\n", ":2: not UTF-8 text. Save the file as UTF-8."),
        ("a: 1".encode("utf-16"), ":1: not UTF-8 text. Save the file as UTF-8."),
        (b"a: 1\nb: \x01\n", ":2: a control character. Write it as \\x… in double quotes."),
        (b"[" * 60, ":1: more than 50 levels deep. Nest it less."),
        (b"[" * 200_000, ":1: more than 50 levels deep. Nest it less."),
        (b"a: 1\nb: " + b"{c: " * 1500, ":2: more than 50 levels deep. Nest it less."),
        (b"- " * 1500 + b"a\n", ":1: more than 50 levels deep. Nest it less."),
        (STAIRS, ":51: more than 50 levels deep. Nest it less."),
    ],
)
def test_files_that_are_no_yaml(tmp_path, content, message):
    """Text of another encoding, and text made to break parsers, is one clear line."""
    file = tmp_path / "a.yml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(file, options_for=options_for)
    assert caught.value.message == f"{file}{message}"


def test_unreadable_file_and_folder(tmp_path, monkeypatch):
    """A file or folder that the system does not give is named, with its reason."""
    file = tmp_path / "a.yml"
    file.write_text("sources: {}")

    def refuse(self, *_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ConfigError, match=r"a\.yml: cannot be read \(Permission denied\)"):
        load_config(file, options_for=options_for)
    with pytest.raises(ConfigError, match=r": cannot be read \(Permission denied\); check"):
        load_config(tmp_path, options_for=options_for)


def test_file_that_never_ends_is_given_up():
    """More than 4 MiB is not read, whatever it is."""
    with pytest.raises(ConfigError, match=r"/dev/zero: larger than 4 MiB"):
        load_config("/dev/zero", options_for=options_for)


@pytest.mark.parametrize("piece", ["a", "password", "pw:", ":", "a://", "${", "$$", "secret = "])
def test_huge_values_are_looked_through_at_once(tmp_path, piece):
    """Looking for secrets in a megabyte takes no longer than a megabyte should (else: timeout)."""
    value = json.dumps(piece * (900_000 // len(piece)))
    with pytest.raises(ConfigError):
        load(tmp_path, f"sources: {{a: {{type: shop, host: {value}, passwrod: {value}}}}}")


def bomb(levels: int) -> str:
    """Write lists of ten times the list before."""
    lines = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(["l0: &l0 [x]", *lines])


def chain(levels: int) -> str:
    """Write lists each inside the next."""
    return "\n".join(["l0: &l0 [x]", *(f"l{n}: &l{n} [*l{n - 1}]" for n in range(1, levels))])


@pytest.mark.parametrize("text", [bomb(9), bomb(30), chain(60), chain(5000)])
def test_alias_bombs_are_refused(tmp_path, text):
    """A few lines that stand for billions of values are refused before they are spread out."""
    file = tmp_path / "a.yml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, options_for=options_for)
    assert re.fullmatch(r".*:\d+: aliases repeat too much\. .*", caught.value.message)


def test_message_stays_on_its_line(tmp_path):
    """Line breaks and terminal codes of a key do not reach the terminal."""
    file = tmp_path / "a.yml"
    file.write_text('"a\\nb\\e[31m": 1\n"' + "x" * 500 + '": 1\n')
    with pytest.raises(ConfigError) as caught:
        load_config(file, options_for=options_for)
    lines = caught.value.message.splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() and len(line) < 400 for line in lines)
