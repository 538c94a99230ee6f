"""Decodes the JSON of an API strictly, and each record into the bytes of its fields.

An API's own envelope around its records (a list, a page, a message) is decoded by the connector,
with a msgspec decoder of its own and `decode_json`.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, TypeVar

import msgspec

from cdpsync.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Fields = dict[str, msgspec.Raw]
"""A record's fields by name, each value as the bytes that the API sent."""

_T = TypeVar("_T")

_fields = msgspec.json.Decoder(Fields)
_raw = msgspec.json.Decoder(msgspec.Raw)


def decode_json(decoder: msgspec.json.Decoder[_T], body: bytes, where: str, expected: str) -> _T:
    """Return an answer as `decoder` reads it; else raise ReadError.

    `where` and `expected` are for the message: the stream and path, and what the answer should be.
    Every `msgspec.Raw` in the value is without spaces, as `parse_records` needs it.
    """
    with _nesting_errors(where):
        try:
            body.decode()  # because msgspec checks only the texts that it decodes
            return decoder.decode(msgspec.json.format(body, indent=-1))
        except (UnicodeDecodeError, msgspec.MsgspecError) as error:
            raise ReadError(
                f"{where}: the answer is not JSON with {expected}: {error}. "
                f"It begins with {body[:60]!r}."
            ) from error


def parse_record(body: bytes, where: str) -> Fields:
    """Return the fields of an answer that is one record; else raise ReadError."""
    raw = decode_json(_raw, body, where, "an object")
    return parse_records([raw], where)[0]


def parse_records(raws: Iterable[msgspec.Raw], where: str) -> list[Fields]:
    """Return the fields of records that `decode_json` returned; else raise ReadError."""
    with _nesting_errors(where):
        return [_fields_of(raw, where) for raw in raws]


@contextlib.contextmanager
def _nesting_errors(where: str) -> Iterator[None]:
    """Raise ReadError where a parser reaches the end of Python's stack."""
    try:
        yield
    except RecursionError as error:
        raise ReadError(
            f"{where}: the values of the answer are nested too deep to be read. Nothing was kept."
        ) from error


def _fields_of(raw: msgspec.Raw, where: str) -> Fields:
    try:
        fields = _fields.decode(raw)
    except msgspec.MsgspecError as error:
        raise ReadError(
            f"{where}: a record is not a JSON object: {bytes(raw)[:60]!r}. Nothing was kept."
        ) from error
    _require_distinct_names(raw, fields, where)
    return fields


def _require_distinct_names(raw: msgspec.Raw, fields: Fields, where: str) -> None:
    """Raise ReadError if a record names a field twice, because one of the values would be lost.

    In a record without spaces each field takes its name, its value and four signs. A record of
    another length repeats a name or escapes a sign of one, so its names are parsed again.
    """
    if len(raw) == 1 + sum(map(len, fields)) + 4 * len(fields) + sum(map(len, fields.values())):
        return
    pairs = json.loads(bytes(raw), object_pairs_hook=list)
    names = [name for name, _ in pairs]
    repeated = next((name for name in fields if names.count(name) > 1), None)
    if repeated is not None:
        raise ReadError(f"{where}: a record names its field {repeated!r} twice; one would be lost.")
