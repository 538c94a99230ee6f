"""The kit for sources that are HTTP APIs: client, authentication, paging, resources.

It needs requests and msgspec: `pip install 'cdpsync[rest]'`. Its modules are imported when one of
these names is first used, because a project file is checked without them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdpsync.connector.http.auth import ApiKey, Auth, Basic, Bearer, OAuth, TokenStore
    from cdpsync.connector.http.client import HttpClient, RefusedError
    from cdpsync.connector.http.connector import HttpConnector
    from cdpsync.connector.http.pages import (
        HeaderLink,
        JsonLink,
        LastRecord,
        NextToken,
        Offset,
        PageNumber,
        Paginator,
        SinglePage,
    )
    from cdpsync.connector.http.request import Answer, HttpRequest
    from cdpsync.connector.http.resource import Parent, Resource
    from cdpsync.connector.http.tokens import RefreshTokenFile

__all__ = [
    "Answer",
    "ApiKey",
    "Auth",
    "Basic",
    "Bearer",
    "HeaderLink",
    "HttpClient",
    "HttpConnector",
    "HttpRequest",
    "JsonLink",
    "LastRecord",
    "NextToken",
    "OAuth",
    "Offset",
    "PageNumber",
    "Paginator",
    "Parent",
    "RefreshTokenFile",
    "RefusedError",
    "Resource",
    "SinglePage",
    "TokenStore",
]

_MODULES = {
    "auth": ("ApiKey", "Auth", "Basic", "Bearer", "OAuth", "TokenStore"),
    "client": ("HttpClient", "RefusedError"),
    "connector": ("HttpConnector",),
    "pages": (
        *("NextToken", "HeaderLink", "JsonLink", "LastRecord", "Offset", "PageNumber", "Paginator"),
        "SinglePage",
    ),
    "request": ("Answer", "HttpRequest"),
    "resource": ("Parent", "Resource"),
    "tokens": ("RefreshTokenFile",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
