"""Finds the preset of a destination's type: a YAML file of the project, or of a package."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.config.paths import absolute
from cdpsync.errors import ConfigError, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP = "cdpsync.destinations"
"""The entry points of packages whose YAML files are presets."""

PROJECT_FOLDER = "destinations"
"""The folder beside the project file whose presets win over those of packages."""

_SUFFIXES = (".yml", ".yaml")


def preset_file(type_: str, folder: Path) -> Path:
    """Return the preset of a type: a path, a file of the project's folder, or of a package.

    Raises ConfigError that names the nearest type, and all.
    """
    if type_.endswith(_SUFFIXES):
        path = absolute(type_, folder)
        if not path.is_file():
            raise ConfigError(f'no preset "{type_}": there is no file {path}. Correct the path.')
        return path
    for candidate in (folder / PROJECT_FOLDER / f"{type_}{suffix}" for suffix in _SUFFIXES):
        if candidate.is_file():
            return candidate
    installed = installed_presets()
    if type_ not in installed:
        near = suggest(type_, installed)
        hint = f' Did you mean "{near}"?' if near else ""
        raise ConfigError(
            f'unknown type "{type_}".{hint} Types: {", ".join(sorted(installed)) or "none"}; or '
            "the path of a preset of your own (./my_crm.yml)."
        )
    return installed[type_]


def project_presets(folder: Path) -> dict[str, Path]:
    """Return the presets in a project's folder, by type."""
    return {
        file.stem: file
        for file in sorted((folder / PROJECT_FOLDER).glob("*"))
        if file.suffix in _SUFFIXES and file.is_file()
    }


@cache
def installed_presets() -> dict[str, Path]:
    """Return the presets of all installed packages, by type."""
    return {file.stem: file for file in _package_files()}


def _package_files() -> Iterator[Path]:
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        for file in files(entry.value).iterdir():
            path = Path(str(file))
            if path.suffix in _SUFFIXES:
                yield path
