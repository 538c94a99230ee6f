"""`${VAR}`, `${VAR:-default}`, `${file:/path}` and `$$`, filled in once."""

import re
from collections.abc import Mapping
from pathlib import Path

from cdpsync.config.paths import absolute
from cdpsync.redact import remember

_REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<inside>[^}]*)(?P<end>\}?))")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:-(.*))?", re.DOTALL)
_FILE = re.compile(r"file:(.+)", re.DOTALL)
_LARGEST_FILE = 1 << 20  # bytes; a secret is small, and a device would never end
_TELLING_LINE = 20  # characters; a shorter line of a key file says too little to be hidden


def interpolate(text: str, environ: Mapping[str, str], folder: Path) -> tuple[str, list[str]]:
    """Return the text with its references filled in, and what was wrong with any of them.

    What is put in is never looked at again. A dollar that begins no reference stays. Relative
    `${file:}` paths are taken from `folder`; the content loses its trailing newlines and is
    hidden from every message.
    """
    wrong: list[str] = []

    def fill(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        try:
            return _resolve(found, environ, folder)
        except _BadReferenceError as error:
            wrong.append(str(error))
            return ""

    return _REFERENCE.sub(fill, text), wrong


class _BadReferenceError(ValueError):
    """A reference that cannot be filled in."""


def _resolve(found: re.Match[str], environ: Mapping[str, str], folder: Path) -> str:
    pieces = found["inside"].split("$$")
    inside = "$".join(pieces)
    if found["end"] and not any("${" in piece for piece in pieces):
        if variable := _VARIABLE.fullmatch(inside):
            name, has_default, default = variable.groups()
            return environ.get(name) or default if has_default else _required(name, environ)
        if file := _FILE.fullmatch(inside):
            return _content(absolute(file[1], folder))
    raise _BadReferenceError(
        "a ${…} is not well formed. Write ${NAME}, ${NAME:-default} or ${file:/path}, "
        "none inside another, and $$ for a dollar sign"
    )


def _required(name: str, environ: Mapping[str, str]) -> str:
    if name not in environ:
        raise _BadReferenceError(
            f"the environment variable {name} is not set. Set it, or give a default as "
            "${NAME:-default}"
        )
    return environ[name]


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a path"
        raise _BadReferenceError(
            f"the file of a ${{file:…}} cannot be read ({why}): {path}. Correct the path, or its "
            "permissions"
        ) from None
    if len(data) > _LARGEST_FILE:
        raise _BadReferenceError(f"the file of a ${{file:…}} is larger than 1 MiB: {path}")
    try:
        content = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise _BadReferenceError(
            f"the file of a ${{file:…}} is not UTF-8 text: {path}. Save it as UTF-8"
        ) from None
    for line in content.splitlines():
        if len(line) >= _TELLING_LINE:
            remember(line)
    remember(content)
    return content
