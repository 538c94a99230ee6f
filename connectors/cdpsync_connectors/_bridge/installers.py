"""The installers that lock and install packages: uv, and where it is missing, pip."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cdpsync.errors import ConfigError
from cdpsync.redact import redact

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from pathlib import Path

    from cdpsync_connectors._bridge.pythons import Python

log = logging.getLogger("cdpsync.bridge")

NEVER_BUILT = ("numpy", "pandas", "pyarrow", "grpcio", "cryptography", "lxml", "pendulum")
"""Packages that are compiled for minutes, or fail, where a Python has no wheel of them."""

_SECONDS = 1_800


class Installer(Protocol):
    """Locks packages with their hashes, and installs what is locked."""

    def lock(self, requirements: Sequence[str], python: Python, as_of: date | None) -> str:
        """Return each package with its version and hashes. Raises ConfigError."""

    def install(self, lock: Path, python: Python, folder: Path) -> None:
        """Make an environment that has exactly these packages. Raises ConfigError."""

    def lock_alone(self, requirement: str, python: Python) -> str:
        """Return a package with its version and hashes, without those that it needs."""

    def unpack(self, lock: Path, python: Python, folder: Path) -> None:
        """Unpack a locked package, without those that it needs. Raises ConfigError."""


def installer() -> Installer:
    """Return uv, if it is installed and may run here; else pip."""
    if importlib.util.find_spec("uv") is not None:
        import uv

        try:
            uv_file = uv.find_uv_bin()
            subprocess.run([uv_file, "--version"], capture_output=True, check=True)  # noqa: S603
        except (OSError, subprocess.SubprocessError):
            log.warning("uv cannot run here: pip installs, which takes longer")
        else:
            return Uv(os.fspath(uv_file))
    return Pip()


@dataclass(frozen=True, slots=True)
class Uv:
    """Astral's uv, of `cdpsync[bridges]`."""

    file: str

    def lock(self, requirements: Sequence[str], python: Python, as_of: date | None) -> str:
        """Return each package with its version and hashes."""
        command = [self.file, "pip", "compile", "--quiet", "--no-config", "--generate-hashes"]
        command += ["--no-header", "--no-annotate", "--python", str(python.path), "-"]
        for name in NEVER_BUILT:
            command += ["--only-binary", name]
        if as_of is not None:
            command += ["--exclude-newer", as_of.isoformat()]
        return _run(command, "\n".join(requirements))

    def install(self, lock: Path, python: Python, folder: Path) -> None:
        """Make the environment; its modules are compiled, which halves the time of each start."""
        _run([self.file, "venv", "--quiet", "--no-config", "--python", str(python.path), folder])
        command = [self.file, "pip", "sync", "--quiet", "--no-config", "--require-hashes"]
        command += ["--compile-bytecode", "--python", str(folder / "bin/python"), str(lock)]
        for name in NEVER_BUILT:
            command += ["--only-binary", name]
        _run(command)

    def lock_alone(self, requirement: str, python: Python) -> str:
        """Return a package with its version and hashes."""
        command = [self.file, "pip", "compile", "--quiet", "--no-config", "--generate-hashes"]
        command += ["--no-deps", "--no-header", "--no-annotate", "--python", str(python.path), "-"]
        return _run(command, requirement)

    def unpack(self, lock: Path, python: Python, folder: Path) -> None:
        """Unpack a locked package."""
        command = [self.file, "pip", "install", "--quiet", "--no-config", "--no-deps"]
        command += ["--require-hashes", "--python", str(python.path), "--target", str(folder)]
        _run([*command, "--requirement", str(lock)])


@dataclass(frozen=True, slots=True)
class Pip:
    """The pip of a new environment. Its lock has the hashes of this machine's files alone."""

    def lock(self, requirements: Sequence[str], python: Python, as_of: date | None) -> str:
        """Return each package with its version and the hash of the file that pip chose."""
        if as_of is not None:
            raise ConfigError("as_of needs uv: pip install 'cdpsync[bridges]'.")
        return self._report(["--only-binary", ",".join(NEVER_BUILT), *requirements], python)

    def lock_alone(self, requirement: str, python: Python) -> str:
        """Return a package with its version and the hash of its file."""
        return self._report(["--no-deps", "--ignore-requires-python", requirement], python)

    def unpack(self, lock: Path, python: Python, folder: Path) -> None:
        """Unpack a locked package."""
        command: list[str | Path] = [python.path, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--require-hashes"]
        command += ["--ignore-requires-python", "--target", folder, "--requirement", lock]
        _run(command)

    def _report(self, arguments: Sequence[str], python: Python) -> str:
        """Return what pip would install, as lines of a lock."""
        import tempfile

        with tempfile.TemporaryDirectory(prefix="cdpsync-") as name:
            _run([python.path, "-m", "venv", f"{name}/venv"])
            command: list[str | Path] = [
                f"{name}/venv/bin/python",
                "-m",
                "pip",
                "install",
                "--quiet",
                "--dry-run",
            ]
            command += ["--ignore-installed", "--report", f"{name}/report.json"]
            _run([*command, *arguments])
            with open(f"{name}/report.json", encoding="utf-8") as file:  # noqa: PTH123
                report = json.load(file)
        lines = []
        for item in report["install"]:
            metadata, archive = item["metadata"], item["download_info"]["archive_info"]
            digest = archive["hashes"]["sha256"]
            lines.append(f"{metadata['name']}=={metadata['version']} --hash=sha256:{digest}\n")
        return "".join(sorted(lines))

    def install(self, lock: Path, python: Python, folder: Path) -> None:
        """Make the environment."""
        _run([python.path, "-m", "venv", folder])
        command: list[str | Path] = [
            folder / "bin/python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
        ]
        _run([*command, "--require-hashes", "--requirement", lock])


def _run(command: Sequence[str | Path], text: str = "") -> str:
    """Run an installer; return what it writes. Raises ConfigError with its reason in one line."""
    try:
        done = subprocess.run(  # noqa: S603 - an installer, with requirements that were checked
            list(map(str, command)),
            input=text,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"it cannot be installed: {error}.") from error
    if done.returncode == 0:
        return done.stdout
    log.debug("%s", redact(done.stderr))
    raise ConfigError(f"it cannot be installed: {_reason(done.stderr)}")


def _reason(stderr: str) -> str:
    """Return what an installer says, as one line: without frames, colours and warnings."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", stderr)
    lines = [
        re.sub(r"^[^\w(\"'`]+|^(error|ERROR): ", "", line).strip() for line in text.splitlines()
    ]
    told = [line for line in lines if line and not line.lower().startswith(("warning", "cause"))]
    return " ".join(told)[:600] or "the installer gave no reason"
