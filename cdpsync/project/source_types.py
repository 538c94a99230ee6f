"""The types that a source can have: connectors and manifests, and a manifest's text to copy."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdpsync.config.build import MANIFEST_FOLDER, source_type
from cdpsync.connector import registry
from cdpsync.errors import ConfigError
from cdpsync.model import SourceType

if TYPE_CHECKING:
    from collections.abc import Mapping


def source_types(folder: Path | None = None) -> tuple[SourceType, ...]:
    """Return every type: connectors, and manifests of packages and of a project's folder."""
    files = registry.manifests() | _project_manifests(folder)
    types = {name: _of_connector(name) for name in registry.names() if name not in files}
    types |= {name: _of_manifest(name, file) for name, file in files.items()}
    return tuple(types[name] for name in sorted(types))


def manifest_text(type_: str, folder: Path | None = None) -> str:
    """Return the YAML of a manifest. Raises ConfigError for a type that is none."""
    name = source_type(type_, folder or Path.cwd())
    file = Path(name) if registry.is_manifest(name) else registry.manifests().get(name)
    if file is None:
        registry.options_for(name)  # raises for an unknown type, naming the nearest
        raise ConfigError(
            f'"{type_}" is no manifest but code, so there is no YAML to show. Its keys: '
            f"cdpsync init --source {type_}, or docs/sources/README.md."
        )
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}). Correct the file.") from None


def manifest_of(type_: str) -> Mapping[str, Any] | None:  # Any: YAML
    """Return the manifest of an installed type; None for one that is code."""
    import yaml

    file = registry.manifests().get(type_)
    loaded = None if file is None else yaml.safe_load(file.read_text(encoding="utf-8"))
    return loaded if isinstance(loaded, dict) else None


def _project_manifests(folder: Path | None) -> dict[str, Path]:
    if folder is None:
        return {}
    files = sorted((folder / MANIFEST_FOLDER).glob("*"))
    return {file.stem: file for file in files if registry.is_manifest(file.name) and file.is_file()}


def _of_connector(name: str) -> SourceType:
    try:
        class_ = registry.connector_class(name)
        fields = class_.Options.model_fields
    except ConfigError as error:
        return SourceType(name, f"cannot be used: {error.message}", (), (), None)
    about = (inspect.getdoc(class_) or "").partition("\n")[0] or None
    needs = [field.alias or key for key, field in fields.items() if field.is_required()]
    return SourceType(name, about, (), tuple(needs), None)


def _of_manifest(name: str, file: Path) -> SourceType:
    import yaml

    try:
        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        first = " ".join(str(error).split())
        return SourceType(name, f"cannot be read: {first}", (), (), str(file))
    keys: Mapping[str, Any] = loaded if isinstance(loaded, dict) else {}  # Any: YAML
    docs, needs = keys.get("docs") or (), keys.get("needs") or {}
    about = keys.get("about")
    return SourceType(
        name,
        None if about is None else str(about),
        (docs,) if isinstance(docs, str) else tuple(map(str, docs)),
        tuple(key for key, need in needs.items() if _is_needed(need)),
        str(file),
    )


def _is_needed(need: object) -> bool:
    keys = need if isinstance(need, dict) else {}
    return keys.get("default") is None and not keys.get("optional")
