"""The records of several streams as they arrive from a program, in the order of each stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from cdpsync.connector.records.parse import parse_records
from cdpsync.connector.records.records import Records
from cdpsync.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from cdpsync.connector import Chunk, ReadRequest
    from cdpsync.model import Cursor

_BATCH = 500  # records that are decoded together
_BATCH_BYTES = 1 << 20
_BEGIN = 32


def compact(line: bytes) -> bytes:
    """Return a line of JSON without spaces between its values, for which `parse_records` is fast.

    A program that puts spaces between values does so from the first on.
    """
    return msgspec.json.format(line, indent=-1) if b'": ' in line[:_BEGIN] else line


class StreamRecords:
    """The records of one stream."""

    def __init__(self, request: ReadRequest, folder: Path, declared: Mapping[str, str]) -> None:
        self.request = request
        self._where = f"stream {request.stream.name}"
        self._records = Records(folder, request, declared, text_times=True)
        self._batch: list[msgspec.Raw] = []
        self._bytes = 0
        self.count = 0

    def add(self, raw: msgspec.Raw) -> None:
        """Add a record; raises ReadError for one that is no JSON object."""
        self._batch.append(raw)
        self._bytes += len(raw)
        self.count += 1
        if len(self._batch) >= _BATCH or self._bytes >= _BATCH_BYTES:
            self.flush()

    @property
    def has_enough(self) -> bool:
        """Whether a sample has all the rows that it asks for."""
        return self.request.limit is not None and self.count >= self.request.limit

    def flush(self) -> None:
        """Write the records that wait to be decoded."""
        batch, self._batch, self._bytes = self._batch, [], 0
        if not batch:
            return
        try:
            self._records.add(parse_records(batch, self._where))
        except UnicodeDecodeError as error:
            raise ReadError(f"{self._where}: a record is not UTF-8. Nothing was kept.") from error

    def chunks(self) -> list[Chunk]:
        """Return the chunks over all records, in the order in which they arrived."""
        self.flush()
        return list(self._records.chunks())

    def close(self) -> None:
        """Close the file that is being written."""
        self._records.close()


@dataclass(slots=True)
class StateChunks:
    """The chunks of one stream, and the state from which the next read goes on."""

    chunks: Sequence[Chunk]
    state: Cursor | None

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self.chunks)

    def safe_cursor(self, highest: Cursor | None) -> Cursor | None:
        """Return the state; that of before where the program reported none."""
        return self.state or highest


Outcome: TypeAlias = StateChunks | Exception
"""What came of a stream: its chunks, or why it cannot be committed."""
