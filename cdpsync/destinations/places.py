"""The files of a destination below `.cdpsync/outbox`: outboxes, events, held changes, copies."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.system import disk

if TYPE_CHECKING:
    from pathlib import Path

    from cdpsync.model import Config

_OF_AN_OUTBOX = re.compile(r"(?:events|held|delivered)-(.+)\.parquet")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files of one destination are. Each has the id of its outbox in its name.

    The state in the lake names the outbox that was settled last. Held changes and the copy of what
    was delivered count only if they are of that one.
    """

    config: Config
    destination: str

    @property
    def folder(self) -> Path:
        """The folder of all of them."""
        return self.config.warehouse.catalog.parent / "outbox" / self.destination

    @property
    def tokens(self) -> Path:
        """The folder of the refresh tokens of all destinations."""
        return self.config.warehouse.catalog.parent / "tokens"

    def events(self, outbox: str) -> Path:
        """Return the file of the events of an outbox."""
        return self.folder / f"events-{outbox}.parquet"

    def held(self, outbox: str) -> Path:
        """Return the file of what was held when an outbox was settled; it may not exist."""
        return self.folder / f"held-{outbox}.parquet"

    def copy(self, outbox: str) -> Path:
        """Return the file with the keys and digests that are delivered with an outbox."""
        return self.folder / f"delivered-{outbox}.parquet"

    def existing_copy(self, outbox: str | None) -> Path | None:
        """Return that file of the last settled outbox, if there is one."""
        file = None if outbox is None else self.copy(outbox)
        return file if file is not None and file.exists() else None

    def keep_held(self, settled: str | None, outbox: str) -> None:
        """Give what was held when an outbox was settled to another one, which starts anew."""
        if settled is not None and settled != outbox and self.held(settled).exists():
            shutil.copyfile(self.held(settled), self.held(outbox))
            disk.fsync(self.held(outbox))
            disk.fsync(self.folder)

    def has_left_behind(self) -> bool:
        """Whether a process has left an outbox or its events: to be sent, or to be removed."""
        entries = self.folder.iterdir() if self.folder.is_dir() else ()
        return any(entry.is_dir() or entry.name.startswith("events-") for entry in entries)

    def remove_settled(self, outbox: str | None) -> None:
        """Remove what is of settled outboxes: all but an unsettled outbox, and what still counts.

        Without an unsettled outbox, files of no outbox are what a process left that died before
        its outbox was complete.
        """
        if not self.folder.is_dir():
            return
        unsettled = {
            entry.name
            for entry in self.folder.iterdir()
            if entry.is_dir() and entry.name != outbox and (entry / "meta.json").exists()
        }
        for entry in self.folder.iterdir():
            match = _OF_AN_OUTBOX.fullmatch(entry.name)
            if entry.is_dir() and entry.name not in unsettled:
                (entry / "meta.json").unlink(missing_ok=True)
                shutil.rmtree(entry, ignore_errors=True)
            elif (match is not None and match[1] not in {*unsettled, outbox}) or (
                match is not None and match[1] == outbox and entry.name.startswith("events-")
            ):
                entry.unlink(missing_ok=True)
