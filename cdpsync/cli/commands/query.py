"""The command `query`: read-only SQL over the lake, its rows written as they stream in."""

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdpsync.cli.formats import Format
from cdpsync.cli.options import command
from cdpsync.cli.output import log
from cdpsync.cli.session import Session
from cdpsync.errors import ConfigError
from cdpsync.serialize.text import plural, seconds

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from cdpsync.model import Config

_SUFFIXES = {
    ".csv": Format.CSV,
    ".json": Format.JSON,
    ".jsonl": Format.JSONL,
    ".md": Format.MARKDOWN,
    ".ndjson": Format.JSONL,
    ".parquet": Format.PARQUET,
}


@command(Format)
def query(
    session: Session,
    sql: Annotated[
        str | None, typer.Argument(metavar="SQL", help="Default: stdin, or a prompt.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("-f", "--file", metavar="FILE", help="Read SQL; - is stdin.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="WHEN", help="The lake as of a snapshot or a timestamp."),
    ] = None,
    lake: Annotated[
        str | None,
        typer.Option("--lake", metavar="PATH", help="A published lake, in place of a project's."),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="Write the whole result to FILE, or nothing."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="On a terminal: wide values whole, and every column.")
    ] = False,
) -> None:
    """Query the lake. Without SQL: a prompt on a terminal, else SQL from stdin."""
    form = session.output or (_SUFFIXES.get(to.suffix.lower()) if to else None) or Format.TABLE
    if form is Format.PARQUET and to is None:
        raise ConfigError("--output parquet needs a file. Add --to FILE.")
    if sql is None and file is None and sys.stdin.isatty():
        if to is not None or not sys.stdout.isatty():
            raise ConfigError("there is no SQL. Give it as an argument, with -f, or on stdin.")
        from cdpsync.cli.commands.query_commands import PromptCommands
        from cdpsync.cli.commands.query_shell import repl

        with _lake(session, lake) as config:
            history = config.warehouse.catalog.parent / "query_history"
            commands = PromptCommands(
                lambda sql, schema: _run_query(
                    config, sql, at, form, None, schema=schema, full=full
                ),
                lambda: _tables(config, at),
            )
            repl(commands.execute, history)
    else:
        text = _sql(sql, file)
        with _lake(session, lake) as config:
            _run_query(config, text, at, form, to, full=full)


def _lake(session: Session, lake: str | None) -> "AbstractContextManager[Config]":
    """Return the project, or a published lake as a project for queries only."""
    if lake is None:
        return nullcontext(session.config())
    if session.config_path is not None:
        raise ConfigError("--lake and --config cannot both be given. Give one of them.")
    from cdpsync.maintain.publish import published

    return published(lake)


def _sql(sql: str | None, file: Path | None) -> str:
    if sql is not None and file is not None:
        raise ConfigError("SQL as an argument and with -f cannot both be given. Give one of them.")
    if sql is None and file is not None and str(file) != "-":
        try:
            sql = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ConfigError(f"{file}: cannot be read: {reason}.") from error
    elif sql is None:
        sql = sys.stdin.read()
    if not sql.strip():
        raise ConfigError("the SQL is empty. Give it as an argument, with -f, or on stdin.")
    return sql


def _tables(config: "Config", at: str | None) -> list[tuple[str, str]]:
    """Return the schema and name of each table of the lake."""
    from cdpsync import project

    with project.open_query(config, "show tables", at=at) as result:
        return [(str(schema), str(name)) for schema, name in result.rows()]


def _run_query(
    config: "Config",
    sql: str,
    at: str | None,
    form: Format,
    to: Path | None,
    *,
    schema: str | None = None,
    full: bool = False,
) -> None:
    """Run a query, write its rows, and log how long that took."""
    from cdpsync import project
    from cdpsync.cli.output.query_result import COUNTED, ON_SCREEN, write_file, write_stdout

    started = time.monotonic()
    options = {"schema": schema} if schema else {}
    with project.open_query(config, sql, at=at, **options) as result:
        rows = write_file(to, result, form) if to else write_stdout(result, form, full=full)
    place = f" in {to}" if to else ""
    took = seconds(time.monotonic() - started)
    least = "at least " if rows > ON_SCREEN + COUNTED and not to and sys.stdout.isatty() else ""
    log.info(f"{least}{plural(rows, 'row')}{place}, {took}", event="answer", rows=rows)
