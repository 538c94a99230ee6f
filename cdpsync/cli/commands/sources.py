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
from cdpsync.serialize.text import plural, with_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdpsync.model import Config, Source, Stream

_MAX_NAMED = 3  # of the streams that a warning is about


@command(ReportFormat)
def check(
    session: Session,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help="Sources of the project; default: all."),
    ] = None,
) -> int:
    """Connect to the sources and the warehouse; check what destinations would send."""
    from cdpsync import project
    from cdpsync.cli.output import reports

    config = session.config()
    results = project.check(config, tuple(sources or ()))
    if config.destinations and not sources:
        from cdpsync import destinations

        results += destinations.check(config)
    show(reports.check_report(results), session.format)
    for result in results:
        if result.error:
            message = with_table(label(result.name), result.error.message)
            log.error(message, event="check", name=result.name)
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
        return show_sources(session, config)
    streams, suggestions = project.discover_and_suggest(config, source)
    if write:
        _write_tables(config, source, streams)
    elif yaml:
        with stdout() as out:
            out.write(proposal(source, streams, suggestions))
    else:
        show(reports.discover_report(streams), session.format)
    _warn_of_cursors(config.sources[source], streams)
    _warn_of_streams(source, streams, suggestions)
    unreadable = [s for s in streams if s.unreadable_reason and not s.only_if_named]
    for stream in unreadable:
        log.error(
            f"{label(stream.name)}: {stream.unreadable_reason}",
            event="discover",
            stream=stream.name,
        )
    return _exit_code(len(unreadable), len(streams))


def _warn_of_streams(
    source: str, streams: "Sequence[Stream]", suggestions: "Sequence[str]"
) -> None:
    """Tell what a person should know about the streams, and what could be better configured."""
    for stream in streams:
        notices = list(stream.notices)
        if stream.only_if_named:
            reason = f"read only if it is named under tables:, because {stream.only_if_named}"
            notices.append(stream.unreadable_reason or reason)
        for notice in notices:
            log.warn(f"{label(stream.name)}: {notice}", event="discover", stream=stream.name)
    for suggestion in suggestions:
        log.warn(f"{label(source)}: {suggestion}", event="suggestion", source=source)


def show_sources(session: Session, config: "Config") -> int:
    """Show the sources of the project file."""
    from cdpsync import project
    from cdpsync.cli.output import reports

    sources = project.list_sources(config)
    show(reports.sources_report(sources), session.format)
    if not sources:
        log.info("this project has no sources: add one under `sources:`", event="empty")
    return 0


def _warn_of_cursors(source: "Source", streams: "Sequence[Stream]") -> None:
    """Say, once for the source, under which cursors rows may arrive late."""
    from cdpsync.plan.naive_cursors import naive_cursors

    place = label(source.name)
    for reason in dict.fromkeys(stream.unsafe_cursor_reason for stream in streams):
        if reason:
            log.warn(
                f"{place}: which transactions are open is not visible, so rows that are committed "
                f"late are found within a lookback only, because {reason}",
                event="discover",
                source=source.name,
            )
    naive = naive_cursors(source, streams)
    if naive:
        names = [f"{column} of {stream}" for stream, column in naive[:_MAX_NAMED]]
        more = f" and {len(naive) - len(names)} more" if len(naive) > len(names) else ""
        log.warn(
            f"{place}: a cursor without a time zone repeats an hour when its clock goes back "
            f"(daylight saving): {', '.join(names)}{more}. A run reads from an hour before a "
            "night's cursor (23:00 to 04:00), unless the table has a lookback. Choose a "
            "cursor with a time zone, or lookback: 1h, which reads that hour in each run",
            event="discover",
            source=source.name,
        )


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
