"""The values of a JSON text one by one, each with its line: those of an array, or in a row.

For records that may be set aside. Otherwise DuckDB reads such files, which is faster.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LONGEST = 1 << 28  # characters of a value
_SPACE = re.compile(r"[ \t\r\n\x0b\x0c]*")
_OF_NUMBERS = "0123456789.eE+-"
_DECODER = json.JSONDecoder()


class DocumentError(Exception):
    """A text that is no JSON, with the line and the fault."""

    def __init__(self, line: int, fault: str) -> None:
        super().__init__(fault)
        self.line, self.fault = line, fault


def read_documents(blocks: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield line and text of each value. Raises DocumentError where the text is no JSON."""
    reader = _Reader(blocks)
    if reader.sign() == "[":
        yield from _items(reader)
        return
    while reader.sign():
        yield reader.line, reader.value()


def _items(reader: _Reader) -> Iterator[tuple[int, str]]:
    reader.skip_sign()
    separator = reader.sign()
    while separator != "]":
        reader.sign()
        yield reader.line, reader.value()
        separator = reader.sign()
        if not separator:
            raise DocumentError(reader.line, "the array does not end, so the file is cut off")
        if separator == ",":
            reader.skip_sign()
        elif separator != "]":
            raise DocumentError(reader.line, "neither a comma nor the end of the array")
    reader.skip_sign()
    if reader.sign():
        raise DocumentError(reader.line, "something follows the array")


class _Reader:
    """A place in a text, which is read on as far as a value needs it."""

    def __init__(self, blocks: Iterable[str]) -> None:
        self._blocks = iter(blocks)
        self._text, self._position = "", 0
        self.line = 1

    def sign(self) -> str:
        """Go on to the next sign that is no white space, and return it; empty at the end."""
        while True:
            match = _SPACE.match(self._text, self._position)
            self._go_to(match.end() if match else self._position)
            if self._position < len(self._text) or not self._read_on():
                return self._text[self._position : self._position + 1]

    def skip_sign(self) -> None:
        """Go on behind a sign."""
        self._position += 1

    def value(self) -> str:
        """Return the text of the value that begins here, and go on behind it."""
        while True:
            try:
                _, end = _DECODER.raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:
                if not self._read_on():
                    line = self.line + self._text.count("\n", self._position, error.pos)
                    raise DocumentError(line, f"is no JSON: {error.msg}") from error
            except RecursionError as error:
                raise DocumentError(self.line, "is nested too deep to be set aside") from error
            else:
                is_whole = end < len(self._text) and self._text[end] not in _OF_NUMBERS
                if is_whole or not self._read_on():
                    text = self._text[self._position : end]
                    self._go_to(end)
                    return text

    def _go_to(self, position: int) -> None:
        self.line += self._text.count("\n", self._position, position)
        self._position = position

    def _read_on(self) -> bool:
        """Read as much again as there is of the present value; False at the end of the text."""
        rest = self._text[self._position :]
        if len(rest) > _LONGEST:
            return False
        parts, size = [rest], 0
        for block in self._blocks:
            parts.append(block)
            size += len(block)
            if size > len(rest):
                break
        if size:
            self._text, self._position = "".join(parts), 0
        return size > 0
