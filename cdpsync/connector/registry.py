"""A source's type to its connector: an entry point, or a Python file; imported only when named."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cdpsync.errors import ConfigError, suggest

if TYPE_CHECKING:
    from pydantic import BaseModel

    from cdpsync.connector import Connector
    from cdpsync.model import Source

GROUP = "cdpsync.connectors"
_MEMBERS = ("Options", "extensions", "check", "discover", "read", "translate", "close")


_registered: dict[str, type[Connector]] = {}


def register(name: str, connector: type[Connector]) -> None:
    """Let this process know a connector that no entry point names."""
    _registered[name] = connector


def unregister(name: str) -> None:
    """Forget a connector that was registered."""
    _registered.pop(name, None)


def names() -> tuple[str, ...]:
    """Return the source types that are installed, in alphabetical order."""
    return tuple(sorted({entry.name for entry in _entries()}))


@cache
def _entries() -> EntryPoints:
    return entry_points(group=GROUP)


def options_for(source_type: str) -> type[BaseModel]:
    """Return the options a source of this type takes. Raises ConfigError for an unknown type."""
    return _connector_class(source_type).Options


def create(source: Source) -> Connector:
    """Make the connector of a source; nothing is connected yet."""
    return _connector_class(source.type)(cast("BaseModel", source.options))


def _connector_class(source_type: str) -> type[Connector]:
    if source_type in _registered:
        return _registered[source_type]
    if is_file(source_type):
        return _class_in(Path(source_type))
    entry = _entry(source_type)
    try:
        # An entry point names whatever its author wrote; the conformance suite holds them to it.
        return cast("type[Connector]", entry.load())
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f'the connector "{source_type}" ({entry.value}) cannot be imported: {error}. '
            f"Try: pip install 'cdpsync[{source_type}]'."
        ) from error


def is_file(source_type: str) -> bool:
    """Whether a type is the path of a Python file that holds a connector."""
    return source_type.endswith(".py")


@cache
def _class_in(file: Path) -> type[Connector]:
    """Return the connector that a Python file defines: one class with all that makes one."""
    if not file.is_file():
        raise ConfigError(
            f"{file}: there is no such file. A type that ends in .py is the path of one."
        )
    spec = importlib.util.spec_from_file_location(f"cdpsync_source_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file}: Python cannot import this file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pydantic look their module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        line = getattr(error, "lineno", None) or where.lineno
        raise ConfigError(
            f"{file}:{line}: {type(error).__name__}: {error}. Mend the file."
        ) from error
    found = [one for one in vars(module).values() if _is_connector(one, spec.name)]
    if len(found) != 1:
        names = ", ".join(one.__name__ for one in found) or "none"
        raise ConfigError(
            f"{file}: a file holds one connector, a class with {', '.join(_MEMBERS)}. "
            f"Here: {names}."
        )
    return cast("type[Connector]", found[0])


def _is_connector(one: object, module: str) -> bool:
    is_own = isinstance(one, type) and one.__module__ == module
    return is_own and all(hasattr(one, member) for member in _MEMBERS)


def _entry(source_type: str) -> EntryPoint:
    found = [entry for entry in _entries() if entry.name == source_type]
    if found:
        return found[0]
    near = suggest(source_type, names())
    hint = f' Did you mean "{near}"?' if near else ""
    raise ConfigError(
        f'unknown source type "{source_type}".{hint} Installed: {", ".join(names())}.'
    )
