"""The rows of one statement as MySQL sends them: blocks of packets, with the start of each row.

The statement is a prepared one, because that protocol sends numbers and times in binary, exactly.
The textual protocol prints a FLOAT with six digits. PyMySQL has no call for prepared statements, so
this module, and no other, uses PyMySQL's private parts.
"""

# ruff: noqa: SLF001 - see above; the extra pins PyMySQL's major version

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from pymysql.connections import Connection

PAD = 16  # meaningless bytes after a block's end, which a decoder may read
_SIZE = 1 << 20  # of a block; a longer row gets a longer block
_READ_AHEAD = 1 << 16  # more than PyMySQL's reader buffers
_HEADER = struct.Struct("<I").unpack_from  # three bytes of length, and one that counts packets
_LENGTH = 0xFFFFFF  # a packet of this length continues in the next one
_ERROR = 0xFF
_PREPARE, _EXECUTE = 0x16, 0x17
_UNSIGNED = 0x20


@dataclass(frozen=True, slots=True)
class Field:
    """A column of the result, as the server describes it."""

    type: int
    unsigned: bool


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes of the wire, and the offsets at which whole rows begin in them, after the header."""

    data: NDArray[np.uint8]
    rows: NDArray[np.int64]


class LostError(Exception):
    """The connection ended before the result."""


class ForeignPacketError(Exception):
    """The server sent a packet that is neither a row nor the end of the rows."""


def run(con: Connection[Any], sql: str) -> tuple[Field, ...]:
    """Start a statement; return its columns. `blocks` reads the rows afterwards."""
    from pymysql.protocol import FieldDescriptorPacket

    private = _private(con)
    private._execute_command(_PREPARE, sql)
    number, columns, parameters = struct.unpack_from("<xIHH", private._read_packet().get_all_data())
    for count in (parameters, columns):
        for _ in range(count + 1 if count else 0):  # an end-of-list packet follows
            private._read_packet()
    if parameters:
        raise ForeignPacketError('a "?" outside of quotes has no value here')
    private._execute_command(_EXECUTE, struct.pack("<IBI", number, 0, 1))
    count = private._read_packet().read_length_encoded_integer()
    described = [private._read_packet(FieldDescriptorPacket) for _ in range(count)]
    private._read_packet()
    return tuple(Field(column.type_code, bool(column.flags & _UNSIGNED)) for column in described)


def blocks(con: Connection[Any]) -> Iterator[Block]:
    """Return the rows of the started statement, as at least one block, which may be empty.

    Raises PyMySQL's error when the server ends the statement, LostError when it disconnects.
    """
    return _Blocks(con).read()


def keep_alive(con: Connection[Any]) -> None:
    """Let the operating system detect a dead peer, however long we wait for it."""
    with suppress(OSError, AttributeError):
        _private(con)._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def hang_up(con: Connection[Any]) -> None:
    """Close a connection at once, in any state, even while another thread reads from it.

    An orderly end would wait for the rows that the server still sends.
    """
    with suppress(OSError, AttributeError):
        _private(con)._sock.shutdown(socket.SHUT_RDWR)
    _private(con)._force_close()


def server_version(con: Connection[Any]) -> str:
    """Return the server's version as it reports it: `10.11.6-MariaDB`, `8.4.0`."""
    return str(_private(con).server_version)


def session_number(con: Connection[Any]) -> int:
    """Return the number of the session at the server."""
    return int(_private(con).thread_id())


def _private(con: Connection[Any]) -> Any:  # noqa: ANN401 - PyMySQL's types omit private members
    return con


class _Blocks:
    """A buffer, filled from the socket and cut between rows; a returned block never changes."""

    def __init__(self, con: Connection[Any]) -> None:
        self._private = _private(con)
        self._buffer = bytearray(_SIZE + PAD)
        self._filled = 0
        self._is_fresh = True

    def read(self) -> Iterator[Block]:
        ended = False
        while not ended:
            rows: list[int] = []
            at = 0
            while True:
                at = _scan(self._buffer, at, self._filled, rows)
                ended = self._is_end(rows)
                if ended or self._is_full(at, rows):
                    break
                self._fill()
            if ended:
                rows.pop()
            yield self._cut(rows, at)
            if not ended and self._filled >= 4 and self._next_length() == _LENGTH:
                yield self._giant()

    def _is_end(self, rows: list[int]) -> bool:
        """Whether the last packet of the buffer is the one that ends the rows."""
        if not rows or self._buffer[rows[-1]] == 0:
            return False
        first = rows[-1]
        if self._buffer[first] == _ERROR:
            from pymysql.err import raise_mysql_exception

            length = _HEADER(self._buffer, first - 4)[0] & _LENGTH
            raise_mysql_exception(bytes(self._buffer[first : first + length]))
        if self._buffer[first] != 0xFE:
            raise ForeignPacketError("a packet of an unknown kind")
        return True

    def _is_full(self, at: int, rows: list[int]) -> bool:
        if self._filled - at >= 4 and _HEADER(self._buffer, at)[0] & _LENGTH == _LENGTH:
            return True
        return bool(rows) and self._filled >= len(self._buffer) - PAD - (_SIZE >> 3)

    def _fill(self) -> None:
        size = len(self._buffer) - PAD
        if self._filled == size:
            self._buffer += bytes(size)
            size *= 2
        if (
            self._is_fresh
        ):  # PyMySQL's reader may have buffered a part; `readinto` would wait for more
            self._is_fresh = False
            piece = self._private._rfile.read1(_READ_AHEAD)
            count = len(piece)
            self._buffer[self._filled : self._filled + count] = piece
            self._buffer += bytes(count)
        else:
            with memoryview(self._buffer) as view:
                count = self._private._rfile.raw.readinto(view[self._filled : size])
        if not count:
            raise LostError
        self._filled += count

    def _cut(self, rows: list[int], at: int) -> Block:
        """Return the scanned rows as a block; move the other bytes to a new buffer."""
        import numpy as np

        data = np.frombuffer(self._buffer, dtype=np.uint8)
        unscanned = self._buffer[at : self._filled]
        self._buffer = bytearray(max(_SIZE, 2 * len(unscanned)) + PAD)
        self._buffer[: len(unscanned)] = unscanned
        self._filled = len(unscanned)
        return Block(data, np.array(rows, dtype=np.int64))

    def _next_length(self) -> int:
        return int(_HEADER(self._buffer, 0)[0]) & _LENGTH

    def _giant(self) -> Block:
        """Return the row at the start of the buffer, joined from several packets, as a block."""
        import numpy as np

        row = bytearray()
        length = _LENGTH
        while length == _LENGTH:
            self._need(4)
            length = self._next_length()
            self._need(4 + length)
            row += self._buffer[4 : 4 + length]
            del self._buffer[: 4 + length]
            self._filled -= 4 + length
            self._buffer += bytes(4 + length)
        row += bytes(PAD)
        return Block(np.frombuffer(row, dtype=np.uint8), np.zeros(1, dtype=np.int64))

    def _need(self, count: int) -> None:
        while self._filled < count:
            self._fill()


def _scan(buffer: bytearray, at: int, end: int, rows: list[int]) -> int:
    """Add the start of each whole row to `rows`; return the start of the first partial row."""
    while True:
        length = _HEADER(buffer, at)[0] & _LENGTH
        following = at + 4 + length
        if following > end or length == _LENGTH:
            return at
        rows.append(at + 4)
        at = following
