"""The first request of a resource: its placeholders filled in, and its cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from cdpsync.connector.http.request import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdpsync.connector.http.request import Json
    from cdpsync.connector.http.resource import Resource


def first_request(resource: Resource, parent: Mapping[str, str], cursor: str | None) -> HttpRequest:
    """Return the request of a resource with its placeholders and cursor filled in."""
    quoted = {name: quote(value, safe="") for name, value in parent.items()}
    quoted |= {f"+{name}": quote(value, safe="/") for name, value in parent.items()}
    params = {
        name: None if value is None else resource.filled(value, parent, cursor)
        for name, value in resource.params.items()
    }
    headers = {
        name: filled
        for name, value in resource.headers.items()
        if (filled := resource.filled(value, parent, cursor)) is not None
    }
    body = _filled_body(resource, parent, cursor)
    path = resource.filled(resource.path, quoted, cursor) or resource.path
    request = HttpRequest(resource.method, path, params, headers, body, label=resource.path)
    if cursor is None:
        return request
    request = request.with_params(resource.cursor_params)
    if resource.cursor_param is None:
        return request
    if resource.cursor_in_body:
        json = resource.cursor_json(cursor)
        return request.with_body_value(tuple(resource.cursor_param.split(".")), json)
    return request.with_params({resource.cursor_param: cursor})


def _filled_body(resource: Resource, parent: Mapping[str, str], cursor: str | None) -> Json:
    if not isinstance(resource.body, dict):
        return _filled(resource.body, resource, parent, cursor)
    return {
        name: value if name in resource.verbatim else _filled(value, resource, parent, cursor)
        for name, value in resource.body.items()
        if name in resource.verbatim or _is_fillable(value, cursor)
    }


def _filled(value: Json, resource: Resource, parent: Mapping[str, str], cursor: str | None) -> Json:
    """Return a value of the body, without the members that need a cursor that is not there."""
    if value == "{cursor}" and cursor is not None:
        return resource.cursor_json(cursor)
    if isinstance(value, str):
        return resource.filled(value, parent, cursor)
    if isinstance(value, list):
        items = [item for item in value if _is_fillable(item, cursor)]
        return [_filled(item, resource, parent, cursor) for item in items]
    if isinstance(value, dict):
        return {
            name: _filled(inner, resource, parent, cursor)
            for name, inner in value.items()
            if _is_fillable(inner, cursor)
        }
    return value


def _is_fillable(value: Json, cursor: str | None) -> bool:
    """Whether a value needs no cursor, or there is one. An object that needs one goes as a whole.

    A filter such as {field: updated, operator: gte, value: "{cursor}"} means nothing without it.
    """
    if cursor is not None:
        return True
    if isinstance(value, str):
        return "{cursor}" not in value
    if isinstance(value, dict):
        return not any(isinstance(v, str) and "{cursor}" in v for v in value.values())
    return True
