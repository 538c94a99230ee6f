"""Taps that behave, and taps that do not: what is committed of each, and what is said."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.tapped import FULL_TABLE, INCREMENTAL, Tapped, orders

from cdpsync import project, redact, verify
from cdpsync.errors import ConfigError
from cdpsync.model import TableStatus
from cdpsync.testing import conforms
from cdpsync_connectors.singer import SingerConnector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def tapped(tmp_path: Path) -> Tapped:
    """A service with orders that change and with lists, and a project that has loaded both."""
    tapped = Tapped(tmp_path)
    tapped.stream("orders", orders(1, 2, 3, 4))
    tapped.stream("lists", orders(1, 2), cursor=None)
    tapped.tables = {"orders": INCREMENTAL, "lists": FULL_TABLE}
    tapped.configure()
    return tapped


def test_a_tap_is_read_and_goes_on_from_its_state(tapped: Tapped) -> None:
    """The boundary comes again and is stored once; a full table has no state."""
    assert {t.status for t in tapped.run().tables} == {TableStatus.OK}
    assert len(tapped.rows("orders")) == 4
    assert tapped.states() == {"orders": {"bookmarks": {"orders": {"value": 4}}}, "lists": None}
    tapped.stream("orders", [*orders(1, 2, 3, 4), *orders(5, name="five")])
    tapped.stream("lists", orders(2, 3), cursor=None)
    result = {t.stream: t for t in tapped.run().tables}
    assert (result["orders"].rows_read, result["orders"].rows_inserted) == (2, 1)
    assert tapped.rows("orders", "id, name")[-1] == (5, "five")
    assert tapped.rows("lists", "id") == [(2,), (3,)]


def test_tables_without_a_state_share_a_process_and_others_have_theirs(tapped: Tapped) -> None:
    """A stream that is read through another one never sees a state that is ahead of its own."""
    tapped.stream("walks", orders(1))
    tapped.tables |= {"walks": INCREMENTAL}
    tapped.configure()
    tapped.run()
    assert len(tapped.starts()) == 1
    tapped.run("svc.orders", "svc.walks")
    assert len(tapped.starts()) == 2
    tapped.stream("orders", orders(1, 2, 3, 4, 5))
    tapped.run("svc.orders")
    tapped.run("svc.orders", "svc.walks")
    assert len(tapped.starts()) == 5
    states = [argv for argv in tapped.starts() if "--state" in argv]
    assert len(states) == 4


def test_every_digit_survives(tapped: Tapped) -> None:
    """Decimals of 26 digits, 0.10 and integers past 64 bits are those that the tap wrote."""
    numbers = ["12345678901234567890.123456", "0.10", "98765432109876543210", "9007199254740993"]
    rows = [
        {"id": 1, "amount": f"#{numbers[0]}", "big": f"#{numbers[2]}", "updated": 1},
        {"id": 2, "amount": f"#{numbers[1]}", "big": f"#{numbers[3]}", "updated": 2},
    ]
    for compact in (True, False):
        tapped.stream("orders", rows)
        tapped.configure(numbers=numbers, compact=compact)
        tapped.run(full_refresh=True)
        found = tapped.rows("orders", "amount, big")
        assert found == [
            (Decimal("0.100000"), 9007199254740993),
            (Decimal(numbers[0]), 98765432109876543210),
        ]


def test_times_are_times_while_each_text_is_one(tapped: Tapped) -> None:
    """A date-time is a moment; a text that is none makes the column text, or JSON later."""
    tapped.stream("orders", orders(1, at="2024-05-01T10:00:00+02:00", tags=["a"]))
    tapped.run()
    types = tapped.types("orders")
    assert (types["at"], types["tags"]) == ("TIMESTAMP WITH TIME ZONE", "JSON")
    assert str(tapped.rows("orders", 'cast("at" as varchar)')[0][0]) == "2024-05-01 08:00:00+00"
    tapped.stream("lists", orders(1, at="soon"), cursor=None)
    tapped.stream("orders", [*orders(1), *orders(2, at="soon")])
    result = tapped.run()
    assert tapped.types("lists")["at"] == "VARCHAR"
    assert tapped.types("orders")["at"] == "JSON"
    assert "it becomes JSON" in " ".join(result.tables[-1].notices)


@pytest.mark.parametrize("behaviour", ["floods", "empty_state_first", "not_resumable", "old"])
def test_behaviour_that_does_no_harm(tapped: Tapped, behaviour: str) -> None:
    """10 MB of stderr; a state that is empty, or of no use, before the end; --properties alone."""
    tapped.configure(behave=behaviour)
    assert {t.status for t in tapped.run().tables} == {TableStatus.OK}
    assert len(tapped.rows("orders")) == 4
    assert tapped.states()["orders"] == {"bookmarks": {"orders": {"value": 4}}}


def test_a_schema_that_changes_in_the_middle(tapped: Tapped) -> None:
    """Columns follow the rows: a field of two kinds is JSON, with a notice."""
    rows = [*orders(1, 2), *[{**row, "name": 7, "new": "x"} for row in orders(3, 4)]]
    tapped.stream("orders", rows)
    tapped.configure(behave="changes_schema")
    result = tapped.one()
    assert result.status is TableStatus.OK
    assert [r[0] for r in tapped.rows("orders", "name::varchar")] == ['"n1"', '"n2"', "7", "7"]
    assert 'column "name" holds numbers and texts' in " ".join(result.notices)


_BROKEN = {
    "dies": ("ReadError", "RuntimeError: the service hung up"),
    "is_killed": ("ReadError", "was killed"),
    "stops_early": ("ReadError", "ended while it was reading"),
    "half_a_line": ("ReadError", "ended in the middle of a line"),
    "leaves_markers": ("ReadError", "in the middle of it, by its state"),
    "reports_failure": ("ReadError", "reports that it failed"),
    "skips": ("ReadError", "not even its schema"),
    "garbage": ("ReadError", "no message of Singer"),
    "limited": ("RateLimitError", "429 Client Error"),
    "unauthorized": ("ConnectError", "Check the credentials"),
    "down": ("ReadError", "503 Server Error"),
    "misconfigured": ("ConfigError", "missing required keys"),
    "rotten": ("ConfigError", "set as_of"),
}


@pytest.mark.parametrize("behaviour", _BROKEN)
def test_a_tap_that_breaks_commits_nothing(tapped: Tapped, behaviour: str) -> None:
    """One line says why; rows and states stay; the next run gives what a clean one would."""
    tapped.run()
    before = [tapped.rows("orders"), tapped.rows("lists"), tapped.states()]
    tapped.stream("orders", orders(1, 2, 3, 4, 5, 6, 7))
    tapped.stream("lists", orders(7, 8, 9, 10), cursor=None)
    tapped.configure(behave=behaviour, password="hunter2-hunter2")
    # The catalog of another configuration is discovered anew, and some taps fail there already.
    starts = len(tapped.starts())
    results = tapped.run().tables
    kind, text = _BROKEN[behaviour]
    assert {t.status for t in results} == {TableStatus.FAILED}
    for result in results:
        assert result.error is not None
        assert (result.error.type, "\n" in result.error.message) == (kind, False)
        assert text in result.error.message
        assert "hunter2" not in result.error.message
    assert len(tapped.starts()) - starts <= 2  # a process for each group; none was tried again
    assert [tapped.rows("orders"), tapped.rows("lists"), tapped.states()] == before
    tapped.configure(behave="")
    tapped.run()
    assert len(tapped.rows("orders")) == 7
    assert tapped.rows("lists", "id") == [(7,), (8,), (9,), (10,)]


def test_a_tap_that_ends_well_on_term_is_read_to_its_end(tapped: Tapped, tmp_path: Path) -> None:
    """TERM and INT do not reach it, whoever sends them, so it cannot end half and look whole."""
    tapped.stream("lists", orders(*range(200)), cursor=None)
    tapped.tables = {"lists": FULL_TABLE}
    pid_file = tmp_path / "pid"
    tapped.configure(behave="ends_well_on_term", pause=0.005, pid_file=str(pid_file))
    sent = threading.Event()

    def disturb() -> None:
        while not pid_file.exists():
            time.sleep(0.005)
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(int(pid_file.read_text()), number)
        sent.set()

    thread = threading.Thread(target=disturb)
    thread.start()
    assert tapped.one("lists").rows_read == 200
    thread.join()
    assert sent.is_set()


def test_a_silent_tap_is_ended(tapped: Tapped) -> None:
    """After `silence`, with one line."""
    tapped.options = {"silence": "500ms"}
    tapped.configure(behave="silent")
    error = tapped.one().error
    assert error is not None
    assert "has written nothing for" in error.message


def test_a_rotated_token_is_kept_for_the_next_run(tapped: Tapped, tmp_path: Path) -> None:
    """Also by a run that fails; another token in the project file takes its place."""
    token_file = tmp_path / "token"
    token_file.write_text("first-token")
    tapped.configure(refresh_token="first-token", token_file=str(token_file))
    for _ in range(2):
        assert tapped.one().status is TableStatus.OK
    kept = tmp_path / ".cdpsync/sources/svc/config.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_text())["changed"] == {"refresh_token": token_file.read_text()}
    assert "first-token+" not in redact.redact(f"x {token_file.read_text()} x")
    token_file.write_text("second-token")
    assert tapped.one().status is TableStatus.FAILED
    tapped.configure(refresh_token="second-token")
    assert tapped.one().status is TableStatus.OK


def test_no_secret_is_left_behind(tapped: Tapped, tmp_path: Path) -> None:
    """Neither in a file, nor in arguments, nor in what is said; -v shows stderr without them."""
    secrets = {f"k{n}": f"s3cr3t-{n}-{os.urandom(6).hex()}" for n in range(20)}
    for behaviour in ("", "dies", "limited"):
        tapped.configure(behave=behaviour, password=secrets["k3"], **secrets)
        done = tapped.cdpsync("run", "-v")
        seen = [done.stdout, done.stderr]
        seen += ["".join(argv) for argv in tapped.starts()]
        for path in (tmp_path / ".cdpsync").rglob("*"):
            if path.is_file():
                seen.append(path.read_bytes().decode(errors="replace"))
        for value in secrets.values():
            assert not [text for text in seen if value in text]
    assert "the service hung up ***" not in done.stderr
    assert not list((tmp_path / ".cdpsync/sources/svc/work").glob("work-*"))


def test_discovery_is_kept_until_a_person_asks(tapped: Tapped) -> None:
    """`run` uses the catalog of the last day; `discover` and `check` ask the tap."""
    tapped.run()
    tapped.stream("more", orders(1))
    tapped.tables = {"*": {}}
    tapped.configure()
    assert {t.stream for t in tapped.run().tables} == {"orders", "lists"}
    assert "more" in tapped.cdpsync("discover", "svc").stdout
    assert {t.stream for t in tapped.run().tables} == {"orders", "lists", "more"}


def test_discover_says_what_the_catalog_says(tapped: Tapped) -> None:
    """Keys, types and what can be incremental."""
    proposal = tapped.cdpsync("discover", "svc", "--yaml").stdout
    assert (
        "orders: {mode: incremental}  # key id; the source reports how far it was read" in proposal
    )
    assert "lists: {mode: full_table}" in proposal
    streams = {stream.name: stream for stream in project.discover(project.load(tapped.file), "svc")}
    types = {column.name: column.type for column in streams["orders"].columns}
    assert types["amount"] == "DECIMAL(38,?)"
    assert types["at"] == "TIMESTAMP WITH TIME ZONE"


def test_verify_and_samples(tapped: Tapped) -> None:
    """A table is compared with a read without its state; a sample ends the tap early."""
    tapped.run()
    assert {result.status for result in verify.verify(tapped.file)} == {"equal"}
    tapped.stream("orders", orders(*range(1, 6)))
    (found,) = [r for r in verify.verify(tapped.file) if r.stream == "orders"]
    assert found.compared is not None
    assert found.compared.wrong == 1
    sampled = tapped.run("svc.orders", limit=2).tables[0]
    assert (sampled.status, sampled.rows_read) == (TableStatus.OK, 2)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda o: o.pop("command"), "give package"),
        (lambda o: o.update(package="tap-x"), "give package"),
        (lambda o: o.update(python="3.12"), "python is for a package"),
        (lambda o: o.update({"with": ["git+https://x"]}), "not a package of PyPI"),
        (lambda o: o.update(command="./nowhere"), "no such program"),
    ],
)
def test_options_that_are_wrong(
    tapped: Tapped, change: Callable[[dict[str, Any]], object], text: str
) -> None:
    """Are refused in a line."""
    document = yaml.safe_load(tapped.file.read_text())
    change(document["sources"]["svc"])
    tapped.file.write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigError, match=text):
        project.discover(project.load(tapped.file), "svc")


def test_what_is_no_tap(tapped: Tapped) -> None:
    """Whose --discover writes no catalog."""
    tapped.configure(behave="no_catalog")
    (result,) = {r.error for r in project.check(project.load(tapped.file), ("svc",)) if r.error}
    assert "is no catalog" in result.message


def test_the_connector_conforms(tapped: Tapped) -> None:
    """To every promise of the contract."""
    tapped.configure()
    options = yaml.safe_load(tapped.file.read_text())["sources"]["svc"]
    options = {key: options[key] for key in ("command", "config")}
    conforms(SingerConnector, options, broken=[{"command": "/nowhere/tap"}])


def test_a_command_is_not_installed(tapped: Tapped) -> None:
    """`install` has nothing to do, and says so; for a source that is named it is an error."""
    done = tapped.cdpsync("install")
    assert (done.returncode, "nothing to install" in done.stderr) == (0, True)
    done = tapped.cdpsync("install", "svc")
    assert (done.returncode, 'source "svc" has nothing to install' in done.stderr) == (2, True)


def test_a_person_sets_a_state_as_the_tap_knows_it(tapped: Tapped) -> None:
    """Without the run that it is of."""
    tapped.run()
    state = '{"bookmarks": {"orders": {"value": 3}}}'
    assert tapped.cdpsync("state", "set", "svc.orders", state).returncode == 0
    assert tapped.one().rows_read == 2
    assert tapped.states()["orders"] == {"bookmarks": {"orders": {"value": 4}}}


def test_a_missing_variable_is_told_by_install(tapped: Tapped) -> None:
    """Not that there is nothing to install."""
    tapped.file.write_text(
        "sources:\n  svc: {type: singer, package: tap-github==4.0.0, "
        "config: {access_token: '${NOT_SET_ANYWHERE}'}}\n"
    )
    for names in ((), ("svc",)):
        done = tapped.cdpsync("install", *names)
        assert done.returncode == 1
        assert "the environment variable NOT_SET_ANYWHERE is not set" in done.stderr
