"""A refresh token that a token endpoint exchanged for another, kept from one run to the next.

The one in the project file is void then, so losing the new one would lock the source out.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RefreshTokenFile:
    """Keeps the last refresh token in a file that only its owner can read.

    `given` is the refresh token of the project file: once that is another one, what was kept for
    the old one counts no more.
    """

    file: Path
    given: str

    def load(self) -> str | None:
        """Return the token that was kept; None if the configured one is still good."""
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        is_ours = isinstance(content, dict) and content.get("of") == self._digest
        token = content.get("token") if is_ours else None
        return token if isinstance(token, str) else None

    def save(self, token: str) -> None:
        """Keep a token, on the disk before it is used."""
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=self.file.parent, prefix=".token-")  # mode 0600
        try:
            with os.fdopen(number, "w", encoding="utf-8") as opened:
                json.dump({"of": self._digest, "token": token}, opened)
                opened.flush()
                os.fsync(number)
            Path(name).replace(self.file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    @property
    def _digest(self) -> str:
        return hashlib.sha256(self.given.encode()).hexdigest()
