"""The Pythons of this machine, and which of them a package allows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cdpsync.errors import ConfigError

_MINORS = range(14, 8, -1)
_PROBE = "import json, sys; print(json.dumps([*sys.version_info[:3]]))"
_PARTS = re.compile(r"(==|!=|<=|>=|<|>|~=)\s*([\d.]+)(\.\*)?")
_SECONDS = 20


@dataclass(frozen=True, slots=True, order=True)
class Python:
    """An interpreter: its version and its file."""

    version: tuple[int, int, int]
    path: Path

    @property
    def text(self) -> str:
        """The version as people write it."""
        return ".".join(map(str, self.version))


def pythons(wanted: str | None) -> list[Python]:
    """Return the interpreters of this machine, the newest first; only those that are `wanted`.

    Raises ConfigError where there is none.
    """
    found: dict[tuple[int, int, int], Python] = {}
    for path in _candidates(wanted):
        python = _probed(path)
        if python is not None:
            found.setdefault(python.version, python)
    prefix = f"{wanted}." if wanted else ""
    fitting = [p for p in found.values() if f"{p.text}.".startswith(prefix)]
    if not fitting:
        have = ", ".join(p.text for p in sorted(found.values())) or "none"
        raise ConfigError(
            f"no Python {wanted} on this machine; there is {have}. Install it, or set another "
            "python."
        )
    return sorted(fitting, reverse=True)


def _candidates(wanted: str | None) -> list[Path]:
    """Return the files that may be interpreters: those on PATH, this one, pyenv's and uv's."""
    names = [f"python3.{minor}" for minor in _MINORS]
    if wanted:
        names = [f"python{'.'.join(wanted.split('.')[:2])}"]
    paths = [Path(path) for name in names if (path := shutil.which(name))]
    base = getattr(sys, "_base_executable", None) or sys.executable
    paths.append(Path(base))
    for folder in (Path.home() / ".pyenv/versions", Path.home() / ".local/share/uv/python"):
        listed = sorted(folder.glob("*3.*"), reverse=True)
        paths += [home / "bin/python3" for home in listed if not wanted or wanted in home.name]
    return list(dict.fromkeys(path for path in paths if path.exists()))


def _probed(path: Path) -> Python | None:
    """Return an interpreter; None for a file that is none, such as a shim without a version."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(Path.home())}
    try:
        output = subprocess.run(  # noqa: S603 - it is named as a Python is
            [path, "-I", "-S", "-c", _PROBE],
            capture_output=True,
            timeout=_SECONDS,
            check=True,
            env=environment,
        ).stdout
        major, minor, micro = json.loads(output)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Python((major, minor, micro), path)


def is_allowed(requires: str, version: tuple[int, int, int]) -> bool:
    """Whether a package's Requires-Python, such as `>=3.10,<3.14`, allows a version.

    Installers look at the lower bounds alone.
    """
    return all(
        _allows(match[1], match[2], version, bool(match[3])) for match in _PARTS.finditer(requires)
    )


def _allows(sign: str, text: str, version: tuple[int, int, int], star: bool) -> bool:
    bound = tuple(int(part) for part in text.strip(".").split("."))
    if sign == "~=":
        return version >= bound and version[: len(bound) - 1] == bound[:-1]
    if star or sign in {"==", "!="}:
        is_same = version[: len(bound)] == bound
        return is_same if sign == "==" else not is_same
    padded = (*bound, 0, 0, 0)[:3]
    return {
        "<": version < padded,
        "<=": version <= padded,
        ">": version > padded,
        ">=": version >= padded,
    }[sign]
