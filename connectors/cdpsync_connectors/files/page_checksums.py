"""The checksums of Parquet pages, compared where a file has them; DuckDB 1.5.5 ignores them."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cdpsync.connector.exact_sql import quote_files
from cdpsync.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection

_CHUNKS = """
    select path_in_schema, coalesce(dictionary_page_offset, 0), data_page_offset,
        total_compressed_size
    from parquet_metadata({files})
"""
_LONGEST_HEADER = 1 << 16  # bytes; statistics of long values stand in it
_SIZE, _CHECKSUM = 3, 4  # fields of a PageHeader


def require_checksums(con: DuckDBPyConnection, path: str) -> None:
    """Raise ReadError, with the column, if a page's bytes are not those of its checksum."""
    chunks = con.execute(_CHUNKS.format(files=quote_files([path]))).fetchall()
    with Path(path).open("rb") as content:
        for column, dictionary, data, size in chunks:
            # An offset of 0 means that there is none: no dictionary, or no row and so no data page.
            start = min(filter(None, (dictionary, data)), default=0)
            if not _is_intact(content, start, start + size):
                name = column.split(", ")[0]  # without the levels of a nested type
                raise ReadError(
                    f'{path}: column "{name}" is damaged: a page does not have the checksum that '
                    "was written with it. Copy the file again."
                )


def _is_intact(content: BinaryIO, start: int, end: int) -> bool:
    """Whether all pages between two bytes are as written; True from a page without checksum on."""
    while start < end:
        content.seek(start)
        header = content.read(min(_LONGEST_HEADER, end - start))
        try:
            fields, length = _page_header(header)
            size = fields[_SIZE]
        except (IndexError, KeyError):
            return len(header) == _LONGEST_HEADER  # not a header, or one that is too long to read
        if _CHECKSUM not in fields:
            return True
        content.seek(start + length)
        checksum = 0
        remaining = size
        while remaining > 0 and (part := content.read(min(remaining, 1 << 20))):
            checksum = zlib.crc32(part, checksum)
            remaining -= len(part)
        if remaining or checksum != fields[_CHECKSUM] & 0xFFFFFFFF:
            return False
        start += length + size
    return True


def _page_header(data: bytes) -> tuple[dict[int, int], int]:
    """Return the integers of a PageHeader by field, and its length, from Thrift's compact form."""
    reader = _Compact(data)
    fields = {number: value for number, value in reader.struct() if isinstance(value, int)}
    return fields, reader.position


class _Compact:
    """A reader of Thrift's compact protocol; it raises IndexError at the end of the data."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def struct(self) -> Iterator[tuple[int, int | None]]:
        """Yield number and value of each field; None for a value that is no integer."""
        number = 0
        while head := self._byte():
            kind, delta = head & 15, head >> 4
            number = number + delta if delta else self._integer()
            yield number, self._value(kind)

    def _value(self, kind: int, *, in_list: bool = False) -> int | None:
        if kind in (1, 2):  # a field's head has the boolean in it, a list has a byte for each
            self.position += in_list
        elif kind == 3:
            self.position += 1
        elif kind in (4, 5, 6):
            return self._integer()
        elif kind == 7:
            self.position += 8
        elif kind == 8:
            length = self._unsigned()
            self.position += length
        elif kind in (9, 10):
            self._skip_list()
        elif kind == 12:
            for _ in self.struct():
                pass
        else:
            raise IndexError("a type that no page header has")
        return None

    def _skip_list(self) -> None:
        head = self._byte()
        length = head >> 4 if head >> 4 < 15 else self._unsigned()
        for _ in range(length):
            self._value(head & 15, in_list=True)

    def _integer(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def _byte(self) -> int:
        byte = self._data[self.position]
        self.position += 1
        return byte
