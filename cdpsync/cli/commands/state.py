"""The commands `state`, `reset` and `delete`: show and change cursors, reload and drop tables."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cdpsync.cli.commands.run import Select
from cdpsync.cli.formats import Format, ReportFormat
from cdpsync.cli.options import command
from cdpsync.cli.output import log
from cdpsync.cli.output.report import show, stdout
from cdpsync.cli.session import Session
from cdpsync.errors import ConfigError
from cdpsync.serialize.text import plural, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdpsync.model import TableName

SomeTables = Annotated[
    list[str],
    typer.Argument(metavar="SELECT", help="A source, a table or a glob."),
]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do it without asking.")]
Table = Annotated[str, typer.Argument(metavar="TABLE", help="One table.")]


@command(ReportFormat)
def state_show(session: Session, select: Select = None) -> None:
    """Show the cursors: how far each table has been read."""
    from cdpsync.cli.output import reports
    from cdpsync.project import edit

    show(
        reports.cursor_report(edit.cursors(session.config(), tuple(select or ()))),
        session.format,
    )


@command(ReportFormat)
def state_get(session: Session, table: Table) -> None:
    """Write one table's cursor alone."""
    from cdpsync.cli.output import reports
    from cdpsync.model.cursors import cursor_json
    from cdpsync.project import edit

    entries = edit.cursors(session.config(), (table,))
    if len(entries) != 1:
        names = ", ".join(str(entry.table) for entry in entries[:5])
        raise ConfigError(
            f'"{table}" names {plural(len(entries), "table")}: {names}. Give one table.'
            if entries
            else f'"{table}" has no cursor yet. `cdpsync run {table}` makes one.'
        )
    if session.format is Format.TABLE:
        value = cursor_json(entries[0].cursor)
        with stdout() as out:
            out.write("" if value is None else f"{value}\n")
    else:
        show(reports.cursor_report(entries), session.format)


@command(ReportFormat)
def state_set(
    session: Session,
    table: Table,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="A number, a time, or JSON.")],
) -> None:
    """Set one table's cursor: the next run reads from there."""
    from cdpsync.cli.output import reports
    from cdpsync.project import edit

    entry = edit.set_cursor(session.config(), table, value)
    show(reports.cursor_report([entry]), session.format)
    log.info(f"{entry.table}: the next run reads from there", event="state", table=str(entry.table))


@command(ReportFormat)
def reset(session: Session, select: SomeTables, yes: Yes = False) -> int | None:
    """Load tables from the start at the next run. They stay readable until then."""
    from cdpsync.cli.output import reports
    from cdpsync.project import edit

    config, patterns = session.config(), tuple(select)
    tables = edit.reset_preview(config, patterns)
    if tables and not _confirmed("The next run reloads from the start", tables, yes=yes):
        return 1
    entries = edit.reset(config, patterns) if tables else ()
    show(reports.cursor_report(entries), session.format)
    message = f"{plural(len(entries), 'table')} reset: `cdpsync run` reloads"
    log.info(message if entries else "nothing to reset: never loaded", event="reset")
    return None


@command(ReportFormat)
def delete(session: Session, select: SomeTables, yes: Yes = False) -> int | None:
    """Drop tables from the lake and their cursors from the state."""
    from cdpsync.cli.output import reports
    from cdpsync.project import edit

    config, patterns = session.config(), tuple(select)
    tables = edit.delete_preview(config, patterns)
    if tables and not _confirmed("This drops from the lake and the state", tables, yes=yes):
        return 1
    dropped = edit.delete(config, patterns) if tables else ()
    show(reports.deleted_report(dropped), session.format)
    message = f"{plural(len(dropped), 'table')} dropped"
    log.info(message if dropped else "nothing to drop", event="delete")
    return None


def _confirmed(effect: str, tables: "Sequence[TableName]", *, yes: bool) -> bool:
    """Ask on a terminal; elsewhere only `-y` is an answer."""
    if yes:
        return True
    if not _can_ask():
        raise ConfigError(
            f"{effect}: {plural(len(tables), 'table')}. This needs a confirmation, and there is no "
            "terminal to ask on. Add -y."
        )
    names = "".join(f"  {name}\n" for name in tables)
    # Not through the log, because a question has to be seen under -q too.
    sys.stderr.write(printable(f"{effect}:\n{names}Go on? [y/N] ", keep="\n"))
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    log.info("nothing was changed", event="declined")
    return False


def _can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
