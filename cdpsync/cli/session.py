"""What an invocation is given besides its command's own arguments, and how it ends.

The global options stand here once; `command` adds them to every command, so that they work
before and after the command's name.
"""

import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import typer

from cdpsync.cli.output import log
from cdpsync.cli.output.log import LogFormat
from cdpsync.errors import CdpsyncError, ConfigError

if TYPE_CHECKING:
    from cdpsync.model import Config

INTERRUPTED = 130
_KEPT = "cdpsync"  # where the context keeps the options that stood before the command's name
_PANEL = "Global options"

P = ParamSpec("P")


stopping = threading.Event()
"""Set when the process is asked to end. The exception alone is not enough: DuckDB clears whatever
is raised while it looks for optional modules."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends what Ctrl-C ends, and the prompt of `query` too."""


class Format(StrEnum):
    """How `query` writes its answer."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    JSONL = "jsonl"
    MARKDOWN = "markdown"
    PARQUET = "parquet"


class ReportFormat(StrEnum):
    """How every other command writes what it found."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Session:
    """The global options of one invocation. `output` is None where none was asked for."""

    config_path: Path | None = None
    output: Format | None = None
    quiet: bool = False
    verbose: bool = False
    log_format: LogFormat = LogFormat.TEXT

    def config(self) -> "Config":
        """Load the project. Raises ConfigError.

        Whoever loads it opens its catalog next: DuckDB gets ready for it meanwhile.
        """
        from cdpsync import engine

        engine.preconnect(["ducklake"])
        from cdpsync import project

        return project.load(self.config_path)

    @property
    def format(self) -> Format:
        """The format asked for, or a table."""
        return self.output or Format.TABLE


def root_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a group's callback the global options; they are kept for the command that runs."""
    own = inspect.signature(function).parameters.values()
    options = _global_options(Format)

    @functools.wraps(function)
    def kept(ctx: typer.Context, **values: object) -> None:
        said = {option.name: values.pop(option.name) for option in options}
        ctx.ensure_object(dict).setdefault(_KEPT, {}).update(_given(said))
        function(**values)

    return _taking(kept, [_CONTEXT, *own, *options])


def command(
    formats: type[Format] | type[ReportFormat] | None = ReportFormat,
) -> Callable[[Callable[Concatenate[Session, P], int | None]], Callable[..., None]]:
    """Make a command of a function that takes a Session and returns its exit code, None for 0.

    `formats` are those of its data; None for a command that has none.
    """

    def decorate(
        function: Callable[Concatenate[Session, P], int | None],
    ) -> Callable[..., None]:
        _, *taken = inspect.signature(function).parameters.values()
        own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in taken]
        options = _global_options(formats)

        @functools.wraps(function)
        def ended(ctx: typer.Context, **values: object) -> None:
            said = {option.name: values.pop(option.name) for option in options}
            session = _session({**ctx.ensure_object(dict).get(_KEPT, {}), **_given(said)})
            with _narrated(session):
                _allow(session.output, formats)
                # typer made these values after the signature that it was shown.
                code = function(session, **values)  # type: ignore[arg-type, call-arg]
            if code:
                raise typer.Exit(code)

        return _taking(ended, [_CONTEXT, *own, *options])

    return decorate


_CONTEXT = inspect.Parameter(
    "ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
)


def _global_options(
    formats: type[Format] | type[ReportFormat] | None,
) -> list[inspect.Parameter]:
    def option(name: str, annotation: object, *flags: str, told: str) -> inspect.Parameter:
        info = typer.Option(*flags, help=told, rich_help_panel=_PANEL, show_default=False)
        return inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if annotation is bool else None,
            annotation=Annotated[annotation, info],
        )

    options = [
        option("config_path", Path | None, "-c", "--config", told="Project file or folder."),
        option("output", (formats or Format) | None, "-o", "--output", told="Format of the data."),
        option("quiet", bool, "-q", "--quiet", told="Say nothing but errors."),
        option("verbose", bool, "-v", "--verbose", told="Say more; show tracebacks."),
        option("log_format", LogFormat | None, "--log-format", told="Format of the narration."),
    ]
    return [one for one in options if formats is not None or one.name != "output"]


def _taking(
    function: Callable[..., None], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    """Let a function say to typer that it takes these parameters."""
    vars(function).pop("__wrapped__", None)
    vars(function)["__signature__"] = inspect.Signature(parameters)
    function.__annotations__ = {one.name: one.annotation for one in parameters}
    return function


def _given(said: dict[str, Any]) -> dict[str, Any]:  # Any: options of several types
    return {name: value for name, value in said.items() if value}


def _session(said: dict[str, Any]) -> Session:  # Any: options of several types
    output = said.get("output")
    return Session(**{**said, "output": output and Format(output.value)})


def _allow(output: Format | None, formats: type[Format] | type[ReportFormat] | None) -> None:
    """Refuse a format that stood before the command's name and is not the command's."""
    if output and formats and output.value not in {one.value for one in formats}:
        choices = ", ".join(one.value for one in formats)
        raise ConfigError(f"--output {output}: only `query` writes that. Choose from: {choices}.")


@contextmanager
def _narrated(session: Session) -> "Iterator[None]":
    """Narrate while the command runs, and turn whatever ends it into a message and a code."""
    with log.logging_to_stderr(session.log_format, quiet=session.quiet, verbose=session.verbose):
        try:
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
                "The same command again goes on from there.",
                event="interrupted",
            )
            raise typer.Exit(INTERRUPTED) from None
        except OSError as error:
            log.error(f"{error}.", type=type(error).__name__)
            log.trace(error)
            raise typer.Exit(1) from None
        except Exception as error:  # noqa: BLE001 - the last line of defence: said, with a code
            told = f"{type(error).__name__}: {error}".splitlines()[0]
            again = "" if session.verbose else " Run it again with -v to see where."
            log.error(f"this is a bug in cdpsync, please report it: {told}.{again}")
            log.trace(error)
            raise typer.Exit(1) from None
