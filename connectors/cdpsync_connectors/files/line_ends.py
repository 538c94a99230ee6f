"""The line ends of a CSV's records: the first record whose end differs from that of the first."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 1 << 20  # bytes
_SIGNS = re.compile(rb'"|\r\n|\r|\n')
_NAMES = {b"\n": "LF", b"\r\n": "CR LF", b"\r": "CR"}


def mixed_line_ends(path: str) -> str | None:
    """Return the first line with another end than the first record's, in words; None without one.

    Line ends inside quotes are part of a value. A file in UTF-16, or compressed with zstd, is not
    looked into.
    """
    with contextlib.suppress(OSError, EOFError):
        first, line, is_quoted = b"", 1, False
        for sign in _signs(path):
            if sign == b'"':
                is_quoted = not is_quoted
                continue
            if not is_quoted:
                first = first or sign
                if sign != first:
                    return f"line {line}: ends with {_NAMES[sign]}, and line 1 with {_NAMES[first]}"
            line += 1
    return None


def _signs(path: str) -> Iterator[bytes]:
    """Yield the quotes and line ends of a file, in their order."""
    is_compressed = path.lower().endswith(".gz")
    with gzip.open(path) if is_compressed else Path(path).open("rb") as content:
        block = content.read(_BLOCK)
        if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return
        while block:
            while block.endswith(b"\r") and (following := content.read(_BLOCK)):
                block += following  # because CR LF may be divided
            yield from _SIGNS.findall(block)
            block = content.read(_BLOCK)
