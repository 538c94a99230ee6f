"""The types of destinations: what each preset is, and its text to copy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdpsync.config.presets import installed_presets, preset_file, project_presets
from cdpsync.errors import ConfigError
from cdpsync.model.destinations import PresetOverview

if TYPE_CHECKING:
    from collections.abc import Mapping


def types(folder: Path | None = None) -> tuple[PresetOverview, ...]:
    """Return every type: those of packages, and those of a project's folder, which win."""
    files = installed_presets() | (project_presets(folder) if folder else {})
    return tuple(_overview(name, file) for name, file in sorted(files.items()))


def preset_text(type_: str, folder: Path | None = None) -> str:
    """Return the YAML of a type. Raises ConfigError for an unknown one."""
    file = preset_file(type_, folder or Path.cwd())
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}). Correct the file.") from None


def _overview(name: str, file: Path) -> PresetOverview:
    import yaml

    try:
        loaded = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        first = " ".join(str(error).split())
        return PresetOverview(name, f"cannot be read: {first}", (), (), (), (), str(file))
    keys: Mapping[str, Any] = loaded if isinstance(loaded, dict) else {}  # Any: YAML
    return PresetOverview(
        name=name,
        about=keys.get("about"),
        docs=_texts(keys.get("docs")),
        needs=_texts(keys.get("needs")),
        inputs=_texts(keys.get("inputs")),
        actions=_texts(keys.get("actions")),
        file=str(file),
    )


def _texts(value: object) -> tuple[str, ...]:
    """Return a text, the texts of a list, or the keys of a mapping."""
    if value is None:
        return ()
    return (str(value),) if not isinstance(value, list | dict) else tuple(map(str, value))
