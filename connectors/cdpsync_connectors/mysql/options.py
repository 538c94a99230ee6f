"""What the YAML may say of a MySQL or MariaDB source."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from cdpsync.connector import ConnectorOptions, DatabaseOptions
from cdpsync.redact import remember
from cdpsync_connectors._shared.options import Names, Seconds, null_is_a_word

_FORM = "write mysql://user:password@host:3306/database"
SslMode = Literal["disabled", "preferred", "required", "verify_ca", "verify_identity"]
_OF_QUERY = {"ssl_mode": "ssl_mode", "ssl_ca": "ssl_ca", "connect_timeout": "connect_timeout"}


def _mode(value: object) -> object:
    return value.lower().replace("-", "_") if isinstance(value, str) else value


class MysqlOptions(DatabaseOptions):
    """What the YAML says of a MySQL or MariaDB source."""

    url: SecretStr | None = None
    host: str | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    user: str | None = None
    password: SecretStr | None = None
    database: str | None = None
    ssl_mode: Annotated[SslMode | None, BeforeValidator(_mode)] = None
    ssl_ca: str | None = None
    schemas: Names | None = None
    zero_dates: Annotated[Literal["null", "error"], BeforeValidator(null_is_a_word)] = "error"
    connect_timeout: Annotated[int, Field(ge=1)] | None = None
    statement_timeout: Annotated[Seconds, Field(gt=0)] | None = None

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            _parse(url.get_secret_value().strip())
        return url

    @model_validator(mode="after")
    def _url_or_parts(self) -> MysqlOptions:
        parts = {"host", "port", "user", "password", "database"}
        given = sorted(part for part in parts if getattr(self, part) is not None)
        if self.url is not None and given:
            raise ValueError(f"give the url or its parts, not both: {', '.join(given)}")
        if self.url is None and self.host is None:
            raise ValueError("give a url, or host, user, password and database")
        return self

    def address(self) -> Address:
        """Return where the server is and who we are there."""
        said = _parse(self.url.get_secret_value().strip()) if self.url else {}
        given = {name: getattr(self, name) for name in ("host", "port", "user", "database")}
        given |= {"ssl_mode": self.ssl_mode, "ssl_ca": self.ssl_ca}
        given["connect_timeout"] = self.connect_timeout
        given["password"] = self.password.get_secret_value() if self.password else None
        said |= {name: value for name, value in given.items() if value is not None}
        if "ssl_ca" in said:  # who names an authority wants the server verified
            said.setdefault("ssl_mode", "verify_identity")
        return Address(**said)


class Address(ConnectorOptions):
    """A server, a user and a default database, from a URL or from its parts."""

    host: str = "localhost"
    port: int = 3306
    user: str = ""
    password: SecretStr = SecretStr("")
    database: str | None = None
    ssl_mode: Annotated[SslMode, BeforeValidator(_mode)] = "preferred"
    ssl_ca: str | None = None
    connect_timeout: Annotated[int, Field(ge=1)] = 10

    @property
    def place(self) -> str:
        """Where this is, as `host:port/database`."""
        return f"{self.host}:{self.port}" + (f"/{self.database}" if self.database else "")


def _parse(url: str) -> dict[str, Any]:  # of what `Address` takes
    """Take a URL apart. Raises ValueError, without a piece of the URL, for what is not one."""
    found = re.fullmatch(r"(?:mysql|mariadb)(?:\+\w+)?://(.*)", url, re.DOTALL)
    if not found:
        raise ValueError(_FORM)
    authority, _, rest = found[1].partition("/")
    query = urlsplit(f"//{found[1]}").query
    if "@" in rest.partition("?")[0] or authority.count("@") > 1 or re.search("[?#]", authority):
        _hide(found[1].rpartition("@")[0])
        raise ValueError(
            "the user or password in the URL has a character that must be percent-encoded "
            "(@ as %40, / as %2F, : as %3A, ? as %3F, # as %23)"
        )
    person, _, host = authority.rpartition("@")
    place = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]*)(?::(\d{1,5}))?", host)
    if not place:
        _hide(authority)
        raise ValueError(_FORM)
    user, _, password = person.partition(":")
    remember(unquote(password))
    said = {
        "host": place[1].strip("[]") or None,
        "port": int(place[2]) if place[2] else None,
        "user": unquote(user) or None,
        "password": unquote(password) or None,
        "database": unquote(rest.partition("?")[0].rstrip("/")) or None,
        **_parameters(query),
    }
    return {name: value for name, value in said.items() if value is not None}


def _parameters(query: str) -> dict[str, str]:
    said = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        known = name.lower().replace("-", "_")
        if known == "charset":  # the session's is always utf8mb4, which holds every other
            continue
        if known not in _OF_QUERY:
            raise ValueError(
                f'the URL has "{name}", which is not known. Known: ssl-mode, ssl-ca, '
                "connect_timeout, charset"
            )
        said[_OF_QUERY[known]] = value
    return said


def _hide(text: str) -> None:
    """Hide the password that a person may have meant, as a whole and in each of its pieces."""
    password = text.partition(":")[2] or text
    for secret in (password, text, *re.split(r"[/@?#:&=]", password)):
        remember(secret)
