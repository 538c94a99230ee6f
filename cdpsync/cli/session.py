"""One invocation of the command line: its global options, and its end with a message and a code."""

import os
import threading
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cdpsync.cli.formats import Format
from cdpsync.cli.output import log
from cdpsync.cli.output.log import LogFormat
from cdpsync.errors import CdpsyncError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdpsync.model import Config

INTERRUPTED = 130


stopping = threading.Event()
"""Set when the process is asked to end. The exception alone is not enough, because DuckDB clears
any exception that is raised while it looks for optional modules."""


working = threading.Event()
"""Set when a command begins to work. Before, an interrupt ends the process at once."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a command as Ctrl-C does, and the prompt of `query` too."""


@dataclass(frozen=True, slots=True)
class Session:
    """The global options of one invocation. `output` is None where `--output` was not given."""

    config_path: Path | None = None
    directory: Path | None = None
    env_file: Path | None = None
    output: Format | None = None
    quiet: bool = False
    verbose: bool = False
    log_format: LogFormat = LogFormat.TEXT

    def config(self) -> "Config":
        """Load the project. Raises ConfigError.

        DuckDB gets ready meanwhile, because a command opens the project's catalog next.
        """
        from cdpsync import engine

        engine.preconnect(["ducklake"])
        from cdpsync import project

        self._use_env_beside_the_project()
        return project.load(self.config_path)

    def project_folder(self) -> Path | None:
        """Return the folder of the project file; None where there is no project."""
        from cdpsync.config.locate import project_folder

        return project_folder(self.config_path)

    def _use_env_beside_the_project(self) -> None:
        """Set the variables of the project's `.env`, unless another file was named."""
        from cdpsync.config.env_file import use_env_beside
        from cdpsync.config.locate import project_folder

        folder = None if self.env_file else project_folder(self.config_path)
        if folder is not None:
            use_env_beside(folder)

    @contextmanager
    def started(self) -> "Iterator[None]":
        """Work in the folder of `-C`, with the variables of `--env-file`. Raises ConfigError."""
        with chdir(self._existing_directory()) if self.directory else nullcontext():
            if self.env_file is not None:
                from cdpsync.config.env_file import use_env_file

                use_env_file(self.env_file)
            yield

    def _existing_directory(self) -> Path:
        folder = self.directory or Path()
        if not (folder.is_dir() and os.access(folder, os.X_OK)):
            raise ConfigError(f"-C {folder}: not a folder that can be entered. Correct the path.")
        return folder

    @property
    def format(self) -> Format:
        """The format of `--output`; a table without it."""
        return self.output or Format.TABLE


@contextmanager
def logged(session: Session) -> "Iterator[None]":
    """Log to stderr while a command runs; turn any exception into a message and an exit code."""
    with log.logging_to_stderr(session.log_format, quiet=session.quiet, verbose=session.verbose):
        try:
            working.set()
            yield
        except (typer.Exit, typer.Abort):
            raise
        except CdpsyncError as error:
            log.error(error.message, type=type(error).__name__)
            log.trace(error)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            log.error(
                "interrupted; what was committed stays, nothing is half committed. "
                "Run the same command again to continue.",
                event="interrupted",
            )
            raise typer.Exit(INTERRUPTED) from None
        except OSError as error:
            log.error(f"{error}.", type=type(error).__name__)
            log.trace(error)
            raise typer.Exit(1) from None
        except Exception as error:  # noqa: BLE001 - the last line of defence: a message and a code
            from cdpsync.connector.faults import code_fault

            fault = code_fault(error)
            summary = f"{type(error).__name__}: {error}".splitlines()[0]
            hint = "" if session.verbose else " Run it again with -v to see where."
            log.error(
                fault.message
                if fault
                else f"this is a bug in cdpsync, please report it: {summary}.{hint}"
            )
            log.trace(error)
            raise typer.Exit(1) from None
