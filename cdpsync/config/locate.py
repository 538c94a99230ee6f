"""Finds the files of a project: those of `-c`, or the project file of this folder or one above."""

from __future__ import annotations

import os
from pathlib import Path

from cdpsync.errors import ConfigError

NAMES = ("cdpsync.yml", "cdpsync.yaml")


def project_files(path: Path | str | None) -> list[Path]:
    """Return the files of a project, with their paths as messages name them.

    Raises ConfigError where there is none, or more than one that could be meant.
    """
    if path is None:
        return [_nearest()]
    project = Path(path)
    try:
        return _in_folder(project) if project.is_dir() else _single_file(project)
    except OSError as error:
        raise ConfigError(
            f"{project}: cannot be read ({error.strerror}); check its permissions, or correct -c"
        ) from None


def project_folder(path: Path | str | None) -> Path | None:
    """Return the folder of a project's files, where its `.env` may be; None without a project."""
    try:
        return project_files(path)[0].parent
    except ConfigError:
        return None


def _nearest() -> Path:
    """Return the project file of the current folder, or of the nearest folder above it."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        names = [name for name in NAMES if (folder / name).is_file()]
        if len(names) > 1:
            raise ConfigError(
                f"{folder}: there are {' and '.join(names)}; keep one, or name it with -c"
            )
        if names:
            if folder == here:
                return Path(names[0])
            _refuse_of_others(folder / names[0], here)
            return folder / names[0]
    raise ConfigError(
        f"no {NAMES[0]} in {here} or above it; run `cdpsync init`, or name one with -c or -C"
    )


def _refuse_of_others(file: Path, here: Path) -> None:
    """Raise for a file above this folder that another user owns, because it may run their code."""
    if file.stat().st_uid not in {os.geteuid(), 0}:
        raise ConfigError(
            f"no {NAMES[0]} in {here}; {file} above it belongs to another user. If you trust it, "
            f"name it: -c {file}"
        )


def _single_file(file: Path) -> list[Path]:
    if not file.exists():
        raise ConfigError(f"{file}: no such file or folder; correct -c, or run `cdpsync init`")
    return [file]


def _in_folder(folder: Path) -> list[Path]:
    files = [
        file
        for file in sorted(folder.iterdir())
        if file.suffix in {".yml", ".yaml"} and not file.name.startswith(".") and file.is_file()
    ]
    if not files:
        raise ConfigError(f"{folder}: no *.yml in this folder; run `cdpsync init`, or correct -c")
    return files
