"""Paths into an API's JSON: `data.items`, `[*].node`, `meta."next.page"`, `[-1].id`.

Values stay the bytes that the API sent, so that no number passes through a float.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from cdpsync.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterable

_STEP = re.compile(r'(?:^|\.)(?:"((?:[^"\\]|\\.)+)"|([^.\["\]]+))|\[(\*|-?\d+)\]')
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)

_Step = str | int | None  # a name, an index, or None for all items


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A parsed path; equal texts are equal paths."""

    text: str
    steps: tuple[_Step, ...]

    @classmethod
    def parse(cls, text: str) -> JsonPath:
        """Return the path. Raises ValueError with what is wrong."""
        steps: list[_Step] = []
        at = 0
        while at < len(text):
            match = _STEP.match(text, at)
            if match is None or match.end() == at:
                raise ValueError(
                    f'"{text}" is not a path: write names with dots between them (data.items), '
                    "[*] for all items of a list, [0] for one"
                )
            quoted, name, index = match.groups()
            if index is not None:
                steps.append(None if index == "*" else int(index))
            else:
                steps.append(re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else name)
            at = match.end()
        return cls(text, tuple(steps))

    def find(self, raw: bytes) -> list[bytes]:
        """Return the values at this path; none where a name or an index is missing."""
        values = [raw]
        for step in self.steps:
            values = [inner for value in values for inner in _inner(value, step)]
        return values

    def first(self, raw: bytes) -> bytes | None:
        """Return the first value at this path that is not null; None if there is none."""
        return next((value for value in self.find(raw) if value != b"null"), None)

    def text_in(self, raw: bytes) -> str | None:
        """Return the first value that is not null, as text: a string's content, else its JSON."""
        value = self.first(raw)
        return None if value is None else as_text(value)


def as_text(value: bytes) -> str:
    """Return a JSON value as text: a string's content, else the JSON itself."""
    return _text.decode(value) if value[:1] == b'"' else value.decode()


def items_of(value: bytes) -> list[msgspec.Raw] | None:
    """Return the items of a JSON array, or None for another value."""
    return _array.decode(value) if value[:1] == b"[" else None


def names_in(value: bytes) -> list[str]:
    """Return the names of a JSON object's fields; none for another value."""
    return list(_object.decode(value)) if value[:1] == b"{" else []


def require_path(text: str, where: str) -> JsonPath:
    """Return a path that code gives. Raises ReadError for one that is not a path."""
    try:
        return JsonPath.parse(text)
    except ValueError as error:
        raise ReadError(f"{where}: {error}.") from error


def _inner(value: bytes, step: _Step) -> Iterable[bytes]:
    if isinstance(step, str):
        if value[:1] != b"{":
            return ()
        inner = _object.decode(value).get(step)
        return () if inner is None else (bytes(inner),)
    if value[:1] != b"[":
        return ()
    items = _array.decode(value)
    if step is None:
        return map(bytes, items)
    return (bytes(items[step]),) if -len(items) <= step < len(items) else ()
