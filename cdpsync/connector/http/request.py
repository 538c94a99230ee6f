"""A request to an API and its answer, as values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]
"""A value that JSON can write."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request that only reads, so that it may be sent again.

    `url` is absolute, or relative to the client's base. A parameter that is None is left out.
    `body` is sent as JSON, `form` as fields of a form; at most one of them is given. `label` names
    the request in messages and counts its rate; it has no value from outside. One that is not
    `is_repeatable` is sent once: its answer would be another one the next time.
    """

    method: str
    url: str
    params: Mapping[str, str | None] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Json = None
    form: Mapping[str, str] | None = None
    label: str = ""
    is_repeatable: bool = True

    def with_params(self, params: Mapping[str, str | None]) -> Self:
        """Return the request with these parameters added, or in place of their namesakes."""
        return replace(self, params={**self.params, **params})

    def with_headers(self, headers: Mapping[str, str]) -> Self:
        """Return the request with these headers added, or in place of their namesakes."""
        return replace(self, headers={**self.headers, **headers})

    def with_body_value(self, path: tuple[str, ...], value: Json) -> Self:
        """Return the request with a value in its JSON body, under the names of a path."""
        return replace(self, body=_with_value(self.body, path, value))


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: its status, its bytes, and its headers with names in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    url: str

    @property
    def is_ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300


def _with_value(body: Json, path: tuple[str, ...], value: Json) -> Json:
    if not path:
        return value
    members = dict(body) if isinstance(body, dict) else {}
    members[path[0]] = _with_value(members.get(path[0]), path[1:], value)
    return members
