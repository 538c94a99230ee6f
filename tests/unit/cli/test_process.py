"""The command line as a process: what it imports, how signals and closed pipes end it."""

import json
import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import cdpsync
from cdpsync.__main__ import main

HEAVY = ("duckdb", "pyarrow", "psycopg", "cdpsync.project", "cdpsync.sync")


def python(code, **options):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize(
    ("argv", "heavy"),
    [
        (["--help"], (*HEAVY, "pydantic")),
        (["--version"], (*HEAVY, "pydantic")),
        (["run", "--help"], HEAVY),  # here typer itself imports pydantic, to parse options
    ],
)
def test_help_imports_nothing_heavy(argv, heavy):
    """What is typed often has to come at once."""
    process = python(f"""
import os, sys
from cdpsync.cli.main import main
sys.argv = ["cdpsync", *{argv!r}]
os._exit = sys.exit
try:
    main()
finally:
    print("heavy:", *(name for name in {heavy!r} if name in sys.modules))
""")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[-1] == "heavy:"


def test_nothing_slow_is_imported_before_interrupts_are_handled():
    """Ctrl-C during an import that comes earlier would print Python's traceback."""
    code = (
        "import sys, cdpsync.__main__; print({'typing', 're', 'cdpsync.cli.main'} & {*sys.modules})"
    )
    folder = Path(cdpsync.__file__).parents[1]
    process = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert process.stdout == "set()\n"


def test_the_package_is_a_program_too():
    process = subprocess.run(
        [sys.executable, "-m", "cdpsync", "--version"], capture_output=True, text=True, check=True
    )
    assert process.stdout == f"cdpsync {version('cdpsync')}\n"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["run", "--nosuch", "--log-format", "json"], "--nosuch"),
        (["--log-format=json", "status", "-n", "none"], "--limit"),
        (["--log-format", "json", "state"], "command"),
        (["--log-format", "json", "fly"], "fly"),
    ],
)
def test_a_usage_error_can_be_json(argv, says):
    """Who parses stderr line by line is not given a drawn box."""
    process = subprocess.run(
        [sys.executable, "-m", "cdpsync", *argv], capture_output=True, text=True, check=False
    )
    line = json.loads(process.stderr)
    assert process.returncode == 2
    assert {"level": "error", "event": "error", "type": "UsageError"}.items() <= line.items()
    assert says in line["message"]


def test_json_lines_change_nothing_else():
    """Help, and a command's own code, come as ever."""
    command = [sys.executable, "-m", "cdpsync", "--log-format", "json"]
    processes = [
        subprocess.run([*command, *argv], capture_output=True, text=True, check=False)
        for argv in (["run", "--help"], ["status", "-c", "/no/such.yml"])
    ]
    assert [process.returncode for process in processes] == [0, 2]
    assert json.loads(processes[1].stderr)["type"] == "ConfigError"


STUCK = """
import signal, sys, threading
from cdpsync import project, sync
from cdpsync.cli.main import main

def run(*_, **__):
    # A worker inside a driver's C code cannot be interrupted, and an exit would join it.
    threading.Thread(target=threading.Event().wait).start()
    print("ready", flush=True)
    threading.Event().wait()

# Whoever starts the tests in the background has it ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
project.load, sync.run = (lambda path: None), run
sys.argv = ["cdpsync", "run"]
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_though_its_workers_are_stuck(number):
    process = python(STUCK)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "nothing is half committed" in err
    assert "Traceback" not in err


EARLY = """
import os, runpy, signal, sys
from importlib.metadata import entry_points

class Interrupt:
    def find_spec(self, name, *_):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {number})

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt())
sys.argv = ["cdpsync", "status", "-c", "/no/such.yml"]
if {as_module}:
    runpy.run_module("cdpsync", run_name="__main__")
(script,) = entry_points(group="console_scripts", name="cdpsync")
script.load()()
"""


@pytest.mark.parametrize(
    ("module", "number", "as_module"),
    [
        ("cdpsync.cli.main", signal.SIGINT, True),
        ("typer", signal.SIGINT, False),
        ("cdpsync.cli.options", signal.SIGTERM, False),
        ("duckdb", signal.SIGINT, False),
        ("cdpsync.project", signal.SIGINT, False),
    ],
)
def test_a_signal_during_the_imports_ends_the_process_in_silence(module, number, as_module):
    """The first 0.3 s are imports: Ctrl-C there has a code, and no traceback."""
    process = python(EARLY.format(module=module, number=int(number), as_module=as_module))
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "no such file" not in err


ENDLESS = """
import sys
from contextlib import contextmanager
from itertools import repeat
from cdpsync import project
from cdpsync.cli.main import main
from cdpsync.model import Column

class Answer:
    columns = (Column("a", "VARCHAR"),)
    def rows(self):
        return repeat(("x" * 100,))

@contextmanager
def open_query(*_, **__):
    yield Answer()

project.load, project.open_query = (lambda path: None), open_query
sys.argv = ["cdpsync", "query", "-q", "select 1", "-o", FORM]
main()
"""


@pytest.mark.parametrize("form", ["table", "csv", "json", "jsonl", "markdown"])
def test_a_closed_pipe_ends_a_query_in_silence(form):
    """`cdpsync query … | head` is no error."""
    process = python(ENDLESS.replace("FORM", repr(form)))
    assert process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), err) == (0, "")


def test_a_terminal_gets_a_prompt(tmp_path):
    """On a terminal, with nothing given, statements are typed; Ctrl-D ends."""
    import pty

    code = ENDLESS.replace('repeat(("x" * 100,))', 'iter([("answer",)])')
    code = code.replace('"-q", "select 1", "-o", FORM', "")
    code = code.replace("lambda path: None", f"lambda path: a_config({str(tmp_path)!r})")
    code = f"""
from pathlib import Path
from cdpsync.model import Config, Warehouse
def a_config(folder):
    return Config(Warehouse("", Path(folder, "catalog"), Path(folder, "state")), {{}}, ())
{code}"""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
            if shown.endswith(b"cdpsync> "):
                os.write(ours, b"\x04" if b"1 row" in shown else b"select\n1;\n")
    except OSError:  # Linux says EIO when the other end is closed
        pass
    finally:
        os.close(ours)
    assert process.wait() == 0
    assert b"answer" in shown
    assert (tmp_path / "query_history").exists()


def test_windows_itself_is_refused_in_one_line(monkeypatch):
    """The locks are those of Linux and macOS, so nothing is imported on Windows."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit, match="in WSL 2, and run it there"):
        main()
