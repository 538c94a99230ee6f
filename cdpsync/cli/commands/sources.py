"""The commands `check` and `discover`: whether sources can be reached, and their streams."""

from typing import TYPE_CHECKING, Annotated

import typer

from cdpsync.cli.formats import ReportFormat
from cdpsync.cli.options import command
from cdpsync.cli.output import log
from cdpsync.cli.output.report import show, stdout
from cdpsync.cli.session import Session
from cdpsync.errors import ConfigError
from cdpsync.redact import label
from cdpsync.serialize.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdpsync.model import Config, Stream


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
            log.error(
                f"{label(result.name)}: {result.error.message}", event="check", name=result.name
            )
    failed = sum(not result.ok for result in results)
    return _exit_code(failed, len(results))


@command(ReportFormat)
def discover(
    session: Session,
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="A source of the project; default: list them."),
    ] = None,
    yaml: Annotated[
        bool, typer.Option("--yaml", help="Write a tables: section to paste, with modes.")
    ] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Put that section into the project file.")
    ] = False,
) -> int:
    """Show a source's streams, columns, keys and possible cursor fields."""
    from cdpsync import project
    from cdpsync.cli.commands.discover_yaml import proposal
    from cdpsync.cli.output import reports

    options = {"--yaml": yaml, "--write": write, "--output": session.output}
    given = [option for option, value in options.items() if value]
    if len(given) > 1:
        raise ConfigError(f"{given[0]} and {given[1]} cannot both be given. Give one of them.")
    config = session.config()
    if source is None:
        if yaml or write:
            names = ", ".join(config.sources) or "none"
            raise ConfigError(f"{given[0]} needs a source. This project has: {names}.")
        return _show_sources(session, config)
    streams, suggestions = project.discover_and_suggest(config, source)
    if write:
        _write_tables(config, source, streams)
    elif yaml:
        with stdout() as out:
            out.write(proposal(source, streams, suggestions))
    else:
        show(reports.discover_report(streams), session.format)
    _warn(source, streams, suggestions)
    unreadable = [stream for stream in streams if stream.unreadable_reason]
    for stream in unreadable:
        log.error(
            f"{label(stream.name)}: {stream.unreadable_reason}",
            event="discover",
            stream=stream.name,
        )
    return _exit_code(len(unreadable), len(streams))


def _warn(source: str, streams: "Sequence[Stream]", suggestions: "Sequence[str]") -> None:
    """Tell what a person should know about streams that can be read."""
    for reason in dict.fromkeys(stream.unsafe_cursor_reason for stream in streams):
        if reason:
            log.warn(
                f"{label(source)}: which transactions are open is not visible, so rows that are "
                f"committed late are found within a lookback only, because {reason}",
                event="discover",
                source=source,
            )
    for stream in streams:
        for notice in stream.notices:
            log.warn(f"{label(stream.name)}: {notice}", event="discover", stream=stream.name)
    for suggestion in suggestions:
        log.warn(f"{label(source)}: {suggestion}", event="suggestion", source=source)


def _show_sources(session: Session, config: "Config") -> int:
    from cdpsync import project
    from cdpsync.cli.output import reports

    sources = project.list_sources(config)
    show(reports.sources_report(sources), session.format)
    if not sources:
        log.info("this project has no sources: add one under `sources:`", event="empty")
    return 0


def _write_tables(config: "Config", source: str, streams: "Sequence[Stream]") -> None:
    """Add the streams that the project file does not name; show the lines that were added."""
    from cdpsync.cli.commands.discover_write import add_tables

    changed = add_tables(config, source, streams)
    with stdout() as out:
        out.write(changed.diff)
    if changed.count:
        log.info(
            f"{changed.file}: {plural(changed.count, 'table')} added. Choose their modes, then: "
            f"cdpsync plan {source}",
            event="written",
        )
    else:
        log.info(f"{changed.file}: it names every stream already", event="written")


def _exit_code(failed: int, tried: int) -> int:
    """Return 0 if none failed, 1 if all did, 3 if some did."""
    return 0 if not failed else 1 if failed == tried else 3
