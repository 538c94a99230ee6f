"""Global options, which work before and after a command's name.

They are declared here once; `command` adds them to every command.
"""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from cdpsync.cli.formats import Format, ReportFormat
from cdpsync.cli.output.log import LogFormat
from cdpsync.cli.session import Session, logged
from cdpsync.errors import ConfigError

_CONTEXT_KEY = "cdpsync"  # the context holds the options before the command's name under it
_PANEL = "Global options"

P = ParamSpec("P")


def root_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a group's callback the global options, and keep them for the command that runs."""
    own = inspect.signature(function).parameters.values()
    options = _global_options(Format)

    @functools.wraps(function)
    def wrapper(ctx: typer.Context, **values: object) -> None:
        global_values = {option.name: values.pop(option.name) for option in options}
        ctx.ensure_object(dict).setdefault(_CONTEXT_KEY, {}).update(_without_empty(global_values))
        function(**values)

    return _with_parameters(wrapper, [_CONTEXT, *own, *options])


def command(
    formats: type[Format] | type[ReportFormat] | None = ReportFormat,
) -> Callable[[Callable[Concatenate[Session, P], int | None]], Callable[..., None]]:
    """Make a command of a function that takes a Session and returns its exit code, None for 0.

    `formats` are those of its data; None for a command that writes none.
    """

    def decorate(
        function: Callable[Concatenate[Session, P], int | None],
    ) -> Callable[..., None]:
        _, *parameters = inspect.signature(function).parameters.values()
        own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        options = _global_options(formats)

        @functools.wraps(function)
        def wrapper(ctx: typer.Context, **values: object) -> None:
            global_values = {option.name: values.pop(option.name) for option in options}
            before_name = ctx.ensure_object(dict).get(_CONTEXT_KEY, {})
            session = _session({**before_name, **_without_empty(global_values)})
            with logged(session), session.started():
                _check_format(session.output, formats)
                # typer made these values after the signature that it was shown.
                code = function(session, **values)  # type: ignore[arg-type, call-arg]
            if code:
                raise typer.Exit(code)

        return _with_parameters(wrapper, [_CONTEXT, *own, *options])

    return decorate


_CONTEXT = inspect.Parameter(
    "ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
)


def _global_options(
    formats: type[Format] | type[ReportFormat] | None,
) -> list[inspect.Parameter]:
    def option(
        name: str, annotation: object, *flags: str, text: str, metavar: str | None = None
    ) -> inspect.Parameter:
        info = typer.Option(
            *flags, help=text, rich_help_panel=_PANEL, show_default=False, metavar=metavar
        )
        return inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if annotation is bool else None,
            annotation=Annotated[annotation, info],
        )

    options = [
        option("config_path", Path | None, "-c", "--config", text="Project file or folder."),
        option("directory", Path | None, "-C", text="Work in this folder.", metavar="DIR"),
        option(
            "env_file",
            Path | None,
            "--env-file",
            text="Variables, in place of .env.",
            metavar="FILE",
        ),
        option("output", (formats or Format) | None, "-o", "--output", text="Format of the data."),
        option("quiet", bool, "-q", "--quiet", text="Log errors only."),
        option("verbose", bool, "-v", "--verbose", text="Log more; show tracebacks."),
        option("log_format", LogFormat | None, "--log-format", text="Format of the log lines."),
    ]
    return [parameter for parameter in options if formats is not None or parameter.name != "output"]


def _with_parameters(
    function: Callable[..., None], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    """Let a function declare to typer that it takes these parameters."""
    vars(function).pop("__wrapped__", None)
    vars(function)["__signature__"] = inspect.Signature(parameters)
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return function


def _without_empty(values: dict[str, Any]) -> dict[str, Any]:  # Any: options of several types
    return {name: value for name, value in values.items() if value}


def _session(values: dict[str, Any]) -> Session:  # Any: options of several types
    output = values.get("output")
    return Session(**{**values, "output": output and Format(output.value)})


def _check_format(output: Format | None, formats: type[Format] | type[ReportFormat] | None) -> None:
    """Refuse a format that was given before the command's name and that the command lacks."""
    if output and formats and output.value not in {format_.value for format_ in formats}:
        choices = ", ".join(format_.value for format_ in formats)
        raise ConfigError(f"--output {output}: only `query` writes that. Choose from: {choices}.")
