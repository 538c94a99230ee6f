"""The commands `sources`: the sources of a project, the types there are, and manifests to copy."""

from typing import Annotated

import typer

from cdpsync.cli.commands.sources import show_sources
from cdpsync.cli.formats import ReportFormat
from cdpsync.cli.options import command
from cdpsync.cli.output.report import show, stdout
from cdpsync.cli.session import Session


@command(ReportFormat)
def list_(session: Session) -> int:
    """List the sources of the project."""
    return show_sources(session, session.config())


@command(ReportFormat)
def types(session: Session) -> None:
    """List the types that a source can have."""
    from cdpsync import project
    from cdpsync.cli.output import reports

    found = project.source_types(session.project_folder())
    show(reports.source_types_report(found), session.format)


@command(None)
def show_manifest(
    session: Session,
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="A manifest, such as github.")],
) -> None:
    """Print the YAML of a manifest. A copy at manifests/TYPE.yml beside the project file wins."""
    from cdpsync import project

    text = project.manifest_text(type_, session.project_folder())
    with stdout() as out:
        out.write(text)
