"""`run` and `plan`: what scripts read, what people see, and how the process ends."""

import csv
import io
import json
import threading
from dataclasses import replace

import pytest
from support.cli_fakes import EVENTS, ORDERS, PLANNED, PLANS, Fake, a_run, assert_golden, invoke

from cdpsync.cli.output import log
from cdpsync.cli.output.log import LogFormat
from cdpsync.cli.output.progress import Lines, Live
from cdpsync.errors import ConfigError, LockHeldError
from cdpsync.model import Planned, Progress, RunStatus, TableName
from cdpsync.redact import remember
from cdpsync.serialize.results import PLAN_KEYS, RESULT_KEYS


@pytest.fixture
def fake(monkeypatch):
    return Fake(monkeypatch)


def test_run_json_has_the_keys_of_the_contract(fake):
    """Scripts depend on these names and this order."""
    fake.answers("sync.run", a_run(ORDERS, PLANS, EVENTS, status=RunStatus.PARTIAL))
    result = invoke("run", "-o", "json")
    assert_golden("cli_run.json", result.stdout)
    assert all(tuple(table) == RESULT_KEYS for table in json.loads(result.stdout)["tables"])


def test_run_csv_has_a_line_per_table_and_the_error_in_two_columns(fake):
    fake.answers("sync.run", a_run(ORDERS, PLANS, status=RunStatus.PARTIAL))
    header, orders, plans = csv.reader(io.StringIO(invoke("run", "-o", "csv").stdout))
    assert header == [*RESULT_KEYS[:-2], "error_type", "error_message", "notices"]
    assert orders[-3:-1] == ["", ""]
    assert plans[-3:-1] == [PLANS.error.type, PLANS.error.message]


def test_run_prints_a_summary_and_repeats_the_failures_at_the_end(fake):
    fake.answers("sync.run", a_run(ORDERS, PLANS, EVENTS, status=RunStatus.PARTIAL))
    result = invoke("run")
    assert_golden("cli_run.txt", result.stdout)
    assert_golden("cli_run.stderr.txt", result.stderr)


@pytest.mark.parametrize(
    ("status", "code"), [(RunStatus.OK, 0), (RunStatus.PARTIAL, 3), (RunStatus.FAILED, 1)]
)
def test_run_ends_with_the_code_of_its_status(fake, status, code):
    fake.answers("sync.run", a_run(ORDERS, status=status))
    assert invoke("run").exit_code == code


def test_a_run_with_nothing_due_says_so_and_is_fine(fake):
    fake.answers("sync.run", a_run(EVENTS))
    result = invoke("run", "--due")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "nothing is due\n")


def test_run_hands_on_every_option(fake):
    fake.answers("sync.run", a_run(ORDERS))
    invoke(
        *("run", "shop", "crm.*", "-s", "a*", "-s", "b", "-e", "c", "--due", "--full-refresh"),
        *("--threads", "2", "--fail-fast", "--allow-shrink", "--accept-changes"),
        *("--accept-source", "--no-send", "-q"),
    )
    name, select, options = fake.calls[-1]
    assert not options.pop("is_stopped")()
    assert (name, select, options) == (
        "sync.run",
        ("shop", "crm.*"),
        {
            "include": ("a*", "b"),
            "exclude": ("c",),
            "due": True,
            "full_refresh": True,
            "allow_shrink": True,
            "accept_changes": True,
            "accept_source": True,
            "threads": 2,
            "fail_fast": True,
            "send": False,
            "on_progress": None,
        },
    )


@pytest.mark.parametrize(
    "argv",
    [
        ("-c", "x.yml", "-o", "json", "-q", "run"),
        ("run", "-c", "x.yml", "-o", "json", "-q"),
        ("-c", "y.yml", "-o", "csv", "run", "-q", "-c", "x.yml", "-o", "json"),
    ],
)
def test_global_options_stand_before_and_after_the_command(fake, argv):
    """Where both say something, the nearer one counts."""
    fake.answers("sync.run", a_run(ORDERS))
    result = invoke(*argv)
    assert json.loads(result.stdout)["run_id"]
    assert result.stderr == ""
    assert str(fake.calls[0][1]) == "x.yml"


def test_quiet_leaves_the_errors(fake):
    """Cron mails what is written: a run that went well writes nothing."""
    fake.answers("sync.run", a_run(ORDERS, PLANS, status=RunStatus.PARTIAL))
    result = invoke("run", "-q")
    assert (result.stdout, result.stderr) == (
        "",
        f"error: 1 of 2 tables failed:\n  shop.plans: {PLANS.error.message}\n",
    )
    fake.answers("sync.run", a_run(ORDERS))
    assert invoke("run", "-q").output == ""


@pytest.mark.parametrize("form", ["json", "csv"])
def test_quiet_leaves_the_data_that_was_asked_for(fake, form):
    fake.answers("sync.run", a_run(ORDERS))
    assert invoke("run", "-q", "-o", form).stdout == invoke("run", "-o", form).stdout != ""


def test_notices_are_narrated(fake):
    fake.answers("sync.run", a_run(replace(ORDERS, notices=("loaded from the start",))))
    assert "warning: shop.orders: loaded from the start\n" in invoke("run").stderr


def test_only_query_writes_jsonl(fake):
    assert invoke("run", "-o", "jsonl").exit_code == 2
    result = invoke("-o", "jsonl", "run")
    assert result.exit_code == 2
    assert result.stderr.endswith("Choose from: table, json, csv.\n")


# ---- plan


def test_plan_json_has_the_documented_keys(fake):
    fake.answers("sync.plan", replace(PLANNED, failed=(PLANS,), skipped=(EVENTS,)))
    result = invoke("plan", "-o", "json")
    assert_golden("cli_plan.json", result.stdout)
    assert all(tuple(table) == PLAN_KEYS for table in json.loads(result.stdout))


def test_plan_says_what_is_read_and_written(fake):
    fake.answers("sync.plan", PLANNED)
    result = invoke("plan")
    assert_golden("cli_plan.txt", result.stdout)
    assert result.exit_code == 0


def test_a_dry_run_prints_the_plan(fake):
    fake.answers("sync.plan", PLANNED)
    assert invoke("run", "--dry-run", "--due").stdout == invoke("plan", "--due").stdout
    assert fake.calls[1] == fake.calls[3]


@pytest.mark.parametrize(("plans", "code"), [(PLANNED.plans, 3), ((), 1)])
def test_plan_ends_as_the_run_would(fake, plans, code):
    fake.answers("sync.plan", Planned(plans, failed=(PLANS,)))
    result = invoke("plan")
    assert result.exit_code == code
    assert PLANS.error.message in result.stderr


# ---- how it ends


@pytest.mark.parametrize(
    ("error", "code"), [(ConfigError("no such key"), 2), (LockHeldError("held by 12"), 4)]
)
def test_an_error_is_one_line_and_a_code(fake, error, code):
    fake.answers("sync.run", error)
    result = invoke("run", "-o", "json")
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr == f"error: {error.message}\n"


def test_an_interrupt_ends_with_130(fake):
    fake.answers("sync.run", KeyboardInterrupt())
    result = invoke("run")
    assert result.exit_code == 130
    assert "nothing is half committed" in result.stderr


def test_a_bug_is_one_line_without_secrets(fake):
    """A traceback is for -v, and shows no secret either."""
    remember("hunter2-hunter2")
    fake.answers("sync.run", RuntimeError("no way: hunter2-hunter2"))
    result = invoke("run")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "RuntimeError: no way: ***." in result.stderr
    verbose_stderr = invoke("run", "-v").stderr
    assert "Traceback" in verbose_stderr
    assert "hunter2" not in result.stderr + verbose_stderr


def test_no_room_left_is_no_bug(fake):
    fake.answers("sync.run", OSError(28, "No space left on device"))
    assert invoke("run").stderr == "error: [Errno 28] No space left on device.\n"


# ---- narration while it runs


@pytest.fixture
def narration():
    with log.logging_to_stderr(LogFormat.TEXT, quiet=False, verbose=False):
        yield


def reading(rows=0, **fields):
    return Progress(TableName("shop", "orders"), "reading", rows, **fields)


def test_lines_come_at_most_every_ten_seconds(narration, capsys):
    now = [0.0]
    log_progress = Lines(clock=lambda: now[0])
    for now[0], rows in [(0, 0), (1, 500), (9.9, 900), (10, 1000), (12, 1200), (20, 2000)]:
        log_progress(reading(rows, estimated_rows=4000))
    log_progress(Progress(TableName("shop", "orders"), "done", result=ORDERS))
    assert capsys.readouterr().err.splitlines() == [
        "shop.orders: reading …",
        "shop.orders: reading 1,000 rows of about 4,000, 100 rows/s",
        "shop.orders: reading 2,000 rows of about 4,000, 100 rows/s",
        "shop.orders  ok  1,234 read  1,000 inserted  234 updated  0 deleted  2.1 s",
    ]


def test_a_failed_table_is_told_at_once(narration, capsys):
    Lines()(Progress(TableName("shop", "plans"), "failed", result=PLANS))
    assert capsys.readouterr().err == f"error: shop.plans: {PLANS.error.message}\n"


def test_bars_are_moved_by_many_threads_and_make_room(narration, capsys):
    from rich.console import Console
    from rich.progress import Progress as Bars

    bars = Bars(console=Console(file=io.StringIO(), force_terminal=True), auto_refresh=False)
    live = Live(bars)

    def one(name):
        for rows in range(50):
            live(Progress(TableName("shop", name), "reading", rows, chunks_done=1, chunks=4))

    threads = [threading.Thread(target=one, args=(f"t{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(task.completed, task.total) for task in bars.tasks] == [(1, 4)] * 8
    live(Progress(TableName("shop", "t1"), "failed", result=replace(PLANS, table="shop.t1")))
    assert len(bars.tasks) == 7
    assert "shop.t1" in capsys.readouterr().err


def test_narration_can_be_json(fake):
    remember("hunter2-hunter2")
    failed = replace(PLANS, error=replace(PLANS.error, message="no: hunter2-hunter2"))
    fake.answers("sync.run", a_run(ORDERS, failed, status=RunStatus.PARTIAL))
    lines = [json.loads(line) for line in invoke("run", "--log-format", "json").stderr.splitlines()]
    assert [line["event"] for line in lines] == ["run", "failed"]
    assert all({"ts", "level", "event", "message"} <= set(line) for line in lines)
    assert lines[1]["tables"] == ["shop.plans"]
    assert "no: ***" in lines[1]["message"]


def test_a_terminal_is_not_driven_by_what_an_error_says(fake):
    fake.answers("sync.run", ConfigError("bad\x1b]0;title\x07"))
    assert invoke("run").stderr == "error: bad\\x1b]0;title\\x07\n"
