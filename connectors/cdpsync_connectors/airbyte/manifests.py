"""The manifest of a source: a file of the project, or what `install` fetched and locked."""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.errors import ConfigError
from cdpsync_connectors._bridge.installers import installer
from cdpsync_connectors._bridge.private import make_folder, open_lock
from cdpsync_connectors._bridge.pythons import pythons

if TYPE_CHECKING:
    from pathlib import Path

    from cdpsync.connector import SourcePlace
    from cdpsync_connectors.airbyte.options import AirbyteOptions

_HEAD = (
    "# Written by `cdpsync install`: the manifest. Change the project file, and install again.\n"
)
_MARK = "complete"
_NAME = "manifest.yaml"
_LARGEST = 32 << 20
_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of one source."""

    options: AirbyteOptions
    place: SourcePlace

    @property
    def lock_file(self) -> Path:
        """The lock of a manifest that is fetched."""
        return self.place.project / f"cdpsync-{self.place.source}.manifest.lock"

    def path(self) -> Path:
        """Return the manifest. Raises ConfigError where it is not there."""
        text, source = self.options.manifest or "", self.place.source
        if self.options.manifest_kind == "file":
            file = self.options.folder / text
            if not file.is_file():
                raise ConfigError(f'source "{source}": {file}: no such manifest. Correct manifest.')
            return file
        lock = self._lock()
        folder = self._folder(lock) if lock else None
        if lock is None or folder is None or not (folder / _MARK).exists():
            raise ConfigError(
                f'source "{source}": its manifest is not installed. Install it: cdpsync install '
                f"{source}."
            )
        return self._file_in(folder)

    def _file_in(self, folder: Path) -> Path:
        files = sorted(folder.rglob(_NAME), key=lambda file: len(file.parts))
        if not files:
            raise ConfigError(f"{self.options.manifest} has no {_NAME}. Is it a package of code?")
        return files[0]

    @property
    def _line(self) -> str:
        return f"# of: {self.options.manifest}"

    def _lock(self) -> str | None:
        """Return the lock, if it is of these options."""
        with suppress(FileNotFoundError):
            text = self.lock_file.read_text(encoding="utf-8")
            return text if self._line in text.splitlines()[:3] else None
        return None

    def _folder(self, lock: str) -> Path:
        digest = hashlib.sha256(lock.encode()).hexdigest()[:16]
        return self.place.shared / "manifests" / digest

    def install(self, *, upgrade: bool) -> None:
        """Fetch the manifest, and lock it by its hash; nothing for a file of the project."""
        if self.options.manifest_kind == "file":
            self.path()
            return
        lock = None if upgrade else self._lock()
        is_url, body = self.options.manifest_kind == "url", b""
        if lock is None and is_url:
            body = self._fetched()
            lock = f"{_HEAD}{self._line}\n# sha256: {hashlib.sha256(body).hexdigest()}\n"
        elif lock is None:
            python = pythons(self.options.python)[0]
            packages = installer().lock_alone(self.options.manifest or "", python)
            lock = f"{_HEAD}{self._line}\n{packages}"
        folder = self._folder(lock)
        make_folder(folder.parent)
        with open_lock(folder.with_name(f"{folder.name}.lock")) as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            if not (folder / _MARK).exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                self._fill(folder, lock, body)
                self._file_in(folder)
                (folder / _MARK).touch()
        self.lock_file.write_text(lock, encoding="utf-8")

    def _fill(self, folder: Path, lock: str, body: bytes) -> None:
        if self.options.manifest_kind == "package":
            requirements = folder / "lock.txt"
            requirements.write_text(lock, encoding="utf-8")
            python = pythons(self.options.python)[0]
            installer().unpack(requirements, python, folder / "package")
            return
        body = body or self._fetched()
        match = re.search(r"^# sha256: (\w+)$", lock, re.MULTILINE)
        if match is None or hashlib.sha256(body).hexdigest() != match[1]:
            raise ConfigError(
                f"{self.options.manifest} is another manifest than the one that is locked. Look at "
                f"it, then: cdpsync install {self.place.source} --upgrade."
            )
        (folder / _NAME).write_bytes(body)

    def _fetched(self) -> bytes:
        url = self.options.manifest or ""
        try:
            with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310 - https only
                body: bytes = answer.read(_LARGEST + 1)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{url}: the manifest cannot be fetched: {error}.") from error
        if len(body) > _LARGEST or b"version:" not in body:
            raise ConfigError(f"{url}: this is no manifest. Correct the address.")
        return body
