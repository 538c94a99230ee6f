"""The `.env` beside a project file: its variables, for this process and those that it starts."""

from __future__ import annotations

import io
import logging
import os
import re
from typing import TYPE_CHECKING

from cdpsync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

log = logging.getLogger("cdpsync.config")

NAME = ".env"
_LARGEST_FILE = 1 << 20  # bytes
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SINGLE_QUOTED = re.compile(r"[^=]*=[^\S\r\n]*'")
_BARE_EXPORT = re.compile(r"\s*export[^\S\r\n]+\S+\s*(?:#.*)?")


def use_env_file(file: Path) -> None:
    """Set the variables of a file that a user named. Raises ConfigError, without any value.

    A variable that the environment has already stays as it is.
    """
    try:
        _use(file)
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot be read ({error.strerror}); check its permissions, or correct "
            "--env-file"
        ) from None


def use_env_beside(folder: Path) -> None:
    """Set the variables of the `.env` in a project's folder, if there is one.

    One that this user cannot read counts as missing, because its secrets may be for the user who
    syncs, and to look at the lake needs none of them.
    """
    try:
        _use(folder / NAME)
    except FileNotFoundError:
        return
    except OSError as error:
        log.debug("%s: not read: %s", folder / NAME, error.strerror)


def _use(file: Path) -> None:
    with file.open("rb") as opened:
        data = opened.read(_LARGEST_FILE + 1)
    if len(data) > _LARGEST_FILE:
        raise ConfigError(f"{file}: larger than 1 MiB, so it is not a file of variables.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}:{line}: not UTF-8 text. Save the file as UTF-8.") from None
    for name, value in variables(text, str(file), os.environ).items():
        os.environ.setdefault(name, value)


def variables(text: str, file: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a `.env` file's text; of two with one name the last counts.

    The syntax is python-dotenv's. `${NAME}` and `${NAME:-default}` are replaced, except between
    single quotes: by the environment's value, or else by that of a line above. Raises ConfigError
    that names the line, without its text.
    """
    values: dict[str, str] = {}
    for name, value, line, is_literal in _assignments(text, file):
        known = {**values, **environ}
        values[name] = value if is_literal else _filled_in(value, known, f"{file}:{line}")
    return values


def _assignments(text: str, file: str) -> Iterator[tuple[str, str, int, bool]]:
    """Go through the assignments: name, value, line, and whether it is single-quoted."""
    from dotenv.parser import parse_stream

    for binding in parse_stream(io.StringIO(text)):
        original = binding.original.string
        line = binding.original.line + original[: len(original) - len(original.lstrip())].count(
            "\n"
        )
        if binding.error:
            raise ConfigError(
                f"{file}:{line}: cannot be read as NAME=value. Close its quotes, and put a value "
                "with quotes or line ends in quotes."
            )
        if binding.key is None or (binding.value is None and _BARE_EXPORT.fullmatch(original)):
            continue
        if binding.value is None or not _VARIABLE.fullmatch(binding.key):
            raise ConfigError(
                f"{file}:{line}: not of the form NAME=value. Put a value of several lines in "
                "quotes, and # before a comment."
            )
        if "\0" in binding.value:
            raise ConfigError(f"{file}:{line}: a variable cannot hold a NUL. Remove it.")
        yield binding.key, binding.value, line, bool(_SINGLE_QUOTED.match(original))


def _filled_in(value: str, known: Mapping[str, str], place: str) -> str:
    from dotenv.variables import Variable, parse_variables

    pieces = []
    for atom in parse_variables(value):
        if isinstance(atom, Variable):
            if atom.name not in known and atom.default is None:
                raise ConfigError(
                    f"{place}: a ${{…}} names a variable that is not set. Set it above, or put the "
                    "value in single quotes if it has no reference."
                )
            pieces.append(known.get(atom.name) or atom.default or "")
        else:
            pieces.append(atom.resolve({}))
    return "".join(pieces)
