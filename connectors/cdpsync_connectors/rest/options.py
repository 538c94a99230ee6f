"""The keys of a source of `type: rest`, and of a manifest."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from cdpsync.connector import ConnectorOptions
from cdpsync.errors import suggest
from cdpsync_connectors._shared.options import Names, Seconds  # noqa: TC001 - pydantic needs it
from cdpsync_connectors._shared.rates import Rate  # noqa: TC001 - pydantic needs it

_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
_METHODS = Literal["GET", "POST"]


class OptionSection(BaseModel):
    """Base of the sections: an unknown key is an error that names the nearest one."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True
    )

    @model_validator(mode="before")
    @classmethod
    def _has_known_keys(cls, value: object) -> object:
        keys = [field.alias or name for name, field in cls.model_fields.items()]
        for key in value if isinstance(value, dict) else ():
            if key not in keys and key not in cls.model_fields:
                near = suggest(str(key), keys)
                advice = f'Did you mean "{near}"?' if near else f"There are: {', '.join(keys)}"
                raise ValueError(f'unknown key "{key}". {advice}')
        return value


class BearerAuth(OptionSection):
    """A token in the header `Authorization`."""

    type: Literal["bearer"]
    token: SecretStr
    prefix: str = "Bearer"


class BasicAuth(OptionSection):
    """A user and a password."""

    type: Literal["basic"]
    username: SecretStr
    password: SecretStr = SecretStr("")


class ApiKeyAuth(OptionSection):
    """A key in a header or in the query."""

    type: Literal["api_key"]
    key: SecretStr
    name: str = "X-API-Key"
    place: Annotated[Literal["header", "query"], Field(alias="in")] = "header"


class _OAuth(OptionSection):
    token_url: str
    client_id: SecretStr
    client_secret: SecretStr = SecretStr("")
    scope: str | None = None
    fields: dict[str, str] = Field(default_factory=dict)
    client_auth: Literal["body", "basic"] = "body"

    @field_validator("token_url")
    @classmethod
    def _is_an_address(cls, address: str) -> str:
        return require_address(address)


class ClientCredentials(_OAuth):
    """OAuth for a client of its own."""

    type: Literal["oauth_client_credentials"]


class RefreshToken(_OAuth):
    """OAuth for a user who authorised a client."""

    type: Literal["oauth_refresh_token"]
    refresh_token: SecretStr


def _require_type(value: object, *classes: type[BaseModel]) -> object:
    """Return a section whose type is that of a class. Raises ValueError naming the nearest."""
    if not isinstance(value, dict):
        return value
    types = [get_args(class_.model_fields["type"].annotation)[0] for class_ in classes]
    type_ = value.get("type")
    if type_ not in types:
        near = suggest(str(type_), types) if type_ is not None else None
        advice = f'Did you mean "{near}"?' if near else f"There are: {', '.join(types)}"
        found = '"type" is missing' if type_ is None else f'unknown type "{type_}"'
        raise ValueError(f"{found}. {advice}")
    return value


def _auth(value: object) -> object:
    return _require_type(value, BearerAuth, BasicAuth, ApiKeyAuth, ClientCredentials, RefreshToken)


AuthOptions = Annotated[
    BearerAuth | BasicAuth | ApiKeyAuth | ClientCredentials | RefreshToken,
    Field(discriminator="type"),
    BeforeValidator(_auth),
]


class SinglePageOptions(OptionSection):
    """One page."""

    type: Literal["single_page"]


class HeaderLinkOptions(OptionSection):
    """A next page in the header `Link`."""

    type: Literal["header_link"]
    rel: str = "next"


class JsonLinkOptions(OptionSection):
    """A next page's address in the answer."""

    type: Literal["json_link"]
    next: str = "next"
    has_more: str | None = None
    end: str | None = None


class _Param(OptionSection):
    place: Annotated[Literal["query", "body"], Field(alias="in")] = "query"


class CursorOptions(_Param):
    """A token of the next page in the answer."""

    type: Literal["cursor"]
    next: str
    param: str
    has_more: str | None = None
    end: str | None = None
    until_empty: bool = False


class PageNumberOptions(_Param):
    """Numbered pages."""

    type: Literal["page_number"]
    param: str = "page"
    start: int = 1
    size_param: str | None = None
    size: Annotated[int, Field(ge=1)] | None = None
    pages: str | None = None
    count: str | None = None


class OffsetOptions(_Param):
    """Pages that begin at a number of records."""

    type: Literal["offset"]
    param: str = "offset"
    limit_param: str | None = "limit"
    limit: Annotated[int, Field(ge=1)] | None = 100
    count: str | None = None


class LastRecordOptions(_Param):
    """Pages that begin behind a record."""

    type: Literal["last_record"]
    param: str
    field: str = "id"
    has_more: str | None = None


def _paginator(value: object) -> object:
    section = {"type": value} if isinstance(value, str) else value
    return _require_type(
        section,
        SinglePageOptions,
        HeaderLinkOptions,
        JsonLinkOptions,
        CursorOptions,
        PageNumberOptions,
        OffsetOptions,
        LastRecordOptions,
    )


PaginatorOptions = Annotated[
    SinglePageOptions
    | HeaderLinkOptions
    | JsonLinkOptions
    | CursorOptions
    | PageNumberOptions
    | OffsetOptions
    | LastRecordOptions,
    Field(discriminator="type"),
]
"""A paginator with its keys; one that needs none may be written as its name alone."""

AnyPaginator = Annotated[PaginatorOptions, BeforeValidator(_paginator)]


class ParentOptions(OptionSection):
    """The resource for each of whose records this one is read."""

    resource: str
    fields: dict[str, str] = Field(default_factory=dict)
    empty_on: tuple[Annotated[int, Field(ge=400, le=499)], ...] = ()
    join: bool = False

    @model_validator(mode="after")
    def _fits_together(self) -> ParentOptions:
        if self.join and self.fields:
            raise ValueError("a parent that is joined has no fields: its records are one value")
        return self


def _named_parent(value: object) -> object:
    return {"resource": value} if isinstance(value, str) else value


def text_of_scalar(value: object) -> object:
    """Return a number or a truth value as JSON writes it: a parameter is text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


Text = Annotated[str, BeforeValidator(text_of_scalar)]


class ResourceOptions(OptionSection):
    """One list of an API."""

    path: str = ""
    method: _METHODS | None = None
    params: dict[str, Text | None] = Field(default_factory=dict)
    headers: dict[str, Text] = Field(default_factory=dict)
    body: dict[str, Any] | list[Any] | None = None
    graphql: str | None = None
    variables: dict[str, Any] = Field(default_factory=dict)
    records: str = ""
    errors: Names = ("error", "errors")
    paginator: AnyPaginator | None = None
    primary_key: Names = ()
    fields: dict[str, str] = Field(default_factory=dict)
    types: dict[str, str] = Field(default_factory=dict)
    cursor_field: str | None = None
    cursor_param: str | None = None
    cursor_in: Literal["query", "body"] = "query"
    cursor_format: str = "iso"
    cursor_initial: Text | None = None
    cursor_exclusive: bool = False
    cursor_earlier: Seconds | None = None
    cursor_params: dict[str, Text | None] = Field(default_factory=dict)
    order: Literal["newest_first"] | None = None
    parent: Annotated[ParentOptions, BeforeValidator(_named_parent)] | None = None
    items: Names | None = None
    notices: Names = ()
    may_repeat: bool = False
    hidden: bool = False
    rate: Rate | None = None
    only_if_named: str | None = None

    @field_validator("cursor_format")
    @classmethod
    def _is_a_format(cls, text: str) -> str:
        from cdpsync.connector.http.resource import check_format

        return check_format(text)

    @field_validator("records", "errors")
    @classmethod
    def _are_paths(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        from cdpsync.connector.http.paths import JsonPath

        for text in (value,) if isinstance(value, str) else value:
            JsonPath.parse(text)
        return value

    @field_validator("fields")
    @classmethod
    def _have_paths(cls, fields: dict[str, str]) -> dict[str, str]:
        from cdpsync.connector.http.paths import JsonPath

        for text in fields.values():
            JsonPath.parse(text)
        return fields

    @field_validator("types")
    @classmethod
    def _are_types(cls, types: dict[str, str]) -> dict[str, str]:
        from cdpsync.connector.http.resource import EPOCHS
        from cdpsync.model.types import parse_type

        return {
            name: text.upper() if text.upper() in EPOCHS else parse_type(text)
            for name, text in types.items()
        }

    @model_validator(mode="after")
    def _fits_together(self) -> ResourceOptions:
        if not self.path and self.items is None and self.graphql is None:
            raise ValueError('"path" is missing. Add it')
        if self.graphql is not None and self.body is not None:
            raise ValueError("give graphql or body, not both")
        if self.variables and self.graphql is None:
            raise ValueError("variables belong to graphql")
        if self.body is not None and self.method == "GET":
            raise ValueError("a GET has no body. Set method: POST, or use params")
        if self.cursor_param is not None and self.cursor_field is None:
            raise ValueError("cursor_param needs a cursor_field, whose values it filters")
        if self.cursor_params and self.cursor_field is None:
            raise ValueError(
                "cursor_params need a cursor_field: they are sent where it has a value"
            )
        if self.order is not None and self.cursor_field is None:
            raise ValueError("order needs a cursor_field, by which the list is ordered")
        return self


class ClientOptions(OptionSection):
    """How the API is reached."""

    base_url: str
    auth: AuthOptions | None = None
    headers: dict[str, Text] = Field(default_factory=dict)
    params: dict[str, Text] = Field(default_factory=dict)
    hosts: Names = ()
    paginator: AnyPaginator | None = None
    rate: Rate | None = None
    concurrency: Annotated[int, Field(ge=1, le=100)] = 4
    timeout: Seconds = 60.0

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, address: str) -> str:
        return require_address(address)

    @field_validator("hosts")
    @classmethod
    def _are_origins(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(require_address(host).rstrip("/").lower() for host in hosts)


class RestOptions(ConnectorOptions):
    """The keys of a source of `type: rest`."""

    client: ClientOptions
    resources: Annotated[dict[str, ResourceOptions], Field(min_length=1)]

    @field_validator("resources")
    @classmethod
    def _are_names(cls, resources: dict[str, ResourceOptions]) -> dict[str, ResourceOptions]:
        for name in resources:
            if not re.match(_NAME, name):
                raise ValueError(f'"{name}": a resource is named with letters, digits and _')
        return resources

    @model_validator(mode="after")
    def _have_parents(self) -> RestOptions:
        for name, resource in self.resources.items():
            if resource.parent is None or resource.parent.resource in self.resources:
                continue
            near = suggest(resource.parent.resource, self.resources)
            hint = f'. Did you mean "{near}"?' if near else ""
            raise ValueError(
                f'resources.{name}: the parent "{resource.parent.resource}" is no resource{hint}'
            )
        return self


def require_address(address: str) -> str:
    """Return an address. Raises ValueError unless it is https, or http on this machine."""
    if not re.match(r"https?://[^\s/?#]+", address):
        raise ValueError("write https://host, with a path if the API has one")
    local = r"http://(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?(?:/|$)"
    if not re.match(rf"https://|{local}", address):
        raise ValueError("must be https: the credentials would be readable on their way")
    return address
