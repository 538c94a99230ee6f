"""The command line: which commands there are, and how the process ends."""

import gc
import logging
import os
import signal
import sys
from io import TextIOWrapper
from itertools import pairwise
from types import FrameType
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from cdpsync.cli.commands import init, maintain, query, run, sources, state, status, verify
from cdpsync.cli.output import log
from cdpsync.cli.session import INTERRUPTED, Terminated, root_options, stopping

# Objects made between two looks for garbage: a process that lives for a second need not look often.
_GARBAGE = 50_000

# Tracebacks are ours to write: typer's would show local variables, and so secrets.
app = typer.Typer(
    name="cdpsync",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
states = typer.Typer(no_args_is_help=True)


def _tell_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"cdpsync {version('cdpsync')}")
        raise typer.Exit


@app.callback()
@root_options
def root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_tell_version, is_eager=True),
    ] = False,
) -> None:
    """Sync databases, APIs and files into a Parquet lake you own, and ask it with SQL."""


@states.callback()
@root_options
def state_group() -> None:
    """Show and change the cursors."""


app.command("init")(init.init)
app.command("check")(sources.check)
app.command("discover")(sources.discover)
app.command("plan")(run.plan)
app.command("run")(run.run)
app.command("query")(query.query)
app.command("status")(status.status)
app.command("verify")(verify.verify)
app.command("maintain")(maintain.maintain)
app.add_typer(states, name="state")
app.command("reset")(state.reset)
app.command("delete")(state.delete)
states.command("show")(state.state_show)
states.command("get")(state.state_get)
# A cursor may be a negative number, which is no option.
states.command("set", context_settings={"ignore_unknown_options": True})(state.state_set)
states.command("reset")(state.reset)


class _NoPandas:
    """Makes pandas a module that is not installed, for as long as it is not imported.

    DuckDB imports it, where there is one, at the first parameter it is given: half a second for a
    library that no command uses. (None in `sys.modules` would do for DuckDB; pyarrow takes that
    for a module.)
    """

    def find_spec(self, name: str, *_: object) -> None:
        """Refuse pandas; leave every other module to the finders that follow."""
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not used here", name=name)


def main() -> NoReturn:
    """Run the command line; the process ends here."""
    gc.set_threshold(_GARBAGE)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else every package is asked
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is to be ignored
        signal.signal(signal.SIGINT, _interrupt)
    sys.meta_path.insert(0, _NoPandas())
    for stream in (sys.stdout, sys.stderr):
        # Data is UTF-8 wherever it goes; a terminal shows what it can.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(
                encoding=None if stream.isatty() else "utf-8", errors="backslashreplace"
            )
    try:
        code = _run(sys.argv[1:])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:  # of a help text: a command says its own
        sys.stderr.write(f"error: {error}.\n")
        code = 1
    _leave(code)


def _run(argv: list[str]) -> int:
    """Run a command; who reads lines of JSON gets one of a usage error too, not typer's box."""
    if not _wants_json(argv):
        app()
        return 0
    try:
        return app(standalone_mode=False) or 0
    except typer.Abort:
        return 1
    except TyperException as error:
        told = " ".join(error.format_message().split()) or "a command is missing: cdpsync --help."
        with log.logging_to_stderr(log.LogFormat.JSON, quiet=False, verbose=False):
            log.error(told, type="UsageError")
        return error.exit_code


def _wants_json(argv: list[str]) -> bool:
    flag = "--log-format"
    return f"{flag}=json" in argv or (flag, "json") in pairwise(argv)


def _leave(code: int) -> NoReturn:
    """End at once: all that was opened is closed, and to take Python and DuckDB apart takes long.

    After an interrupt, threads may be waiting inside a driver, and an orderly exit would join
    them. What they were reading was not committed, and a commit is one transaction.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 1
    os._exit(code)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    stopping.set()
    raise KeyboardInterrupt


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    stopping.set()
    raise Terminated
