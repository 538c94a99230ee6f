"""The entry point of the command line: registers the commands, runs one, ends the process."""

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

from cdpsync.cli.commands import (
    destinations,
    init,
    install,
    maintain,
    query,
    run,
    send,
    source_types,
    sources,
    state,
    status,
    verify,
)
from cdpsync.cli.options import root_options
from cdpsync.cli.output import log
from cdpsync.cli.session import INTERRUPTED, Terminated, stopping, working

# cdpsync writes tracebacks itself, because typer's show local variables, and so secrets.
app = typer.Typer(
    name="cdpsync",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
states = typer.Typer(no_args_is_help=True)
destination_commands = typer.Typer(no_args_is_help=True)
dead_letters = typer.Typer(no_args_is_help=True)
source_commands = typer.Typer(no_args_is_help=True)


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"cdpsync {version('cdpsync')}")
        raise typer.Exit


@app.callback()
@root_options
def root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Sync databases, APIs and files into a Parquet lake you own, and query it with SQL."""


@states.callback()
@root_options
def state_group() -> None:
    """Show and change the cursors."""


@destination_commands.callback()
@root_options
def destinations_group() -> None:
    """Show destinations and their types; enable and disable them."""


@source_commands.callback()
@root_options
def sources_group() -> None:
    """Show sources and their types; print a manifest to copy."""


@dead_letters.callback()
@root_options
def dead_group() -> None:
    """Show, replay and drop changes that could not be delivered."""


app.command("init")(init.init)
app.command("check")(sources.check)
app.command("discover")(sources.discover)
app.command("install")(install.install)
app.command("plan")(run.plan)
app.command("run")(run.run)
app.command("send")(send.send)
app.command("query")(query.query)
app.command("status")(status.status)
app.command("verify")(verify.verify)
app.command("maintain")(maintain.maintain)
app.add_typer(states, name="state")
app.command("reset")(state.reset)
app.command("delete")(state.delete)
states.command("show")(state.state_show)
states.command("get")(state.state_get)
# A cursor may be a negative number, which typer must not take for an option.
states.command("set", context_settings={"ignore_unknown_options": True})(state.state_set)
states.command("reset")(state.reset)
app.add_typer(source_commands, name="sources")
source_commands.command("list")(source_types.list_)
source_commands.command("types")(source_types.types)
source_commands.command("show")(source_types.show_manifest)
app.add_typer(destination_commands, name="destinations")
destination_commands.command("list")(destinations.list_)
destination_commands.command("types")(destinations.types)
destination_commands.command("show")(destinations.show_preset)
destination_commands.command("enable")(destinations.enable)
destination_commands.command("disable")(destinations.disable)
app.add_typer(dead_letters, name="dead")
dead_letters.command("show")(destinations.dead_show)
dead_letters.command("replay")(destinations.dead_replay)
dead_letters.command("drop")(destinations.dead_drop)


class _NoPandas:
    """Hides an installed pandas from every import that follows.

    DuckDB imports pandas at the first statement with parameters, which takes half a second, and no
    command uses it. None in `sys.modules` would do for DuckDB, but pyarrow takes that for a module.
    """

    def find_spec(self, name: str, *_: object) -> None:
        """Refuse pandas; leave every other module to the finders that follow."""
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not used here", name=name)


def main() -> NoReturn:
    """Run the command line, and end the process."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else pydantic asks every package
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # else the parent ignores it
        signal.signal(signal.SIGINT, _interrupt)
    sys.meta_path.insert(0, _NoPandas())
    for stream in (sys.stdout, sys.stderr):
        # Data is UTF-8 in files and pipes; a terminal keeps its own encoding.
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
    except OSError as error:  # of a help text; a command reports its own
        sys.stderr.write(f"error: {error}.\n")
        code = 1
    _exit(code)


def _run(argv: list[str]) -> int:
    """Run a command. With JSON log lines a usage error is such a line too, not typer's box."""
    if not _wants_json(argv):
        app()
        return 0
    try:
        return app(standalone_mode=False) or 0
    except typer.Abort:
        return 1
    except TyperException as error:
        message = " ".join(error.format_message().split())
        with log.logging_to_stderr(log.LogFormat.JSON, quiet=False, verbose=False):
            log.error(message or "a command is missing: cdpsync --help.", type="UsageError")
        return error.exit_code


def _wants_json(argv: list[str]) -> bool:
    flag = "--log-format"
    return f"{flag}=json" in argv or (flag, "json") in pairwise(argv)


def _exit(code: int) -> NoReturn:
    """End the process at once: everything is closed, and Python and DuckDB take long to clean up.

    After an interrupt, threads may wait inside a driver, and an orderly exit would join them. Their
    rows are not committed, and a commit is one transaction.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 1
    os._exit(code)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    _end_before_a_command()
    stopping.set()
    raise KeyboardInterrupt


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    _end_before_a_command()
    stopping.set()
    raise Terminated


def _end_before_a_command() -> None:
    """End the process if no command works yet, because typer would make exit code 1 of it."""
    if not working.is_set():
        os._exit(INTERRUPTED)
