"""Secrets that stand in a project file as they are, where every user of the machine reads them."""

import logging
import stat
from collections.abc import Iterator
from pathlib import Path

from cdpsync.config.interpolate import FROM_OUTSIDE
from cdpsync.config.nodes import Items, Node, Scalar, Section
from cdpsync.config.secrets import paired_secrets, sounds_secret
from cdpsync.redact import url_password

log = logging.getLogger("cdpsync.config")

_MOST_NAMED = 5
_told: set[Path] = set()


def warn_of_exposed(file: Path, root: Section) -> None:
    """Say once of a file that others can read which of its keys hold a secret, not what it is."""
    real = file.resolve()
    if real in _told or not _read_by_others(real):
        return
    keys = list(dict.fromkeys(_literal_secrets(root)))
    if not keys:
        return
    _told.add(real)
    named = ", ".join(keys[:_MOST_NAMED]) + (", …" if len(keys) > _MOST_NAMED else "")
    log.warning(
        "%s: every user of this machine can read it, and these keys hold a secret as it is: %s. "
        "Write ${VARIABLE} or ${file:path} there, or: chmod 600 %s",
        file,
        named,
        file,
    )


def _read_by_others(file: Path) -> bool:
    """Tell whether a file, and every folder that leads to it, is open to other users."""
    try:
        readable = file.stat().st_mode & stat.S_IROTH
        return bool(readable) and all(
            folder.stat().st_mode & stat.S_IXOTH for folder in file.parents
        )
    except OSError:
        return False


def _literal_secrets(
    node: Node, keys: tuple[str, ...] = (), *, secret: bool = False
) -> Iterator[str]:
    """Go through the keys that hold a secret which no `${…}` brought in."""
    if isinstance(node, Section):
        for key, entry in node.entries.items():
            path = (*keys, key)
            yield from _literal_secrets(entry.node, path, secret=secret or sounds_secret(path))
    elif isinstance(node, Items):
        for item in node.items:
            yield from _literal_secrets(item, keys, secret=secret)
    elif _is_literal(node, whole=secret):
        yield ".".join(keys)


def _is_literal(scalar: Scalar, *, whole: bool) -> bool:
    if not isinstance(scalar.value, str | int) or isinstance(scalar.value, bool):
        return False
    text = scalar.own
    inside = [text] if whole else [url_password(text), *paired_secrets(text)]
    return any(one and FROM_OUTSIDE not in one for one in inside)
