"""What sources share that run a program: versions, schemas, private files, configurations, ends."""

from __future__ import annotations

import gzip
import json
import os
import stat
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from cdpsync import redact
from cdpsync.connector import ReadRequest
from cdpsync.errors import ConfigError, ReadError
from cdpsync.model import Cursor, CursorType, Stream
from cdpsync_connectors._bridge.collecting import StreamRecords
from cdpsync_connectors._bridge.configs import ProgramConfig
from cdpsync_connectors._bridge.environments import Wanted, _licence, _script
from cdpsync_connectors._bridge.json_schema import columns_of
from cdpsync_connectors._bridge.options import remember_texts
from cdpsync_connectors._bridge.private import private_folder
from cdpsync_connectors._bridge.process import Program
from cdpsync_connectors._bridge.pythons import is_allowed, pythons
from cdpsync_connectors.singer.catalog import TapStream
from cdpsync_connectors.singer.errors import reason
from cdpsync_connectors.singer.reading import TapRun
from cdpsync_connectors.singer.states import TapState, groups_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("requires", "version", "allowed"),
    [
        (">=3.10", (3, 13, 0), True),
        (">=3.9,<3.12", (3, 12, 1), False),
        (">=3.9,<3.12", (3, 11, 7), True),
        ("<4.0,>=3.10", (3, 13, 0), True),
        ("==3.11.*", (3, 11, 7), True),
        ("!=3.11.*,>=3.8", (3, 11, 7), False),
        ("~=3.10", (3, 13, 0), True),
        ("~=3.10.2", (3, 11, 0), False),
        ("", (3, 11, 0), True),
    ],
)
def test_the_versions_that_a_package_allows(
    requires: str, version: tuple[int, int, int], allowed: bool
) -> None:
    """Also the upper bound, which installers do not look at."""
    assert is_allowed(requires, version) is allowed


def test_pythons_of_this_machine() -> None:
    """This one is among them; one that is not there is named, with those that are."""
    assert sys.version_info[:3] in [python.version for python in pythons(None)]
    with pytest.raises(ConfigError, match=r"no Python 3\.99 on this machine; there is "):
        pythons("3.99")


def test_a_schema_as_columns() -> None:
    """Types that the schema declares; of numbers and mixtures only the rows tell."""
    schema = {
        "properties": {
            "id": {"type": "integer"},
            "at": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": ["null"]}]},
            "either": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string"}]},
            "day": {"type": ["null", "string"], "format": "date"},
            "naive": {"type": "string", "airbyte_type": "timestamp_without_timezone"},
            "number": {"type": ["number", "integer"]},
            "mixed": {"type": ["string", "integer"]},
            "inner": {"type": "object"},
            "open": {},
        }
    }
    columns, declared = columns_of(schema, ["id"])
    assert declared == {
        "id": "BIGINT",
        "at": "TIMESTAMP WITH TIME ZONE",
        "either": "TIMESTAMP WITH TIME ZONE",
        "day": "DATE",
        "naive": "TIMESTAMP",
        "inner": "JSON",
    }
    types = {column.name: (column.type, column.nullable) for column in columns}
    assert types["id"] == ("BIGINT", False)
    assert types["number"] == ("DECIMAL(38,?)", True)
    assert types["mixed"] == ("JSON", True)


def test_a_private_folder_and_those_of_the_dead(tmp_path: Path) -> None:
    """Only its owner enters; it is gone at the end; a killed process's goes with the next."""
    dead = tmp_path / "work/work-dead"
    dead.mkdir(parents=True)
    (dead / "config.json").write_text("secret")
    with private_folder(tmp_path / "work") as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert not dead.exists()
        with private_folder(tmp_path / "work"):
            assert folder.exists()
    assert not folder.exists()
    with pytest.raises(LookupError), private_folder(tmp_path / "work") as folder:
        raise LookupError
    assert not folder.exists()


def test_what_a_program_changes_in_its_configuration(tmp_path: Path) -> None:
    """Is kept until the project file has other values; half a file is nothing."""
    kept = tmp_path / "kept.json"
    config = ProgramConfig({"token": "one-Token", "url": "x"}, kept)
    file = tmp_path / "config.json"
    written = config.write(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not config.keep_changes(file, written)
    file.write_text('{"token": "two')
    assert not config.keep_changes(file, written)
    file.write_text(json.dumps({"token": "two-Token", "url": "x"}))
    assert config.keep_changes(file, written)
    assert config.current() == {"token": "two-Token", "url": "x"}
    assert "two-Token" not in redact.redact("a two-Token b")
    assert ProgramConfig({"token": "three-3", "url": "x"}, kept).current()["token"] == "three-3"


def test_which_texts_are_secrets() -> None:
    """Not days, plain words and addresses without a login; all else is."""
    plain = ["2024-01-01", "2024-01-01T00:00:00Z", "issues", "octo/hello", "https://x.example/v1"]
    hidden = ["Abcdef", "s3cret", "https://user:pass1@x", "GHP_x-1"]
    remember_texts({"a": plain, "b": [{"c": hidden}], "d": 1})
    assert [redact.redact(f"- {text} -") for text in plain] == [f"- {text} -" for text in plain]
    assert not [text for text in hidden if text in redact.redact(f"- {text} -")]


def program(folder: Path, code: str, **options: Any) -> Program:
    return Program([sys.executable, "-c", code], folder, options.pop("silence", 20.0), **options)


def test_a_program_sees_no_variables_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor can it write into our folder of temporary files."""
    monkeypatch.setenv("OTHER_SOURCE_PASSWORD", "x")
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    with program(tmp_path, code) as running:
        text = b"".join(line for lines in running.lines() for line in lines)
        assert running.wait().is_clean
    seen = json.loads(text)
    assert "OTHER_SOURCE_PASSWORD" not in seen
    assert (seen["TMPDIR"], seen["DO_NOT_TRACK"]) == (str(tmp_path), "1")


def test_lines_that_are_cut_and_programs_that_are_stopped(tmp_path: Path) -> None:
    """A line without an end is none; what a program has started ends with it."""
    with program(tmp_path, "print('a'); print('b', end='')") as running:
        assert [line for lines in running.lines() for line in lines] == [b"a"]
        ended = running.wait()
    assert (ended.code, ended.is_cut, ended.is_clean) == (0, True, False)
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, sys, time\nchild = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(pid_file)!r}, 'w').write(str(child.pid))\n"
        "print('on', flush=True); time.sleep(60)"
    )
    seen: list[bytes] = []
    with program(tmp_path, code, is_stopped=lambda: bool(seen)) as running:
        blocks = running.lines()
        seen += next(blocks)
        with pytest.raises(ReadError, match="stopped"):
            next(blocks)
    for _ in range(100):
        try:
            state = (f"/proc/{pid_file.read_text()}/stat",)
            with open(*state) as file:  # noqa: PTH123
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    break
        except FileNotFoundError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("the program's own process lives on")


def test_the_last_error_in_stderr() -> None:
    """Of tracebacks, log lines and codes: the error that ended the program, on one line."""
    assert reason(["Traceback:", "  File x", "a.b.HTTPError: 401 Client Error"]) == (
        "HTTPError: 401 Client Error"
    )
    assert reason(["INFO ok", "CRITICAL Config is missing required keys: ['a']"]) == (
        "Config is missing required keys: ['a']"
    )
    assert reason(["2024-01-01 10:00:00,123 | ERROR    | tap-x | it broke"]).endswith("it broke")
    assert reason([]) == ""


def request(name: str, state: str | None = None, **more: Any) -> ReadRequest:
    saved = None if state is None else Cursor(CursorType.STATE, state)
    return ReadRequest(Stream(name, name, ()), (), follows_state=True, saved_cursor=saved, **more)


def test_states_are_cut_by_table_and_put_together() -> None:
    """Digits stay; tables of one run go together, others and those without a state apart."""
    raw = b'{"bookmarks": {"a": {"v": 1.10}, "b": {}, "c": {"v": 2}}, "currently_syncing": null}'
    state = TapState.parse(raw)
    a, c = state.cursor_of("a"), state.cursor_of("c")
    assert a is not None
    assert c is not None
    assert '"state":{"bookmarks":{"a":{"v":1.10}}}' in str(a.value)
    assert state.cursor_of("b") is None
    assert not state.unfinished_stream
    other = TapState.parse(b'{"bookmarks": {"d": {"v": 3}}}').cursor_of("d")
    assert other is not None
    requests = [
        request("a", str(a.value)),
        request("c", str(c.value)),
        request("d", str(other.value)),
        request("new"),
        request("mine", '{"bookmarks":{"mine":{"v":9}}}'),
    ]
    groups = {tuple(r.stream.name for r in g.requests): g.state for g in groups_of(requests)}
    assert groups[("a", "c")] == b'{"bookmarks":{"a":{"v":1.10},"c":{"v":2}}}'
    assert groups[("new",)] is None
    assert set(groups) == {("a", "c"), ("d",), ("new",), ("mine",)}
    with pytest.raises(ReadError, match="its state is none of a tap"):
        groups_of([request("a", "[1]")])


def test_records_in_batches(tmp_path: Path) -> None:
    """A tap may write files in place of lines; they are read and removed."""
    file = tmp_path / "batch 1.json.gz"
    with gzip.open(file, "wb") as lines:
        lines.write(b'{"id": 1, "n": 0.10}\n{"id": 2, "n": 1}\n')
    entry = {"tap_stream_id": "a", "stream": "a", "key_properties": ["id"]}
    records = StreamRecords(request("a", folder=tmp_path), tmp_path, {})
    run = TapRun("tap", {"a": records}, {"a": TapStream(entry)})
    batch = {"format": "jsonl", "compression": "gzip"}
    message = {"type": "BATCH", "stream": "a", "encoding": batch, "manifest": [file.as_uri()]}
    run._take(msgspec.json.encode(message))
    assert records.count == 2
    assert not file.exists()
    run_message = {**message, "encoding": {"format": "parquet"}}
    with pytest.raises(ReadError, match="cannot be read"):
        run._take(msgspec.json.encode(run_message))
    records.close()


def test_the_command_and_licence_of_a_package(tmp_path: Path) -> None:
    """The command of its own name, else a tap; a licence by its file, where nothing else says."""
    from email.message import Message

    (tmp_path / "entry_points.txt").write_text(
        "[console_scripts]\nother = x:y\ntap-github = t:m\n\n[group]\nz = a:b\n"
    )
    assert _script(tmp_path, "tap-github") == "tap-github"
    assert _script(tmp_path, "meltanolabs-tap-github") == "tap-github"
    (tmp_path / "licenses").mkdir()
    (tmp_path / "licenses/LICENSE").write_text("GNU AFFERO GENERAL PUBLIC LICENSE Version 3")
    assert _licence(Message(), tmp_path) == "AGPL-3.0"
    assert Wanted("tap-x[extra]==1.0", ("six",), "3.12").line == (
        "# of: tap-x[extra]==1.0, with six, Python 3.12"
    )
    assert Wanted("tap-x[extra]==1.0").name == "tap-x"
    assert os.sep not in Wanted("tap-x").name
