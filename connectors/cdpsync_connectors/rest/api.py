"""The options of a REST source as the kit's client, paginators and resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from cdpsync.connector.http import (
    ApiKey,
    Basic,
    Bearer,
    HeaderLink,
    HttpClient,
    HttpConnector,
    JsonLink,
    LastRecord,
    NextToken,
    OAuth,
    Offset,
    PageNumber,
    Parent,
    RefreshTokenFile,
    Resource,
    SinglePage,
)
from cdpsync_connectors.rest import options as o

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cdpsync.connector.http import Auth, Paginator
    from cdpsync_connectors.rest.options import ResourceOptions, RestOptions

_DEFAULT_RATE = 1000.0  # requests a second: no limit that a server would notice


class RestApi(HttpConnector):
    """The API that the options describe."""

    options: RestOptions

    def __init__(self, options: RestOptions, state: Path | None = None) -> None:
        super().__init__(options)
        self._state = state
        resources = options.resources.items()
        paginator = _paginator(options.client.paginator)
        self._resources = [_resource(name, resource, paginator) for name, resource in resources]

    def open_client(self) -> HttpClient:
        """Return the client."""
        client = self.options.client
        return HttpClient(
            client.base_url,
            auth=_auth(client.auth, self._state),
            headers=client.headers,
            params=client.params,
            hosts=client.hosts,
            rate=client.rate or _DEFAULT_RATE,
            concurrency=client.concurrency,
            timeout=client.timeout,
        )

    def resources(self) -> Sequence[Resource]:
        """Return the resources."""
        return self._resources


def _auth(auth: object, state: Path | None) -> Auth | None:
    """Return what authorises requests; `state` is where an exchanged refresh token is kept."""
    if isinstance(auth, o.BearerAuth):
        return Bearer(auth.token, auth.prefix)
    if isinstance(auth, o.BasicAuth):
        return Basic(auth.username, auth.password)
    if isinstance(auth, o.ApiKeyAuth):
        return ApiKey(auth.name, auth.key, in_query=auth.place == "query")
    if isinstance(auth, o.ClientCredentials | o.RefreshToken):
        scope = {} if auth.scope is None else {"scope": auth.scope}
        store = None
        if isinstance(auth, o.RefreshToken) and state is not None:
            given = auth.refresh_token.get_secret_value()
            store = RefreshTokenFile(state / "refresh_token.json", given)
        return OAuth(
            auth.token_url,
            auth.client_id,
            auth.client_secret,
            refresh_token=auth.refresh_token if isinstance(auth, o.RefreshToken) else None,
            fields={**auth.fields, **scope},
            basic=auth.client_auth == "basic",
            store=store,
        )
    return None


def _paginator(options: Any) -> Paginator | None:  # noqa: ANN401 - one of a union
    if options is None:
        return None
    fields = options.model_dump(exclude={"type", "place"})
    if isinstance(options, o._Param):  # noqa: SLF001 - our own base
        fields["in_body"] = options.place == "body"
    class_ = {
        "single_page": SinglePage,
        "header_link": HeaderLink,
        "json_link": JsonLink,
        "cursor": NextToken,
        "page_number": PageNumber,
        "offset": Offset,
        "last_record": LastRecord,
    }[options.type]
    return cast("Paginator", class_(**fields))


def _resource(name: str, options: ResourceOptions, paginator: Paginator | None) -> Resource:
    own = _paginator(options.paginator)
    body: Any = options.body
    verbatim: tuple[str, ...] = ()
    if options.graphql is not None:
        body, verbatim = {"query": options.graphql, "variables": options.variables}, ("query",)
    of = options.parent
    return Resource(
        name,
        options.path,
        method=options.method or ("GET" if body is None else "POST"),
        params=options.params,
        headers=options.headers,
        body=body,
        verbatim=verbatim,
        records=options.records,
        errors=options.errors,
        paginator=own or paginator,
        primary_key=options.primary_key,
        fields=options.fields,
        types=options.types,
        cursor_field=options.cursor_field,
        cursor_param=options.cursor_param,
        cursor_in_body=options.cursor_in == "body",
        cursor_format=options.cursor_format,
        cursor_initial=options.cursor_initial,
        cursor_exclusive=options.cursor_exclusive,
        cursor_earlier=options.cursor_earlier or 0.0,
        cursor_params=options.cursor_params,
        newest_first=options.order == "newest_first",
        parent=None if of is None else Parent(of.resource, of.fields, of.empty_on, of.join),
        notices=options.notices,
        items=options.items,
        may_repeat=options.may_repeat,
        hidden=options.hidden,
        rate=options.rate,
        only_if_named=options.only_if_named,
    )
