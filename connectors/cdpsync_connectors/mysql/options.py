"""The options of a MySQL or MariaDB source in the project file."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from cdpsync.connector import ConnectorOptions, DatabaseOptions
from cdpsync.redact import remember
from cdpsync_connectors._shared.options import (
    NOT_ENCODED,
    Names,
    Seconds,
    hide_password,
    null_as_word,
    parts_beside_url,
)

_FORM = "write mysql://user:password@host:3306/database"
SslMode = Literal["disabled", "preferred", "required", "verify_ca", "verify_identity"]
_URL_PARAMETERS = {"ssl_mode", "ssl_ca", "connect_timeout"}


def _mode(value: object) -> object:
    return value.lower().replace("-", "_") if isinstance(value, str) else value


class MysqlOptions(DatabaseOptions):
    """The options of one MySQL or MariaDB source."""

    url: SecretStr | None = None
    host: str | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    user: str | None = None
    password: SecretStr | None = None
    database: str | None = None
    ssl_mode: Annotated[SslMode | None, BeforeValidator(_mode)] = None
    ssl_ca: str | None = None
    schemas: Names | None = None
    zero_dates: Annotated[Literal["null", "error"], BeforeValidator(null_as_word)] = "error"
    connect_timeout: Annotated[int, Field(ge=1)] | None = None
    statement_timeout: Annotated[Seconds, Field(gt=0)] | None = None
    lock_timeout: Annotated[Seconds, Field(ge=1)] = 60

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            _parse(url.get_secret_value().strip())
        return url

    @model_validator(mode="after")
    def _url_or_parts(self) -> MysqlOptions:
        parts_beside_url(self)
        if self.url is None and self.host is None:
            raise ValueError("give a url, or host, user, password and database")
        return self

    def address(self) -> Address:
        """Return the server's address and the login, from the URL and from the other options."""
        values = _parse(self.url.get_secret_value().strip()) if self.url else {}
        names = ("host", "port", "user", "database", "ssl_mode", "ssl_ca", "connect_timeout")
        options = {name: getattr(self, name) for name in names}
        options["password"] = self.password.get_secret_value() if self.password else None
        values |= {name: value for name, value in options.items() if value is not None}
        if "ssl_ca" in values:  # a user who names an authority wants the server verified
            values.setdefault("ssl_mode", "verify_identity")
        return Address(**values)


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
    def location(self) -> str:
        """The server's address, as `host:port/database`."""
        return f"{self.host}:{self.port}" + (f"/{self.database}" if self.database else "")


def _parse(url: str) -> dict[str, Any]:  # the values of `Address`, of several types
    """Return the parts of a URL. Raises ValueError, without any of its text, if it is not one."""
    match = re.fullmatch(r"(?:mysql|mariadb)(?:\+\w+)?://(.*)", url, re.DOTALL)
    if not match:
        raise ValueError(_FORM)
    address = match[1]
    authority, _, path_and_query = address.partition("/")
    path = path_and_query.partition("?")[0]
    if "@" in path or authority.count("@") > 1 or re.search("[?#]", authority):
        hide_password(address.rpartition("@")[0])
        raise ValueError(NOT_ENCODED)
    login, _, host_and_port = authority.rpartition("@")
    host = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]*)(?::(\d{1,5}))?", host_and_port)
    if not host:
        hide_password(authority)
        raise ValueError(_FORM)
    user, _, password = login.partition(":")
    remember(unquote(password))
    values = {
        "host": host[1].strip("[]") or None,
        "port": int(host[2]) if host[2] else None,
        "user": unquote(user) or None,
        "password": unquote(password) or None,
        "database": unquote(path.rstrip("/")) or None,
        **_parameters(urlsplit(f"//{address}").query),
    }
    return {name: value for name, value in values.items() if value is not None}


def _parameters(query: str) -> dict[str, str]:
    parameters = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        parameter = name.lower().replace("-", "_")
        if parameter == "charset":  # the session's is always utf8mb4, which contains every other
            continue
        if parameter not in _URL_PARAMETERS:
            raise ValueError(
                f'the URL has an unknown parameter "{name}". Known: ssl-mode, ssl-ca, '
                "connect_timeout, charset"
            )
        parameters[parameter] = value
    return parameters
