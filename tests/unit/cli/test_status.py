"""`status`, `state`, `reset`, `delete`, `check` and `discover`."""

import csv
import io
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from support.cli_fakes import (
    CHECKS,
    CURSORS,
    EVENTS_STREAM,
    HISTORY,
    ORDERS_STREAM,
    PLANS_STREAM,
    REFUSED,
    STATES,
    Fake,
    assert_golden,
    invoke,
)

from cdpsync.cli.commands.discover_yaml import proposal
from cdpsync.model import ChangeLog, Column, Stream, TableName
from cdpsync.serialize.results import (
    CHECK_KEYS,
    COLUMN_KEYS,
    CURSOR_KEYS,
    HISTORY_KEYS,
    PLAN_KEYS,
    RESULT_KEYS,
    STATUS_KEYS,
    of_stream,
)


@pytest.fixture
def fake(monkeypatch):
    return Fake(monkeypatch)


def columns_of(text):
    return list(csv.reader(io.StringIO(text)))


def test_status_json_has_the_keys_of_the_contract(fake):
    """Scripts depend on these names and this order."""
    fake.answers("project.status", STATES)
    result = invoke("status", "-o", "json")
    assert_golden("cli_status.json", result.stdout)
    assert all(tuple(table) == STATUS_KEYS for table in json.loads(result.stdout))


def test_status_tells_ages_and_what_is_due(fake):
    fake.answers("project.status", STATES)
    result = invoke("status", "shop.*")
    assert_golden("cli_status.txt", result.stdout)
    assert result.exit_code == 0
    assert fake.calls[-1] == ("project.status", ("shop.*",), {})


def test_status_csv_spreads_the_error(fake):
    fake.answers("project.status", STATES)
    header, *rows = columns_of(invoke("status", "-o", "csv").stdout)
    expected = [*STATUS_KEYS[:-3], "error_type", "error_message", "notices", "missing_since"]
    assert header == expected
    assert [row[4] for row in rows] == ["true", "true", "false"]
    assert rows[1][-4:-2] == [REFUSED.type, REFUSED.message]


def test_status_of_nothing_says_what_to_do(fake):
    fake.answers("project.status", ())
    result = invoke("status")
    assert (result.stdout, result.stderr.count("cdpsync run")) == ("", 1)
    assert invoke("status", "-o", "json").stdout == "[]\n"
    assert columns_of(invoke("status", "-o", "csv").stdout)[0][0] == "source"


def test_history_json_has_the_keys_of_the_contract(fake):
    fake.answers("project.history", HISTORY)
    result = invoke("status", "--history", "-n", "5", "-o", "json")
    assert_golden("cli_history.json", result.stdout)
    assert all(tuple(table) == HISTORY_KEYS for table in json.loads(result.stdout))
    assert fake.calls[-1] == ("project.history", (), 5, {})


def test_history_table_is_newest_first(fake, monkeypatch):
    fake.answers("project.history", HISTORY)
    lines = invoke("status", "--history").stdout.splitlines()
    assert lines[0].split() == [
        *("started", "run", "kind", "table", "status"),
        *("read", "inserted", "updated", "deleted", "time"),
    ]
    assert ["shop.orders" in lines[2], "shop.plans" in lines[3]] == [True, True]
    assert lines[4] == f"{HISTORY[1].run_id} shop.plans: {REFUSED.message}"


def test_n_is_for_the_history(fake):
    assert invoke("status", "-n", "5").exit_code == 2


# ---- state


def test_state_show_json_is_the_state_file(fake):
    fake.answers("project.edit.cursors", CURSORS)
    assert_golden("cli_state.json", invoke("state", "show", "-o", "json").stdout)


def test_state_show_csv_and_table(fake):
    fake.answers("project.edit.cursors", CURSORS)
    assert columns_of(invoke("state", "show", "-o", "csv").stdout)[0] == list(CURSOR_KEYS)
    assert_golden("cli_state.txt", invoke("state", "show").stdout)


def test_global_options_stand_before_state_and_its_commands(fake):
    fake.answers("project.edit.cursors", CURSORS)
    shown = invoke("state", "show", "-o", "json").stdout
    assert invoke("-o", "json", "state", "show").stdout == shown
    assert invoke("state", "-o", "json", "show").stdout == shown


def test_state_get_writes_the_value_alone(fake):
    fake.answers("project.edit.cursors", CURSORS[:1])
    assert invoke("state", "get", "shop.orders").stdout == "2024-02-01T11:56:00.123456+00:00\n"


def test_state_get_wants_one_table(fake):
    fake.answers("project.edit.cursors", CURSORS)
    result = invoke("state", "get", "shop.*")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "names 3 tables: shop.orders, shop.rates, shop.events" in result.stderr


def test_state_set_takes_a_negative_number_too(fake):
    fake.answers("project.edit.set_cursor", CURSORS[0])
    result = invoke("state", "set", "shop.orders", "-5")
    assert fake.calls[-1] == ("project.edit.set_cursor", "shop.orders", "-5", {})
    assert "shop.orders: the next run reads from there" in result.stderr


TOUCHED = (TableName("shop", "orders"), TableName("shop", "rates"))


@pytest.mark.parametrize("argv", [("reset",), ("state", "reset"), ("delete",)])
def test_what_undoes_wants_a_yes(fake, argv):
    """Without a terminal only -y is a yes; nothing is touched before."""
    name = argv[-1]
    fake.answers(f"project.edit.{name}_preview", TOUCHED)
    fake.answers(f"project.edit.{name}", AssertionError("touched without a yes"))
    result = invoke(*argv, "shop.*", typed="y\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith("Add -y.\n")
    fake.answers(f"project.edit.{name}", CURSORS[:2] if name == "reset" else TOUCHED)
    assert invoke(*argv, "shop.*", "-y").exit_code == 0
    assert fake.calls[-1] == (f"project.edit.{name}", ("shop.*",), {})


@pytest.mark.parametrize(("typed", "done"), [("y\n", True), ("\n", False), ("", False)])
def test_what_undoes_asks_on_a_terminal(fake, monkeypatch, typed, done):
    monkeypatch.setattr("cdpsync.cli.commands.state._can_ask", lambda: True)
    fake.answers("project.edit.delete_preview", TOUCHED)
    fake.answers("project.edit.delete", TOUCHED)
    result = invoke("delete", "shop.*", "-q", typed=typed)
    assert "  shop.orders\n  shop.rates\nGo on? [y/N]" in result.stderr
    assert result.exit_code == (0 if done else 1)
    assert ("project.edit.delete", ("shop.*",), {}) in fake.calls or not done


# ---- check and discover


def test_check_json_and_code(fake):
    fake.answers("project.check", CHECKS)
    result = invoke("check", "shop", "-o", "json")
    assert_golden("cli_check.json", result.stdout)
    assert all(tuple(check) == CHECK_KEYS for check in json.loads(result.stdout))
    assert result.exit_code == 3
    assert result.stderr == f"error: shop: {REFUSED.message}\n"


@pytest.mark.parametrize(("results", "code"), [(CHECKS[:1], 0), (CHECKS[1:], 1), (CHECKS, 3)])
def test_check_ends_with_the_share_that_failed(fake, results, code):
    fake.answers("project.check", results)
    assert invoke("check").exit_code == code


STREAMS = (ORDERS_STREAM, EVENTS_STREAM, PLANS_STREAM)


def test_discover_in_its_forms(fake):
    fake.answers("project.discover_and_suggest", (STREAMS, ()))
    assert_golden("cli_discover.json", invoke("discover", "shop", "-o", "json").stdout)
    assert_golden("cli_discover.txt", invoke("discover", "shop").stdout)
    assert columns_of(invoke("discover", "shop", "-o", "csv").stdout)[0] == list(COLUMN_KEYS)


def test_discover_yaml_is_ready_to_paste(fake):
    fake.answers("project.discover_and_suggest", (STREAMS, ()))
    result = invoke("discover", "shop", "--yaml")
    assert_golden("cli_discover.yml", result.stdout)
    assert yaml.safe_load(result.stdout)["tables"] == {
        "public.orders": {
            "mode": "incremental",
            "cursor_field": "updated_at",
            "primary_key": ["id"],
        },
        "public.events": {"mode": "full_table"},
        "public.plans": {"mode": "full_table"},
    }


def test_a_time_that_stays_when_a_row_changes_is_not_proposed():
    """created_at would lose every update, in silence."""
    stream = replace(
        ORDERS_STREAM,
        columns=(*ORDERS_STREAM.columns, Column("created_at", "TIMESTAMP")),
        cursor_fields=("created_at",),
    )
    assert "mode: full_table" in proposal("shop", [stream])


def test_append_only_is_never_guessed():
    assert "append_only" not in proposal("shop", STREAMS)


@pytest.mark.parametrize("name", ["on", "a: b", "#x", 'q"uote', "ünï", "0x1", "a\nb", "{x}"])
def test_discover_yaml_quotes_what_yaml_would_misread(name):
    stream = Stream(name, "t", (Column("changed at", "DATE"),), ("id",), ("changed at",))
    assert yaml.safe_load(proposal("shop", [stream]))["tables"] == {
        name: {"mode": "incremental", "cursor_field": "changed at", "primary_key": ["id"]}
    }


def test_discover_yaml_lets_a_log_of_changes_speak():
    changes = ChangeLog(Column("_updated_at", "TIMESTAMP WITH TIME ZONE"), timedelta(days=30), True)
    stream = Stream("charges", "charges", (Column("id", "VARCHAR"),), ("id",), changes=changes)
    text = proposal("billing", [stream])
    assert yaml.safe_load(text)["tables"] == {"charges": {"mode": "incremental"}}
    assert "30 days" in text


BROKEN = Stream("bad", "bad", (), kind="files", unreadable_reason="bad.csv, line 3: fix the line.")


@pytest.mark.parametrize(
    ("streams", "code"), [(STREAMS, 0), ((BROKEN,), 1), ((ORDERS_STREAM, BROKEN), 3)]
)
def test_discover_ends_with_the_share_that_cannot_be_read(fake, streams, code):
    fake.answers("project.discover_and_suggest", (streams, ()))
    result = invoke("discover", "shop")
    assert result.exit_code == code
    if code:
        assert result.stderr == f"error: bad: {BROKEN.unreadable_reason}\n"
        assert result.stdout.splitlines()[-1].split() == ["bad", "bad", "cannot", "be", "read", "?"]


def test_discover_tells_of_a_stream_that_cannot_be_read(fake):
    fake.answers("project.discover_and_suggest", ((ORDERS_STREAM, BROKEN), ()))
    good, bad = json.loads(invoke("discover", "shop", "-o", "json").stdout)
    assert tuple(good) == tuple(bad)
    assert (bad["stream"], bad["columns"]) == ("bad", [])
    lines = invoke("discover", "shop", "--yaml").stdout.splitlines()
    assert lines[-1].split("  # ")[1] == f"cannot be read: {BROKEN.unreadable_reason}"


def test_discover_says_once_why_late_rows_may_be_missed(fake):
    unsafe = [
        replace(ORDERS_STREAM, name=name, unsafe_cursor_reason="the user lacks PROCESS")
        for name in "ab"
    ]
    fake.answers("project.discover_and_suggest", (unsafe, ()))
    result = invoke("discover", "shop")
    assert result.exit_code == 0
    assert result.stderr.count("because the user lacks PROCESS") == 1


def test_discover_wants_one_format(fake):
    assert invoke("discover", "shop", "--yaml", "-o", "json").exit_code == 2


@pytest.mark.parametrize(
    "keys",
    [
        RESULT_KEYS,
        HISTORY_KEYS,
        STATUS_KEYS,
        PLAN_KEYS,
        CHECK_KEYS,
        tuple(of_stream(ORDERS_STREAM)),
    ],
)
def test_every_key_is_documented(keys):
    """Who writes a script reads docs/json.md."""
    documented = Path(__file__).parents[3].joinpath("docs", "json.md").read_text(encoding="utf-8")
    assert [key for key in keys if f"`{key}`" not in documented] == []
