"""The command `init`: a project to start from."""

from pathlib import Path
from typing import Annotated

import typer

from cdpsync.cli.commands.init_templates import IGNORED, starter
from cdpsync.cli.options import command
from cdpsync.cli.output import log
from cdpsync.cli.session import Session
from cdpsync.errors import ConfigError

_NEXT = """\
Next:
  edit {project}, and change to its folder
  copy .env.example to .env, and put the secrets into it: every command reads it
  cdpsync check             connect to the source and the warehouse
  cdpsync discover SOURCE   list the streams of a source
  cdpsync run               sync
  cdpsync query "select …"  query the lake"""


@command(formats=None)
def init(
    session: Session,  # noqa: ARG001 - every command takes one
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the project; created if missing.")
    ] = Path(),
    source: Annotated[
        str,
        typer.Option("--source", metavar="TYPE", help="postgres, files or another installed type."),
    ] = "postgres",
) -> None:
    """Write a commented starter project. It never overwrites a file."""
    from cdpsync.connector.registry import names
    from cdpsync.project import manifest_of

    if source not in names():
        raise ConfigError(f'unknown source type "{source}". Installed: {", ".join(names())}.')
    files = {folder / name: text for name, text in starter(source, manifest_of(source)).items()}
    gitignore = folder / ".gitignore"
    keeps_gitignore = gitignore.exists() and files.pop(gitignore)
    existing = [str(path) for path in files if path.exists()]
    if existing:
        raise ConfigError(
            f"{', '.join(existing)}: exists already. Nothing was written. Give another folder."
        )
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
    if keeps_gitignore:
        log.warn(f"{gitignore} was not changed. Add to it: {'  '.join(IGNORED)}")
    log.info(_NEXT.format(project=folder / "cdpsync.yml"), event="next")
