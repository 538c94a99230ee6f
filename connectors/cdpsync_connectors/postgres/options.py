"""The options of a Postgres source in the project file."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from cdpsync.connector import DatabaseOptions
from cdpsync_connectors._shared.naming import matches, split_stream, table_of
from cdpsync_connectors._shared.options import Names, Seconds, null_as_word, parts_beside_url
from cdpsync_connectors.postgres.dsn import require_encoded_login
from cdpsync_connectors.postgres.parameters import split_framework_parameters


class PostgresOptions(DatabaseOptions):
    """The options of one Postgres source."""

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
    on_nan: Annotated[Literal["null", "error"], BeforeValidator(null_as_word)] = "null"
    connect_timeout: Annotated[int, Field(ge=1)] | None = None
    statement_timeout: Seconds | None = None
    lock_timeout: Annotated[Seconds, Field(ge=0)] = 60.0
    application_name: str = "cdpsync"
    max_connections: Annotated[int, Field(ge=1)] | None = None

    @property
    def omitted_schema(self) -> str:
        """The schema whose tables are named without it in the lake."""
        return self.default_schema

    def default_table(self, stream: str) -> str:
        """Return the name in the lake of a stream's table."""
        return table_of(stream, self.default_schema)

    def selects(self, stream: str) -> bool:
        """Whether `schemas` has the schema of a stream."""
        return matches(next(iter(split_stream(stream)), ""), self.schemas)

    @property
    def session_name(self) -> str:
        """The name of our sessions, with the prefix by which we recognise them.

        The prefix comes first, because Postgres cuts a long name at its end.
        """
        name = self.application_name
        return name if name.startswith("cdpsync") else f"cdpsync: {name}"

    @model_validator(mode="before")
    @classmethod
    def _take_framework_parameters(cls, values: object) -> object:
        """Take `schema` and `pgbouncer` out of the URL; a schema is what the source is read of."""
        if not isinstance(values, dict):
            return values
        taken: dict[str, object] = dict(values)
        for key in ("url", "replica"):
            url = taken.get(key)
            text = url.get_secret_value() if isinstance(url, SecretStr) else url
            if not isinstance(text, str):
                continue
            rest, schema = split_framework_parameters(text.strip())
            if rest != text:
                taken[key] = rest
            if schema is not None and key == "url":
                taken.setdefault("schemas", (schema,))
                taken.setdefault("default_schema", schema)
        return taken

    @field_validator("url", "replica")
    @classmethod
    def _is_an_address(cls, url: SecretStr | None) -> SecretStr | None:
        # An empty text is no address: libpq would connect to some server of this machine.
        text = None if url is None else url.get_secret_value().strip()
        if text is None or re.match(r"postgres(ql)?://", text) or re.match(r"\w+\s*=", text):
            require_encoded_login(text or "")
            return url
        raise ValueError("write postgresql://user:password@host:5432/database")

    @model_validator(mode="after")
    def _url_or_parts(self) -> PostgresOptions:
        parts = parts_beside_url(self)
        if self.url is None and not {"host", "database"} & set(parts):
            raise ValueError("give a url, or host, user, password and database")
        return self

    def parameters(self) -> dict[str, str]:
        """Return libpq's parameters; those in a URL stay in it, under the key `url`."""
        parts = {
            "host": self.host,
            "port": str(self.port) if self.port else None,
            "user": self.user,
            "password": self.password.get_secret_value() if self.password else None,
            "dbname": self.database,
        }
        return self._parameters(self.url, parts)

    def replica_parameters(self) -> dict[str, str]:
        """Return the replica's parameters: the primary's, but the URL and its parts are its own."""
        return self._parameters(self.replica, {})

    def _parameters(self, url: SecretStr | None, parts: dict[str, str | None]) -> dict[str, str]:
        parameters = {
            "url": url.get_secret_value().strip() if url else None,
            **parts,
            "sslmode": self.sslmode,
            "sslrootcert": self.sslrootcert,
            "connect_timeout": str(self.connect_timeout) if self.connect_timeout else None,
        }
        return {name: value for name, value in parameters.items() if value is not None}
