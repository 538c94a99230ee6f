"""Warns of secrets in plain text in a project file that every user of the machine can read."""

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
_warned: set[Path] = set()


def warn_of_readable_secrets(file: Path, root: Section) -> None:
    """Warn once of a file that others can read, with the keys of its secrets but no value."""
    real = file.resolve()
    if real in _warned or not _others_can_read(real):
        return
    keys = list(dict.fromkeys(_literal_secrets(root)))
    if not keys:
        return
    _warned.add(real)
    named = ", ".join(keys[:_MOST_NAMED]) + (", …" if len(keys) > _MOST_NAMED else "")
    log.warning(
        "%s: every user of this machine can read it, and these keys hold a secret in plain text: "
        "%s. Write ${VARIABLE} or ${file:path} there, or: chmod 600 %s",
        file,
        named,
        file,
    )


def _others_can_read(file: Path) -> bool:
    """Whether other users can read a file, through every folder that leads to it."""
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
    """Go through the keys that hold a secret in plain text, not from a `${…}`."""
    if isinstance(node, Section):
        for key, entry in node.entries.items():
            path = (*keys, key)
            yield from _literal_secrets(entry.node, path, secret=secret or sounds_secret(path))
    elif isinstance(node, Items):
        for item in node.items:
            yield from _literal_secrets(item, keys, secret=secret)
    elif _is_literal(node, is_secret=secret):
        yield ".".join(keys)


def _is_literal(scalar: Scalar, *, is_secret: bool) -> bool:
    if not isinstance(scalar.value, str | int) or isinstance(scalar.value, bool):
        return False
    text = scalar.own
    secrets = [text] if is_secret else [url_password(text), *paired_secrets(text)]
    return any(secret and FROM_OUTSIDE not in secret for secret in secrets)
