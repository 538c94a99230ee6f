"""Tokens of OAuth: access tokens in memory, and refresh tokens that came in the place of others.

An access token is in no file. A refresh token that a server gave in the place of the configured one
is in a private file, because the configured one may be worth nothing from then on:
https://datatracker.ietf.org/doc/html/rfc6749#section-6
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from cdpsync.errors import CatalogError
from cdpsync.redact import remember
from cdpsync.system import disk, locks, private_files

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from cdpsync.model.destinations import OAuth


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token; `renew_at` is a time of the dispatch's clock, in seconds."""

    text: str = field(repr=False)
    renew_at: float
    number: int


_access: dict[tuple[Path, OAuth], AccessToken] = {}
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one destination: those that this process has, and its files.

    Destinations with the same grant share an access token. A file belongs to a grant as the project
    file has it, so another refresh token there has another one; it names its destinations, and
    goes with the last of them.
    """

    folder: Path
    destination: str

    def access(self, grant: OAuth) -> AccessToken | None:
        """Return the access token of a grant, if there is one."""
        return _access.get((self.folder, grant))

    def keep_access(self, grant: OAuth, text: str, renew_at: float) -> None:
        """Take a new access token, and hide it in every text from now on."""
        remember(text)
        _access[self.folder, grant] = AccessToken(text, renew_at, next(_numbers))

    def drop_access(self, grant: OAuth, number: int) -> None:
        """Forget an access token that was refused, unless there is another one by now."""
        token = self.access(grant)
        if token is not None and token.number == number:
            _access.pop((self.folder, grant), None)

    def turn(self, grant: OAuth) -> IO[str] | None:
        """Return the open lock of a grant's refresh token; None while somebody else has it.

        A refresh token may be good for one use, so one at a time asks with it: destinations with
        the same grant are sent to side by side. Close the file to let go.
        """
        return _locked(self._file(grant))

    def refresh(self, grant: OAuth) -> str | None:
        """Return the refresh token to use: the newest one that came for the configured one."""
        entry = _read(self._file(grant))
        if entry is None:
            return grant.refresh_token
        if self.destination not in entry["destinations"]:
            entry["destinations"].append(self.destination)
            _write(self._file(grant), entry)
        token = str(entry["refresh_token"])
        remember(token)
        return token

    def keep_refresh(self, grant: OAuth, token: str) -> None:
        """Keep a refresh token for the next time. Raises CatalogError where the disk refuses."""
        remember(token)
        entry = _read(self._file(grant)) or {"destinations": []}
        names = dict.fromkeys([*entry["destinations"], self.destination])
        _write(self._file(grant), {"refresh_token": token, "destinations": list(names)})

    def leave_others(self, grants: Collection[OAuth]) -> None:
        """Take this destination off the files of grants that it had before, and has no more."""
        own = {self._file(grant) for grant in grants}
        for file in set(self.folder.glob("*.json")) - own:
            turn = _locked(file)
            if turn is None:  # another destination asks with it: next time, then
                continue
            with turn:
                self._leave(file)

    def _leave(self, file: Path) -> None:
        entry = _read(file)
        if entry is None or self.destination not in entry["destinations"]:
            return
        entry["destinations"].remove(self.destination)
        if entry["destinations"]:
            _write(file, entry)
        else:
            file.unlink(missing_ok=True)
            file.with_suffix(".lock").unlink(missing_ok=True)

    def _file(self, grant: OAuth) -> Path:
        parts = (grant.token_url, grant.client_id, grant.refresh_token)
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return self.folder / f"{digest[:32]}.json"


def _locked(file: Path) -> IO[str] | None:
    """Return the open lock of a file; None while somebody else has it."""
    path = file.with_suffix(".lock")
    try:
        private_files.make_folder(path.parent)
        lock = private_files.open_file(path, "a")
    except OSError as error:
        raise CatalogError(f"{path}: {disk.write_error(error)}") from error
    if locks.try_file(lock):
        return lock
    lock.close()
    return None


def _read(file: Path) -> dict[str, Any] | None:  # Any: JSON
    """Return a file's entry; None where there is none, or it is not one of ours."""
    try:
        entry = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    except OSError as error:
        raise CatalogError(f"{file}: cannot be read ({error.strerror}).") from error
    if not isinstance(entry, dict) or not isinstance(entry.get("destinations"), list):
        return None
    return entry if isinstance(entry.get("refresh_token"), str) else None


def _write(file: Path, entry: dict[str, Any]) -> None:
    """Write a file at one moment, synced to the disk."""
    new = file.with_suffix(".new")
    try:
        private_files.make_folder(file.parent)
        new.unlink(missing_ok=True)
        with private_files.open_file(new, "w") as stream:
            json.dump(entry, stream)
            stream.flush()
            disk.sync(stream.fileno())
        new.replace(file)
        disk.fsync(file.parent)
    except OSError as error:
        raise CatalogError(f"{file}: {disk.write_error(error)}") from error
