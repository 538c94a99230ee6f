"""The commands `check` and `discover`: whether sources can be reached, and their streams."""

from typing import Annotated

import typer

from cdpsync.cli.formats import ReportFormat
from cdpsync.cli.options import command
from cdpsync.cli.output import log
from cdpsync.cli.output.report import show, stdout
from cdpsync.cli.session import Session
from cdpsync.errors import ConfigError


@command(ReportFormat)
def check(
    session: Session,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help="Sources of the project; default: all."),
    ] = None,
) -> int:
    """Connect to the sources and the warehouse; read and write a probe object."""
    from cdpsync import project
    from cdpsync.cli.output import reports

    results = project.check(session.config(), tuple(sources or ()))
    show(reports.check_report(results), session.format)
    for result in results:
        if result.error:
            log.error(f"{result.name}: {result.error.message}", event="check", name=result.name)
    failed = sum(not result.ok for result in results)
    return _exit_code(failed, len(results))


@command(ReportFormat)
def discover(
    session: Session,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A source of the project.")],
    yaml: Annotated[
        bool, typer.Option("--yaml", help="Write a tables: section to paste, with modes.")
    ] = False,
) -> int:
    """Show a source's streams, columns, keys and possible cursor fields."""
    from cdpsync import project
    from cdpsync.cli.commands.discover_yaml import proposal
    from cdpsync.cli.output import reports

    if yaml and session.output:
        raise ConfigError("--yaml and --output cannot both be given. Give one of them.")
    streams = project.discover(session.config(), source)
    if yaml:
        with stdout() as out:
            out.write(proposal(source, streams))
    else:
        show(reports.discover_report(streams), session.format)
    for reason in dict.fromkeys(stream.unsafe_cursor_reason for stream in streams):
        if reason:
            log.warn(
                f"{source}: which transactions are open is not visible, so rows that are committed "
                f"late are found within a lookback only, because {reason}",
                event="discover",
                source=source,
            )
    unreadable = [stream for stream in streams if stream.unreadable_reason]
    for stream in unreadable:
        log.error(
            f"{stream.name}: {stream.unreadable_reason}", event="discover", stream=stream.name
        )
    return _exit_code(len(unreadable), len(streams))


def _exit_code(failed: int, tried: int) -> int:
    """Return 0 if none failed, 1 if all did, 3 if some did."""
    return 0 if not failed else 1 if failed == tried else 3
