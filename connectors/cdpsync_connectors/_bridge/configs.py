"""The configuration file of a program, and the values in it that the program has changed.

A program that logs in by OAuth may get a new refresh token, and write it into its configuration
file: the old one is void then. So changed values are kept, in a private file of the source, until
the project file has other values.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ConfigError
from cdpsync_connectors._bridge.options import remember_texts
from cdpsync_connectors._bridge.private import read_json, replace_private, write_private

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def require_packages() -> None:
    """Raise ConfigError where the packages are missing that read what programs write."""
    if importlib.util.find_spec("msgspec") is None:
        raise ConfigError(
            "reading by another program needs more packages. Install them: pip install "
            "'cdpsync[bridges]'"
        )


@dataclass(frozen=True, slots=True)
class ProgramConfig:
    """The configuration of a source; `kept` is where changed values are kept, None: nowhere."""

    given: Mapping[str, Any]  # Any: a user's YAML
    kept: Path | None

    @property
    def digest(self) -> str:
        """Identifies the values of the project file."""
        text = json.dumps(self.given, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def current(self) -> dict[str, Any]:  # Any: JSON
        """Return the values of the project file, with those that the program has changed since."""
        document = read_json(self.kept) if self.kept else None
        if document is None or document.get("of") != self.digest:
            return dict(self.given)
        remember_texts(document["changed"])
        return {**self.given, **document["changed"]}

    def write(self, file: Path) -> dict[str, Any]:  # Any: JSON
        """Write the configuration file of a run; return its values."""
        values = self.current()
        write_private(file, json.dumps(values))
        return values

    def keep_changes(self, file: Path, written: Mapping[str, Any]) -> bool:  # Any: JSON
        """Keep what a program has changed in its file; return whether it has.

        A file that it has written half is no configuration, so nothing of it is kept.
        """
        values = read_json(file)
        return values is not None and self.keep(values, written)

    def keep(self, values: Mapping[str, Any], written: Mapping[str, Any]) -> bool:  # Any: JSON
        """Keep the values that differ from those that were written; return whether any does."""
        remember_texts(dict(values))
        if values == dict(written) or self.kept is None:
            return False
        changed = {
            name: value
            for name, value in values.items()
            if name not in self.given or self.given[name] != value
        }
        replace_private(self.kept, json.dumps({"of": self.digest, "changed": changed}))
        return True
