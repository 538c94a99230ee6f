"""What the YAML may say of a Snowflake source."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
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
from cdpsync_connectors._shared.options import Names, seconds
from cdpsync_connectors.snowflake.catalog import plain_name


def _identifier(value: object) -> object:
    """Read a name as SQL does: without quotes it is upper case."""
    return plain_name(value) if isinstance(value, str) else value


WholeSeconds = Annotated[int, BeforeValidator(seconds), Field(ge=1)]


class ConnectOptions(BaseModel):
    """Where to connect to in place of `<account>.snowflakecomputing.com`: a proxy, a test server.

    What else stands here is handed to `snowflake.connector.connect` as it is.
    """

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    host: str | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    protocol: Literal["http", "https"] | None = None


class SnowflakeOptions(ConnectorOptions):
    """What the YAML says of a Snowflake source."""

    account: Annotated[str, Field(min_length=1)]
    user: str | None = None
    password: SecretStr | None = None
    private_key: SecretStr | None = None
    private_key_file: str | None = None
    passphrase: SecretStr | None = None
    token: SecretStr | None = None
    authenticator: Literal["externalbrowser"] | None = None
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

    @field_validator("account")
    @classmethod
    def _is_an_account(cls, account: str) -> str:
        if re.search(r"://|/|\.snowflakecomputing\.com", account, re.IGNORECASE):
            raise ValueError(
                "write the account identifier alone, as in myorg-myaccount, without https:// and "
                ".snowflakecomputing.com"
            )
        return account

    @field_validator("private_key_file")
    @classmethod
    def _absolute(cls, path: str | None, info: ValidationInfo) -> str | None:
        """Begin a relative path at the config file's folder."""
        if path is None:
            return None
        folder = Path((info.context or {}).get("folder") or Path.cwd()).absolute()
        return str(folder / Path(path).expanduser())

    @model_validator(mode="after")
    def _each_in_its_place(self) -> SnowflakeOptions:
        known = {*type(self).model_fields, "schema", "private_key_file_pwd", "passcode"}
        taken = sorted(known & set(self.connect_options.model_extra or {}))
        if taken:
            raise ValueError(f"{taken[0]} stands beside connect_options, not in it")
        return self

    @model_validator(mode="after")
    def _one_way_in(self) -> SnowflakeOptions:
        ways = ("password", "private_key", "private_key_file", "token", "authenticator")
        given = [way for way in ways if getattr(self, way) is not None]
        if len(given) != 1:
            said = f"not {' and '.join(given)}" if given else "none is given"
            raise ValueError(
                "give exactly one way to log in: password, private_key, private_key_file, token or "
                f"authenticator: externalbrowser; {said}"
            )
        if self.passphrase is not None and not given[0].startswith("private_key"):
            raise ValueError("passphrase opens a private key, and there is none")
        if self.user is None and given[0] != "token":
            raise ValueError(f"{given[0]} needs a user")
        return self

    @model_validator(mode="after")
    def _somewhere_to_look(self) -> SnowflakeOptions:
        if self.database is None and self.databases is None:
            raise ValueError("give a database, or databases as a list of globs")
        return self
