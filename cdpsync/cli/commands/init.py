"""`init`: a project to start from."""

from pathlib import Path
from typing import Annotated

import typer

from cdpsync.cli.commands.init_templates import IGNORED, starter
from cdpsync.cli.output import log
from cdpsync.cli.session import Session, command
from cdpsync.errors import ConfigError

_NEXT = """\
Next:
  edit {project}, and go there
  cdpsync check             are the source and the warehouse reached?
  cdpsync discover SOURCE   what is there?
  cdpsync run               sync
  cdpsync query "select …"  ask"""


@command(formats=None)
def init(
    session: Session,  # noqa: ARG001 - every command is given one
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to; made when it is not there.")
    ] = Path(),
    source: Annotated[
        str, typer.Option("--source", metavar="TYPE", help="postgres, files, or what is installed.")
    ] = "postgres",
) -> None:
    """Write a commented starter project. Nothing is ever overwritten."""
    from cdpsync.connector.registry import names

    if source not in names():
        raise ConfigError(f'unknown source type "{source}". Installed: {", ".join(names())}.')
    files = {folder / name: text for name, text in starter(source).items()}
    ignored = folder / ".gitignore"
    kept = ignored.exists() and files.pop(ignored)
    there = [str(path) for path in files if path.exists()]
    if there:
        raise ConfigError(f"{', '.join(there)}: already there, nothing was written.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
            log.info(f"wrote {path}", event="wrote", path=str(path))
    except OSError as error:
        raise ConfigError(
            f"{error.filename or folder}: cannot be written: {error.strerror}."
        ) from error
    if kept:
        log.warn(f"{ignored} is left as it is. It should hold: {'  '.join(IGNORED)}")
    log.info(_NEXT.format(project=folder / "cdpsync.yml"), event="next")
