"""What the YAML may say of a Postgres source."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from cdpsync.connector import DatabaseOptions
from cdpsync_connectors._shared.options import Names, Seconds, null_is_a_word
from cdpsync_connectors.postgres.dsn import refuse_bare_characters


class PostgresOptions(DatabaseOptions):
    """What the YAML says of a Postgres source."""

    url: SecretStr | None = None
    replica: SecretStr | None = None
    host: str | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    user: str | None = None
    password: SecretStr | None = None
    database: str | None = None
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = (
        None
    )
    sslrootcert: str | None = None
    schemas: Names | None = None
    default_schema: str = "public"
    on_nan: Annotated[Literal["null", "error"], BeforeValidator(null_is_a_word)] = "null"
    connect_timeout: Annotated[int, Field(ge=1)] = 10
    statement_timeout: Seconds | None = None
    application_name: str = "cdpsync"

    @property
    def omitted_schema(self) -> str:
        """The schema whose tables are named without it in the lake."""
        return self.default_schema

    @field_validator("url", "replica")
    @classmethod
    def _is_an_address(cls, url: SecretStr | None) -> SecretStr | None:
        text = url.get_secret_value().strip() if url else None
        if text is None or re.match(r"postgres(ql)?://", text) or re.match(r"\w+\s*=", text):
            refuse_bare_characters(text or "")
            return url
        raise ValueError("write postgresql://user:password@host:5432/database")

    @model_validator(mode="after")
    def _url_or_parts(self) -> PostgresOptions:
        parts = {"host", "port", "user", "password", "database"}
        given = sorted(part for part in parts if getattr(self, part) is not None)
        if self.url is not None and given:
            raise ValueError(f"give the url or its parts, not both: {', '.join(given)}")
        if self.url is None and not {"host", "database"} & set(given):
            raise ValueError("give a url, or host, user, password and database")
        return self

    def parameters(self) -> dict[str, str]:
        """Return libpq's parameters; those of a URL still stand in it, under `url`."""
        parts = {
            "host": self.host,
            "port": str(self.port) if self.port else None,
            "user": self.user,
            "password": self.password.get_secret_value() if self.password else None,
            "dbname": self.database,
        }
        return self._parameters(self.url, parts)

    def replica_parameters(self) -> dict[str, str]:
        """Return those of the replica, which has the primary's way to connect but for its URL."""
        return self._parameters(self.replica, {})

    def _parameters(self, url: SecretStr | None, parts: dict[str, str | None]) -> dict[str, str]:
        said = {
            "url": url.get_secret_value().strip() if url else None,
            **parts,
            "sslmode": self.sslmode,
            "sslrootcert": self.sslrootcert,
            "connect_timeout": str(self.connect_timeout),
            "application_name": _ours(self.application_name),
        }
        return {name: value for name, value in said.items() if value is not None}


def _ours(name: str) -> str:
    """Return a session's name so that no writer has it; a long one is cut at its end."""
    return name if name.startswith("cdpsync") else f"cdpsync: {name}"
