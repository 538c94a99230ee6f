"""Fills in `${VAR}`, `${VAR:-default}`, `${file:/path}` and `$$`, once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cdpsync.config.file_references import NotAllowedError, read_allowed
from cdpsync.config.paths import absolute
from cdpsync.redact import remember

_REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<inside>[^}]*)(?P<end>\}?))")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:-(.*))?", re.DOTALL)
_FILE = re.compile(r"file:(.+)", re.DOTALL)
FROM_OUTSIDE = "\0"
_SHORTEST_SECRET_LINE = 20  # characters; shorter lines of a key file are too common to hide


@dataclass(frozen=True, slots=True)
class Filled:
    """A text with its references filled in.

    `put_in` are the values that came from outside the file: variables' and files', not defaults.
    `own` is the text with `FROM_OUTSIDE` in the place of each of them. `wrong` has a message for
    each reference that could not be filled in. `is_malformed`: one of them is wrong in itself.
    """

    text: str
    own: str
    put_in: tuple[str, ...]
    wrong: tuple[str, ...]
    is_malformed: bool = False


def interpolate(text: str, environ: Mapping[str, str], folder: Path) -> Filled:
    """Return the text with its references filled in, and a message for each wrong one.

    A value is never interpolated again. A dollar that begins no reference stays. Relative
    `${file:}` paths start from `folder`; the content loses its trailing newlines and is hidden
    from every message.
    """
    filled, own, put_in, wrong = "", "", [], []
    at, is_malformed = 0, False
    for match in _REFERENCE.finditer(text):
        between = text[at : match.start()]
        value, is_own = "$", True
        if not match["dollar"]:
            try:
                value, is_own = _resolve(match, environ, folder)
            except _BadReferenceError as error:
                wrong.append(str(error))
                is_malformed = is_malformed or isinstance(error, _MalformedError)
                value = ""
        if not is_own:
            put_in.append(value)
        filled += between + value
        own += between + (value if is_own else FROM_OUTSIDE)
        at = match.end()
    return Filled(filled + text[at:], own + text[at:], tuple(put_in), tuple(wrong), is_malformed)


class _BadReferenceError(ValueError):
    """A reference that cannot be filled in."""


class _MalformedError(_BadReferenceError):
    """A reference that nothing outside the file could fill in."""


def _resolve(match: re.Match[str], environ: Mapping[str, str], folder: Path) -> tuple[str, bool]:
    """Return the value of a reference, and whether that is its default."""
    pieces = match["inside"].split("$$")
    inside = "$".join(pieces)
    if match["end"] and not any("${" in piece for piece in pieces):
        if variable := _VARIABLE.fullmatch(inside):
            name, has_default, default = variable.groups()
            if not has_default:
                return _required(name, environ), False
            value = environ.get(name)
            return (value, False) if value else (default, True)
        if file := _FILE.fullmatch(inside):
            return _content(absolute(file[1], folder), folder, environ), False
    raise _MalformedError(
        "a ${…} is not well formed. Write ${NAME}, ${NAME:-default} or ${file:/path}, "
        "none inside another, and $$ for a dollar sign"
    )


def _required(name: str, environ: Mapping[str, str]) -> str:
    if name not in environ:
        raise _BadReferenceError(
            f"the environment variable {name} is not set. Set it, here or in .env, or give a "
            "default as ${NAME:-default}"
        )
    return environ[name]


def _content(path: Path, folder: Path, environ: Mapping[str, str]) -> str:
    try:
        content = read_allowed(path, folder, environ).decode().rstrip("\r\n")
    except NotAllowedError as error:
        raise _BadReferenceError(str(error)) from None
    except UnicodeDecodeError:
        raise _BadReferenceError(
            f"the file of a ${{file:…}} is not UTF-8 text: {path}. Save it as UTF-8"
        ) from None
    for line in content.splitlines():
        if len(line) >= _SHORTEST_SECRET_LINE:
            remember(line)
    remember(content)
    return content
