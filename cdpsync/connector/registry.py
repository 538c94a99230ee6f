"""The registry of connectors: a source's `type` to a class.

A type is an entry point, a Python file, or a manifest: a YAML file that describes an API.

A connector is imported only when a source of its type is used.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cdpsync.errors import ConfigError, SourceConfigError, suggest

if TYPE_CHECKING:
    from pydantic import BaseModel

    from cdpsync.connector import Connector
    from cdpsync.model import Source

GROUP = "cdpsync.connectors"
MANIFESTS = "cdpsync.manifests"
"""The entry points of packages whose YAML files are manifests; each file's name is a type."""

_YAML = (".yml", ".yaml")
_READS_MANIFESTS = "rest"
_MEMBERS = ("Options", "extensions", "check", "discover", "read", "translate", "close")

_registered: dict[str, type[Connector]] = {}
_used: dict[str, type[Connector]] = {}


def register(name: str, connector: type[Connector]) -> None:
    """Add a connector that has no entry point, for this process."""
    _registered[name] = connector


def unregister(name: str) -> None:
    """Remove a connector that was registered."""
    _registered.pop(name, None)
    _used.pop(name, None)


def names() -> tuple[str, ...]:
    """Return the source types that are installed, in alphabetical order."""
    return tuple(sorted({*(entry.name for entry in _entries()), *manifests()}))


@cache
def manifests() -> dict[str, Path]:
    """Return the manifests of all installed packages, by type."""
    packages = sorted(entry_points(group=MANIFESTS), key=lambda entry: entry.name)
    files_ = (Path(str(file)) for package in packages for file in files(package.value).iterdir())
    return {file.stem: file for file in sorted(files_) if file.suffix in _YAML}


@cache
def _entries() -> EntryPoints:
    return entry_points(group=GROUP)


def options_for(source_type: str) -> type[BaseModel]:
    """Return the `Options` of a connector. Raises ConfigError for an unknown type."""
    return connector_class(source_type).Options


def used() -> tuple[type[Connector], ...]:
    """Return the connectors that this process has used so far."""
    return tuple(_used.values())


def create(source: Source) -> Connector:
    """Return a new connector for a source, not connected yet.

    Raises SourceConfigError if a variable or a file has not filled in the source's options.
    """
    if source.problem:
        raise SourceConfigError(source.problem)
    return connector_class(source.type)(cast("BaseModel", source.options))


def connector_class(source_type: str) -> type[Connector]:
    """Return the class of a type. Raises ConfigError for an unknown type."""
    _used[source_type] = class_ = _loaded_class(source_type)
    return class_


def _loaded_class(source_type: str) -> type[Connector]:
    if source_type in _registered:
        return _registered[source_type]
    if is_manifest(source_type):
        return _manifest_class(Path(source_type))
    if is_file(source_type):
        return _class_in(Path(source_type))
    if not any(entry.name == source_type for entry in _entries()) and source_type in manifests():
        return _manifest_class(manifests()[source_type])
    return _entry_class(source_type)


def _entry_class(source_type: str) -> type[Connector]:
    entry = _entry(source_type)
    try:
        class_ = entry.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f'the connector "{source_type}" ({entry.value}) cannot be imported: {error}. '
            f"Try: pip install 'cdpsync[{source_type}]'."
        ) from error
    missing = [member for member in _MEMBERS if not hasattr(class_, member)]
    if missing:
        raise ConfigError(
            f'the connector "{source_type}" ({entry.value}) lacks {", ".join(missing)}. '
            "Every connector has these members: docs/writing-a-connector.md."
        )
    return cast("type[Connector]", class_)


def is_file(source_type: str) -> bool:
    """Whether a type is the path of a Python file that defines a connector, or of a manifest."""
    return source_type.endswith((".py", *_YAML))


def is_manifest(source_type: str) -> bool:
    """Whether a type is the path of a manifest."""
    return source_type.endswith(_YAML)


@cache
def _manifest_class(file: Path) -> type[Connector]:
    """Return the connector of a manifest. Raises ConfigError with file, line and key."""
    if not file.is_file():
        raise ConfigError(f"{file}: no such file. A type that ends in .yml is the path of one.")
    reader = cast("Any", _entry_class(_READS_MANIFESTS))
    return cast("type[Connector]", reader.from_manifest(file))


@cache
def _class_in(file: Path) -> type[Connector]:
    """Return the one class in a Python file that has all members of a connector."""
    if not file.is_file():
        raise ConfigError(
            f"{file}: no such file. A type that ends in .py is the path of a Python file."
        )
    spec = importlib.util.spec_from_file_location(f"cdpsync_source_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file}: Python cannot import this file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pydantic look their module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        line = getattr(error, "lineno", None) or frame.lineno
        raise ConfigError(
            f"{file}:{line}: {type(error).__name__}: {error}. Fix the file."
        ) from error
    connectors = [value for value in vars(module).values() if _is_connector(value, spec.name)]
    if len(connectors) != 1:
        class_names = ", ".join(connector.__name__ for connector in connectors) or "none"
        raise ConfigError(
            f"{file}: it must define one connector, a class with {', '.join(_MEMBERS)}. "
            f"It defines: {class_names}."
        )
    return cast("type[Connector]", connectors[0])


def _is_connector(value: object, module: str) -> bool:
    is_own_class = isinstance(value, type) and value.__module__ == module
    return is_own_class and all(hasattr(value, member) for member in _MEMBERS)


def _entry(source_type: str) -> EntryPoint:
    entries = [entry for entry in _entries() if entry.name == source_type]
    if entries:
        return entries[0]
    suggestion = suggest(source_type, names())
    hint = f' Did you mean "{suggestion}"?' if suggestion else ""
    raise ConfigError(
        f'unknown source type "{source_type}".{hint} Installed: {", ".join(names())}.'
    )
