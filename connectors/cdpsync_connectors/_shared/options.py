"""Option types that several sources share: durations, lists of names, URLs and their parts."""

from __future__ import annotations

import re
from typing import Annotated, Protocol

from pydantic import BeforeValidator, SecretStr

from cdpsync.redact import remember

_UNITS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


class UrlOptions(Protocol):
    """Options of a source that is addressed by a URL, or by its parts."""

    @property
    def url(self) -> SecretStr | None:
        """The URL as it was written."""


def seconds(value: object) -> object:
    """Parse `30`, `30s`, `5m` or `250ms` as seconds. Raises ValueError for anything else."""
    if value is None or isinstance(value, bool):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(value).strip())
    if not match or match[2] not in _UNITS:
        raise ValueError("write seconds, or a duration such as 30s, 5m or 250ms")
    return float(match[1]) * _UNITS[match[2]]


def _name_as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def null_as_word(value: object) -> object:
    """Return the word `null` for YAML's null."""
    return "null" if value is None else value


Seconds = Annotated[float, BeforeValidator(seconds)]

Names = Annotated[tuple[str, ...], BeforeValidator(_name_as_tuple)]
"""One name, or a list of names."""

NOT_ENCODED = (
    "the user or password in the URL has a character that must be percent-encoded "
    "(@ as %40, / as %2F, : as %3A, ? as %3F, # as %23)"
)


def hide_password(login: str) -> None:
    """Hide the password that a misspelt login may contain, as a whole and in each of its parts."""
    password = login.partition(":")[2] or login
    for secret in (password, login, *re.split(r"[/@?#:&=]", password)):
        remember(secret)


def parts_beside_url(options: UrlOptions) -> list[str]:
    """Return the parts of an address that are set. Raises ValueError for parts beside a URL."""
    parts = ("database", "host", "password", "port", "user")
    set_parts = [part for part in parts if getattr(options, part) is not None]
    if options.url is not None and set_parts:
        raise ValueError(f"give the url or its parts, not both: {', '.join(set_parts)}")
    return set_parts
