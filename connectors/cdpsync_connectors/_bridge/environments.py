"""The environment of a program: its lock beside the project file, and its folder.

The lock `cdpsync-SOURCE.lock` is committed with the project. The folder is named by the hash of
Python and lock, so an environment never changes: another lock is another folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass
from email.parser import HeaderParser
from typing import TYPE_CHECKING

from cdpsync.connector import Installation, SourcePlace
from cdpsync.errors import ConfigError
from cdpsync_connectors._bridge.installers import installer
from cdpsync_connectors._bridge.private import make_folder, open_lock
from cdpsync_connectors._bridge.pythons import Python, is_allowed, pythons

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from pathlib import Path

    from cdpsync_connectors._bridge.installers import Installer

_MARK = "cdpsync.json"
_START_SECONDS = 300
_HEAD = "# Written by `cdpsync install`. To change it, change the project file and install again.\n"
_FIRST_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an environment is to have, as the project file says it.

    `program` is a requirement. `script` is the name of its command; empty: the package's own.
    """

    program: str
    more: tuple[str, ...] = ()
    python: str | None = None
    as_of: date | None = None
    script: str = ""

    @property
    def name(self) -> str:
        """The name of the package."""
        match = _FIRST_WORD.match(self.program)
        return match[0] if match else self.program

    @property
    def line(self) -> str:
        """The line of a lock that says what it is of."""
        parts = [self.program, *(f"with {name}" for name in self.more)]
        parts += [f"Python {self.python}"] if self.python else []
        parts += [f"as of {self.as_of}"] if self.as_of else []
        return f"# of: {', '.join(parts)}"


@dataclass(frozen=True, slots=True)
class Built:
    """An environment that was built: its Python, its package, and the command of that."""

    python: str
    version: str
    licence: str
    packages: int
    script: str


@dataclass(frozen=True, slots=True)
class Environment:
    """The environment of one source."""

    place: SourcePlace
    wanted: Wanted

    @property
    def lock_file(self) -> Path:
        """The lock, which people commit."""
        return self.place.project / f"cdpsync-{self.place.source}.lock"

    def command(self) -> tuple[tuple[str, ...], Path]:
        """Return the command of the program, and the folder of its scripts.

        Raises ConfigError that names the command to type, where it is not installed here.
        """
        lock = self._lock()
        if lock is None:
            raise self._missing(f"{self.wanted.name} is not installed")
        if not self._is_current(lock):
            raise self._missing(f"{self.lock_file.name} was made for other options")
        folder = self._folder(lock)
        built = _built(folder)
        if built is None:
            raise self._missing(f"what {self.lock_file.name} names is not installed here")
        return (str(folder / "bin" / built.script),), folder / "bin"

    def _missing(self, text: str) -> ConfigError:
        source = self.place.source
        return ConfigError(f'source "{source}": {text}. Install it: cdpsync install {source}.')

    def _lock(self) -> str | None:
        with suppress(FileNotFoundError):
            return self.lock_file.read_text(encoding="utf-8")
        return None

    def _is_current(self, lock: str) -> bool:
        return self.wanted.line in lock.splitlines()[:3]

    def _folder(self, lock: str) -> Path:
        digest = hashlib.sha256(lock.encode()).hexdigest()[:16]
        return self.place.shared / "environments" / f"{self.wanted.name}-{digest}"

    def install(self, *, upgrade: bool) -> Installation:
        """Install what is locked; without a lock, or with `upgrade`, lock the newest first."""
        lock = self._lock()
        if lock is not None and not upgrade and self._is_current(lock):
            built = _built(self._folder(lock))
            if built is not None:
                return self._installation(lock, built, is_new=False)
            return self._installation(lock, self._build(lock, self._python_of(lock)), is_new=True)
        tool = installer()
        errors: list[str] = []
        for python in pythons(self.wanted.python):
            try:
                lock = self._locked(tool, python)
                built = self._build(lock, python, tool)
            except ConfigError as error:
                errors.append(f"on Python {python.text}, {error.message.rstrip('.')}")
                continue
            self._save(lock)
            return self._installation(lock, built, is_new=True)
        raise ConfigError(
            f'source "{self.place.source}": {self.wanted.program}: {"; ".join(errors)}. For a '
            "package that has rotted, set as_of to a day on which it worked, or what it lacks in "
            "with."
        )

    def _locked(self, tool: Installer, python: Python) -> str:
        wanted = self.wanted
        packages = tool.lock([wanted.program, *wanted.more], python, wanted.as_of)
        return f"{_HEAD}{wanted.line}\n# python: {python.text}\n{packages}"

    def _python_of(self, lock: str) -> Python:
        """Return the Python that a lock names, of another patch where that one is not here."""
        match = re.search(r"^# python: ((\d+\.\d+)\.\d+)$", lock, re.MULTILINE)
        if match is None:
            raise self._missing(f"{self.lock_file.name} names no Python: remove it")
        return pythons(match[2])[0]

    def _save(self, lock: str) -> None:
        new = self.lock_file.with_name(f".{self.lock_file.name}.new")
        new.write_text(lock, encoding="utf-8")
        new.replace(self.lock_file)

    def _build(self, lock: str, python: Python, tool: Installer | None = None) -> Built:
        """Build the environment in its folder, unless another process has built it."""
        folder = self._folder(lock)
        make_folder(folder.parent)
        with open_lock(folder.with_name(f"{folder.name}.lock")) as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            built = _built(folder)
            if built is not None:
                return built
            shutil.rmtree(folder, ignore_errors=True)
            requirements = folder.with_name(f"{folder.name}.txt")
            requirements.write_text(lock, encoding="utf-8")
            try:
                (tool or installer()).install(requirements, python, folder)
                built = self._inspect(folder, python)
            except ConfigError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            finally:
                requirements.unlink(missing_ok=True)
            (folder / _MARK).write_text(json.dumps(asdict(built)), encoding="utf-8")
        return built

    def _inspect(self, folder: Path, python: Python) -> Built:
        """Return what was built. Raises ConfigError where the package cannot be used so."""
        packages = list(_packages(folder))
        own = next((p for p in packages if _is_named(p, self.wanted.name)), None)
        if own is None:
            raise ConfigError(f"{self.wanted.name} is not among the installed packages")
        headers = HeaderParser().parsestr((own / "METADATA").read_text(encoding="utf-8"))
        requires = headers.get("Requires-Python") or ""
        if not is_allowed(requires, python.version):
            raise ConfigError(f"{self.wanted.name} {headers['Version']} wants Python {requires}")
        script = self.wanted.script or _script(own, self.wanted.name)
        if not (folder / "bin" / script).exists():
            raise ConfigError(f"{self.wanted.name} has no command {script}")
        _require_start(folder / "bin" / script)
        return Built(python.text, headers["Version"], _licence(headers, own), len(packages), script)

    def _installation(self, lock: str, built: Built, *, is_new: bool) -> Installation:
        return Installation(
            self.wanted.name,
            built.version,
            built.licence,
            built.python,
            built.packages,
            self._folder(lock),
            is_new,
        )


def _require_start(program: Path) -> None:
    """Raise ConfigError for a program that cannot even show its help, such as one that has rotted.

    Its own complaint of missing arguments is none.
    """
    try:
        done = subprocess.run(  # noqa: S603 - the program that the user named
            [program, "--help"], capture_output=True, text=True, timeout=_START_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"{program.name} does not start: {error}") from error
    lines = done.stderr.strip().splitlines()
    if done.returncode and "Traceback (most recent call last):" in lines:
        raise ConfigError(f"{program.name} does not start: {lines[-1][:300]}")


def _built(folder: Path) -> Built | None:
    """Return an environment that was built to its end, or None."""
    try:
        return Built(**json.loads((folder / _MARK).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _packages(folder: Path) -> Iterator[Path]:
    return folder.glob("lib/python3.*/site-packages/*.dist-info")


def _folded(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_named(dist_info: Path, name: str) -> bool:
    return _folded(dist_info.name.split("-")[0]) == _folded(name)


def _script(dist_info: Path, name: str) -> str:
    """Return the command of a package: of its own name, the only one, or the first tap."""
    scripts: list[str] = []
    with suppress(FileNotFoundError):
        text = (dist_info / "entry_points.txt").read_text(encoding="utf-8")
        section = text.partition("[console_scripts]")[2].partition("\n[")[0]
        scripts = re.findall(r"^([\w.-]+)\s*=", section, re.MULTILINE)
    own = [script for script in scripts if _folded(script) == _folded(name)]
    taps = [script for script in scripts if script.startswith(("tap-", "source-"))]
    for chosen in (own, taps, scripts):
        if chosen:
            return chosen[0]
    raise ConfigError(f"{name} has no command to run")


_CLASSIFIER = "License :: OSI Approved :: "
_KNOWN = (
    ("GNU AFFERO GENERAL PUBLIC LICENSE", "AGPL-3.0"),
    ("Apache License", "Apache-2.0"),
    ("Elastic License", "Elastic-2.0"),
    ("MIT License", "MIT"),
    ("GNU GENERAL PUBLIC LICENSE", "GPL"),
)


def _licence(headers: object, dist_info: Path) -> str:
    """Return a package's licence: as it says, or by the text of its licence file."""
    from email.message import Message

    if isinstance(headers, Message):
        said = headers.get("License-Expression") or headers.get("License") or ""
        classified = [c for c in headers.get_all("Classifier", []) if c.startswith(_CLASSIFIER)]
        if said and "\n" not in said and len(said) < 60:
            return said
        if classified:
            return str(classified[0]).removeprefix(_CLASSIFIER)
    for file in (*dist_info.glob("licenses/*"), *dist_info.glob("LICEN[SC]E*")):
        text = file.read_text(encoding="utf-8", errors="replace")[:2_000]
        for sign, name in _KNOWN:
            if sign in text:
                return name
    return "not said"
