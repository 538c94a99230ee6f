"""The commands `destinations` and `dead`: their state, their types, and what was refused."""

from typing import Annotated

import typer

from cdpsync.cli.commands.send import Destinations, Yes, show_send
from cdpsync.cli.formats import ReportFormat
from cdpsync.cli.options import command
from cdpsync.cli.output import log
from cdpsync.cli.output.report import show, stdout
from cdpsync.cli.session import Session, stopping
from cdpsync.errors import ConfigError
from cdpsync.serialize.text import plural

Names = Annotated[list[str], typer.Argument(metavar="NAME", help="A destination or a glob.")]
Some = Annotated[list[str], typer.Argument(metavar="SELECT", help="A destination or a glob.")]
Where = Annotated[
    str | None,
    typer.Option("--where", metavar="SQL", help='Only those, such as "status = 400".'),
]


@command(ReportFormat)
def list_(session: Session, select: Destinations = None) -> None:
    """Show each destination: its health, what it is behind, and its dead letters."""
    from cdpsync import destinations
    from cdpsync.cli.output import delivery_reports

    overviews = destinations.overviews(session.config(), tuple(select or ()))
    show(delivery_reports.destinations_report(overviews), session.format)
    if not overviews:
        log.info("this project has no destinations: docs/destinations.md", event="empty")


@command(ReportFormat)
def types(session: Session) -> None:
    """List the types that a destination can have."""
    from cdpsync import destinations
    from cdpsync.cli.output import delivery_reports

    folder = session.project_folder()
    show(delivery_reports.types_report(destinations.types(folder)), session.format)


@command(None)
def show_preset(
    session: Session,
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="A type, such as slack.")],
) -> None:
    """Print the YAML of a type. A copy at destinations/TYPE.yml beside the project file wins."""
    from cdpsync import destinations

    text = destinations.preset_text(type_, session.project_folder())
    with stdout() as out:
        out.write(text)


@command(None)
def enable(session: Session, names: Names) -> None:
    """Send again to destinations that were disabled; what is held is tried first."""
    from cdpsync import destinations

    for name in destinations.enable(session.config(), tuple(names)):
        log.info(f"{name}: enabled", event="enabled", destination=name)


@command(None)
def disable(session: Session, names: Names) -> None:
    """Send nothing to destinations until they are enabled; their changes are kept."""
    from cdpsync import destinations

    for name in destinations.disable(session.config(), tuple(names)):
        log.info(f"{name}: disabled", event="disabled", destination=name)


@command(ReportFormat)
def dead_show(
    session: Session,
    select: Destinations = None,
    where: Where = None,
    limit: Annotated[int | None, typer.Option("-n", "--limit", min=1, help="At most.")] = None,
) -> None:
    """Show changes that were refused, or could not be delivered in time."""
    from cdpsync import destinations
    from cdpsync.cli.output import delivery_reports

    letters = destinations.find_dead_letters(session.config(), tuple(select or ()), where, limit)
    show(delivery_reports.dead_letters_report(letters), session.format)
    if not letters:
        log.info("no dead letters", event="empty")


@command(ReportFormat)
def dead_replay(
    session: Session,
    select: Some,
    where: Where = None,
    as_it_was: Annotated[
        bool, typer.Option("--as-it-was", help="The rows as they were, not as they are now.")
    ] = False,
) -> int:
    """Send dead letters again, with the rows as they are now."""
    from cdpsync import destinations

    result = destinations.replay(
        session.config(),
        tuple(select),
        where,
        as_it_was=as_it_was,
        is_stopped=stopping.is_set,
    )
    return show_send(session, result)


@command(None)
def dead_drop(session: Session, select: Some, where: Where = None, yes: Yes = False) -> int | None:
    """Delete dead letters; they are not sent any more."""
    from cdpsync import destinations

    config = session.config()
    letters = destinations.find_dead_letters(config, tuple(select), where)
    if letters and not yes:
        raise ConfigError(f"this deletes {plural(len(letters), 'dead letter')}, for good. Add -y.")
    destinations.drop_dead_letters(config, [letter.id for letter in letters])
    log.info(f"{plural(len(letters), 'dead letter')} dropped", event="dropped")
    return None
