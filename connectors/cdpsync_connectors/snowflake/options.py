"""The options of a Snowflake source in the project file."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cdpsync.connector import ConnectorOptions
from cdpsync_connectors._shared.naming import split_stream
from cdpsync_connectors._shared.options import Names, seconds
from cdpsync_connectors.snowflake.catalog import lake_name, plain_name
from cdpsync_connectors.snowflake.login import authenticator_of, require_one_method

if TYPE_CHECKING:
    from collections.abc import Iterable


def _identifier(value: object) -> object:
    """Return a name as SQL reads it: upper case, unless it is quoted."""
    return plain_name(value) if isinstance(value, str) else value


def matches_plain(name: str, globs: Iterable[str]) -> bool:
    """Whether a glob matches a name; one in lower case matches the name in upper case too."""
    return any(fnmatchcase(name, glob) or fnmatchcase(name, glob.upper()) for glob in globs)


def is_same(written: str, name: str | None) -> bool:
    """Whether a written part of a name is this one, or becomes it in upper case, as in SQL."""
    return name in {written, written.upper()}


WholeSeconds = Annotated[int, BeforeValidator(seconds), Field(ge=1)]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class ConnectOptions(BaseModel):
    """An address in place of `<account>.snowflakecomputing.com`, such as a proxy or a test server.

    Every other key is passed to `snowflake.connector.connect` unchanged.
    """

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    host: str | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    protocol: Literal["http", "https"] | None = None


class SnowflakeOptions(ConnectorOptions):
    """The options of one Snowflake source."""

    ignores_case: ClassVar[bool] = True

    account: Annotated[str, Field(min_length=1)]
    user: str | None = None
    password: SecretStr | None = None
    private_key: SecretStr | None = None
    private_key_file: str | None = None
    passphrase: SecretStr | None = None
    passcode: SecretStr | None = None
    token: SecretStr | None = None
    token_file: str | None = None
    authenticator: Annotated[str, AfterValidator(authenticator_of)] | None = None
    oauth_client_id: str | None = None
    oauth_client_secret: SecretStr | None = None
    oauth_token_request_url: str | None = None
    oauth_scope: str | None = None
    workload_identity_provider: Annotated[
        Literal["aws", "azure", "gcp", "oidc"] | None, BeforeValidator(_lower)
    ] = None
    workload_identity_entra_resource: str | None = None
    workload_identity_impersonation_path: Names | None = None
    role: str | None = None
    warehouse: str | None = None
    database: Annotated[str | None, BeforeValidator(_identifier)] = None
    schema_: Annotated[str, BeforeValidator(_identifier), Field(alias="schema")] = "PUBLIC"
    databases: Names | None = None
    schemas: Names | None = None
    query_tag: str = "cdpsync"
    statement_timeout: WholeSeconds | None = None
    connect_timeout: WholeSeconds = 30
    connect_options: ConnectOptions = ConnectOptions()

    def default_table(self, stream: str) -> str:
        """Return the name in the lake of a stream's table."""
        *database, schema, table = ("", "", *split_stream(stream))[-3:]
        in_default_database = not database[0] or is_same(database[0], self.database)
        if in_default_database and (not schema or is_same(schema, self.schema_)):
            return lake_name([table])
        return lake_name([schema, table] if in_default_database else [*database, schema, table])

    def selects(self, stream: str) -> bool:
        """Whether the database and the schema of a stream are among those that are read."""
        database, schema, _ = ("", "", *split_stream(stream))[-3:]
        database = database or self.database or ""
        has_database = (
            database == self.database
            if self.databases is None
            else matches_plain(database, self.databases)
        )
        return has_database and (self.schemas is None or matches_plain(schema, self.schemas))

    @field_validator("account")
    @classmethod
    def _is_an_account(cls, account: str) -> str:
        if re.search(r"://|/|\.snowflakecomputing\.com", account, re.IGNORECASE):
            raise ValueError(
                "write the account identifier alone, as in myorg-myaccount, without https:// and "
                ".snowflakecomputing.com"
            )
        return account

    @field_validator("private_key_file", "token_file")
    @classmethod
    def _absolute(cls, path: str | None, info: ValidationInfo) -> str | None:
        """Resolve a relative path against the config file's folder."""
        if path is None:
            return None
        folder = Path((info.context or {}).get("folder") or Path.cwd()).absolute()
        return str(folder / Path(path).expanduser())

    @model_validator(mode="after")
    def _no_option_in_connect_options(self) -> SnowflakeOptions:
        driver_names = {
            "schema",
            "private_key_file_pwd",
            "private_key_passphrase",
            "token_file_path",
        }
        options = set(type(self).model_fields) | driver_names
        misplaced = sorted(options & set(self.connect_options.model_extra or {}))
        if misplaced:
            raise ValueError(f"{misplaced[0]} belongs beside connect_options, not in it")
        return self

    @model_validator(mode="after")
    def _exactly_one_login(self) -> SnowflakeOptions:
        given = {name for name in type(self).model_fields if getattr(self, name) is not None}
        require_one_method(given, self.authenticator, self.workload_identity_provider)
        return self

    @model_validator(mode="after")
    def _has_databases(self) -> SnowflakeOptions:
        if self.database is None and self.databases is None:
            raise ValueError("give a database, or databases as a list of globs")
        return self
