"""The options of a source that runs a program: which one, on which Python, with which values."""

from __future__ import annotations

import re
import shlex
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator

from cdpsync.connector import ConnectorOptions
from cdpsync.redact import remember
from cdpsync_connectors._shared.options import Names, Seconds  # noqa: TC001 - pydantic needs them

_PYTHON = r"^3\.\d{1,2}(\.\d{1,2})?$"
_REQUIREMENT = r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._, -]+\])?\s*([<>=!~][^;\s]*)?$"
_PLAIN = re.compile(r"[a-z][a-z_./-]{0,40}|https?://[^@?\s]*")
"""Words in lower case, names of streams among them, and addresses without a login."""

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}([T ][\d:.]+(Z|[+-]\d{2}:?\d{2})?)?")

Requirement = Annotated[str, Field(pattern=_REQUIREMENT)]
"""A package of PyPI, with or without versions; no URL, because a lock could not hold it fast."""


class ProgramOptions(ConnectorOptions):
    """Keys that sources have in common that run a program.

    `config` is the program's own. Its texts count as secrets: see `remember_texts`.
    """

    follows_changes: ClassVar[bool] = True
    follows_states: ClassVar[bool] = True

    command: str | None = Field(default=None, min_length=1)
    with_: Annotated[Names, Field(alias="with")] = ()
    python: Annotated[str, BeforeValidator(str), Field(pattern=_PYTHON)] | None = None
    as_of: date | None = None
    config: Annotated[dict[str, Any], Field(repr=False)] = Field(default_factory=dict)
    silence: Annotated[Seconds, Field(gt=0)] = 900.0

    _folder: Path = PrivateAttr(default_factory=Path)

    @field_validator("with_")
    @classmethod
    def _are_requirements(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not re.match(_REQUIREMENT, name):
                raise ValueError(f'"{name}" is not a package of PyPI, such as six or setuptools<81')
        return names

    @field_validator("config", mode="before")
    @classmethod
    def _is_json(cls, config: object) -> object:
        remember_texts(config)
        return _as_json(config)

    def model_post_init(self, context: object) -> None:
        """Keep the folder from which relative paths start."""
        if isinstance(context, dict) and context.get("folder"):
            self._folder = Path(context["folder"])

    @property
    def folder(self) -> Path:
        """The folder of the project file."""
        return self._folder


def remember_texts(value: object) -> None:
    """Hide each text in a configuration from now on, except for days, plain words and addresses.

    What stands under a key that sounds secret is hidden in any case, as in every project file.
    """
    if isinstance(value, dict):
        for item in value.values():
            remember_texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            remember_texts(item)
    elif isinstance(value, str) and not (_DAY.fullmatch(value) or _PLAIN.fullmatch(value)):
        remember(value)


def _as_json(value: object) -> object:
    """Return a value of YAML as JSON has it: days and times are texts."""
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return value.isoformat() if isinstance(value, date | datetime) else value


def command_line(command: str, folder: Path) -> tuple[str, ...]:
    """Return a command as its arguments; a relative path of the program starts at `folder`."""
    program, *arguments = shlex.split(command)
    if "/" in program:
        program = str((folder / Path(program).expanduser()).absolute())
    return program, *arguments


def program_name(command: tuple[str, ...]) -> str:
    """Return the name of a command for messages: that of the script, where Python runs one."""
    first, *others = command
    is_python = Path(first).name.startswith("python") and bool(others)
    return Path(others[0] if is_python and not others[0].startswith("-") else first).name
