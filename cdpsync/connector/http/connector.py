"""The base of connectors to HTTP APIs: a client and some resources make a whole connector."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cdpsync.connector.http.reader import ResourceReader
from cdpsync.connector.http.resource import EPOCHS
from cdpsync.connector.http.safe_cursor import LimitedChunks
from cdpsync.connector.records import Records
from cdpsync.errors import ReadError, suggest
from cdpsync.model import Column
from cdpsync.model.cursors import cursor_sql
from cdpsync.sql import quote_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pydantic import BaseModel

    from cdpsync.connector import Chunk, ReadRequest
    from cdpsync.connector.http.client import HttpClient
    from cdpsync.connector.http.resource import Resource
    from cdpsync.errors import ConnectorError
    from cdpsync.model import Stream


_CHECKED = 3  # lists that are asked for before all credentials count as refused


class HttpConnector(ABC):
    """A source that is an HTTP API. A subclass has `Options`, `open_client` and `resources`.

    Reads, modes, cursors, types, retries and errors follow from these.
    """

    Options: ClassVar[type[BaseModel]]
    extensions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: BaseModel) -> None:
        self.options = options
        self._client: HttpClient | None = None

    @abstractmethod
    def open_client(self) -> HttpClient:
        """Return the client of the API. Called once."""

    @abstractmethod
    def resources(self) -> Sequence[Resource]:
        """Return the resources of the API."""

    @property
    def client(self) -> HttpClient:
        """The client, opened when it is first needed."""
        if self._client is None:
            self._client = self.open_client()
            for resource in self.resources():
                if resource.rate is not None:
                    self._client.limit(resource.path, resource.rate)
        return self._client

    def check(self) -> None:
        """Return if a resource can be read; else raise ConnectorError.

        One that these credentials may not read does not count, as long as another one can be.
        """
        refused: ReadError | None = None
        asked = [resource for resource in self._by_name().values() if resource.items is None]
        roots = [resource for resource in asked if resource.parent is None]
        for resource in roots[:_CHECKED] or asked[:1]:
            try:
                self._peek(resource)
            except ReadError as error:
                refused = refused or error
            else:
                return
        if refused is not None:
            raise refused

    def discover(self) -> Sequence[Stream]:
        """Return a stream for each resource. Raises ConnectorError if the API cannot be used."""
        self.check()
        return [resource.stream() for resource in self.resources() if resource.is_stream]

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[Iterable[Chunk]]:
        """Fetch the requested records into files, then yield their chunks; see `Connector.read`."""
        resources = self._by_name()
        resource = resources.get(request.stream.name)
        if resource is None or not resource.is_stream:
            names = [name for name, other in resources.items() if other.is_stream]
            raise ReadError(
                f"stream {request.stream.name}: this API has no such resource. "
                f"There are: {', '.join(names)}."
            )
        with tempfile.TemporaryDirectory() as own_folder:
            request = _typed(resource, request)
            records = Records(
                request.folder or Path(own_folder),
                request,
                _epochs(resource),
                condition=_window_condition(resource, request),
            )
            try:
                reader = ResourceReader(self.client, resources, request, records)
                reader.read()
                yield LimitedChunks(records.chunks(), reader.began_at)
            finally:
                records.close()

    def translate(self, error: Exception) -> ConnectorError | None:
        """Return the error of a value in a chunk as a ReadError; None for any other."""
        from cdpsync.connector.exact_sql import inexact

        return inexact(error)

    def close(self) -> None:
        """Close the connections. May be called twice."""
        if self._client is not None:
            self._client.close()

    def _by_name(self) -> dict[str, Resource]:
        resources = {resource.name: resource for resource in self.resources()}
        for resource in resources.values():
            _require_parent(resource, resources)
        return resources

    def _peek(self, resource: Resource) -> None:
        """Read the first page of a resource, for its errors."""
        from cdpsync.connector import ReadRequest

        with tempfile.TemporaryDirectory() as folder:
            stream = resource.stream()
            request = _typed(
                resource, ReadRequest(stream, stream.columns, limit=1, folder=Path(folder))
            )
            records = Records(Path(folder), request, _epochs(resource))
            try:
                ResourceReader(self.client, self._by_name(), request, records).read()
            finally:
                records.close()


def _require_parent(resource: Resource, resources: Mapping[str, Resource]) -> None:
    """Raise ReadError for a parent that is missing, or that leads back to the resource."""
    seen = [resource.name]
    parent = resource.parent
    while parent is not None:
        if parent.resource not in resources:
            near = suggest(parent.resource, resources)
            hint = f' Did you mean "{near}"?' if near else ""
            raise ReadError(
                f'resource {seen[-1]}: its parent "{parent.resource}" is not a resource.{hint} '
                f"There are: {', '.join(resources)}."
            )
        if parent.resource in seen:
            raise ReadError(f"resource {resource.name}: its parents lead back to itself.")
        seen.append(parent.resource)
        parent = resources[parent.resource].parent


def _typed(resource: Resource, request: ReadRequest) -> ReadRequest:
    """Return the request with the types that the resource declares; the user's win."""
    declared = {
        name: type_
        for name in (*resource.types, *((resource.cursor_field,) if resource.cursor_field else ()))
        if resource.types.get(name) not in EPOCHS and (type_ := resource.lake_type(name))
    }
    columns = list(request.columns)
    if request.cursor_field and all(c.name != request.cursor_field for c in columns):
        columns.append(Column(request.cursor_field, declared.get(request.cursor_field, "VARCHAR")))
    return replace(request, types={**declared, **request.types}, columns=tuple(columns))


def _epochs(resource: Resource) -> dict[str, str]:
    return {name: type_ for name, type_ in resource.types.items() if type_ in EPOCHS}


def _window_condition(resource: Resource, request: ReadRequest) -> str | None:
    """Return the rows of the window as SQL: an API may not filter, or not as finely."""
    window = request.window
    if window is None:
        return None
    name = quote_name(window.cursor_field)
    type_ = request.types.get(window.cursor_field) or resource.lake_type(window.cursor_field) or ""
    return f"{name} is null or {name} >= {cursor_sql(window.low, type_)}"
