"""Entry points to one connector: looked up by name, imported only when named."""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, cast

from cdpsync.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from cdpsync.connector import Connector
    from cdpsync.model import Source

GROUP = "cdpsync.connectors"


def names() -> tuple[str, ...]:
    """Return the source types that are installed, in alphabetical order."""
    return tuple(sorted({entry.name for entry in entry_points(group=GROUP)}))


def options_for(source_type: str) -> type[BaseModel]:
    """Return the options a source of this type takes. Raises ConfigError for an unknown type."""
    return _connector_class(source_type).Options


def create(source: Source) -> Connector:
    """Make the connector of a source; nothing is connected yet."""
    return _connector_class(source.type)(cast("BaseModel", source.options))


def _connector_class(source_type: str) -> type[Connector]:
    entry = _entry(source_type)
    try:
        # An entry point names whatever its author wrote; the conformance suite holds them to it.
        return cast("type[Connector]", entry.load())
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f'the connector "{source_type}" ({entry.value}) cannot be imported: {error}. '
            f"Try: pip install 'cdpsync[{source_type}]'."
        ) from error


def _entry(source_type: str) -> EntryPoint:
    found = [entry for entry in entry_points(group=GROUP) if entry.name == source_type]
    if found:
        return found[0]
    near = difflib.get_close_matches(source_type, names(), n=1)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    raise ConfigError(
        f'unknown source type "{source_type}".{hint} Installed: {", ".join(names())}.'
    )
