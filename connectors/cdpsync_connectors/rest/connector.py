"""The REST connector: the resources of an API that the project file, or a manifest, describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from cdpsync.errors import ConfigError
from cdpsync_connectors.rest.options import RestOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from pydantic import BaseModel

    from cdpsync.connector import Chunk, ReadRequest, SourcePlace
    from cdpsync.connector.http import HttpConnector
    from cdpsync.errors import ConnectorError
    from cdpsync.model import Stream


class RestConnector:
    """Any REST or GraphQL API, described in YAML, as a source."""

    Options: ClassVar[type[BaseModel]] = RestOptions
    extensions: ClassVar[tuple[str, ...]] = ()
    place: SourcePlace | None = None

    def __init__(self, options: BaseModel) -> None:
        self._options = self.rest_options(options)
        self._opened: HttpConnector | None = None

    @classmethod
    def from_manifest(cls, file: Path) -> type[RestConnector]:
        """Return the connector of a manifest. Raises ConfigError with file, line and key."""
        from cdpsync_connectors.rest.manifest import connector_class

        return connector_class(file)

    @classmethod
    def rest_options(cls, options: BaseModel) -> RestOptions:
        """Return client and resources for the options of a source."""
        return cast("RestOptions", options)

    def check(self) -> None:
        """Return if the first resource can be read; else raise ConnectorError."""
        self._api().check()

    def discover(self) -> Sequence[Stream]:
        """Return a stream for each resource. Asks the API nothing."""
        return self._api().discover()

    def read(self, request: ReadRequest) -> AbstractContextManager[Iterable[Chunk]]:
        """Read a resource; see `Connector.read`."""
        return self._api().read(request)

    def translate(self, error: Exception) -> ConnectorError | None:
        """Return the error of a value in a chunk as a ReadError; None for any other."""
        return self._api().translate(error)

    def close(self) -> None:
        """Close the connections. May be called twice."""
        if self._opened is not None:
            self._opened.close()

    def _api(self) -> HttpConnector:
        if self._opened is None:
            try:
                from cdpsync_connectors.rest.api import RestApi
            except ImportError as error:
                raise ConfigError(
                    "reading an API needs two libraries. Install them: pip install 'cdpsync[rest]'"
                ) from error
            self._opened = RestApi(self._options, self.place.state if self.place else None)
        return self._opened
