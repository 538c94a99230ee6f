"""One statement's rows as MySQL sends them: blocks of packets, each with where its rows begin.

The statement goes over PyMySQL's connection as a prepared one, since that protocol sends numbers
and times in binary, exactly, where the textual one prints a FLOAT with six digits. PyMySQL has
no call for it, so its own parts are used here, and nowhere else.
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

PAD = 16  # bytes past a block's end that may be read, and mean nothing
_SIZE = 1 << 20  # of a block; a longer row gets a longer one
_READ_AHEAD = 1 << 16  # more than PyMySQL's reader keeps
_HEADER = struct.Struct("<I").unpack_from  # three bytes of length, one that counts packets
_LENGTH = 0xFFFFFF  # also the length that says: this packet goes on in the next
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
    """The connection ended before the result did."""


class ForeignPacketError(Exception):
    """The server sent something that is not a row, nor the end of the rows."""


def run(con: Connection[Any], sql: str) -> tuple[Field, ...]:
    """Start a statement; return its columns. The rows wait on the wire for `blocks`."""
    from pymysql.protocol import FieldDescriptorPacket

    own = _parts(con)
    own._execute_command(_PREPARE, sql)
    number, columns, parameters = struct.unpack_from("<xIHH", own._read_packet().get_all_data())
    for listed in (parameters, columns):
        for _ in range(listed + 1 if listed else 0):  # an end-of-list packet follows
            own._read_packet()
    if parameters:
        raise ForeignPacketError('a "?" outside of quotes stands for nothing here')
    own._execute_command(_EXECUTE, struct.pack("<IBI", number, 0, 1))
    count = own._read_packet().read_length_encoded_integer()
    described = [own._read_packet(FieldDescriptorPacket) for _ in range(count)]
    own._read_packet()
    return tuple(Field(one.type_code, bool(one.flags & _UNSIGNED)) for one in described)


def blocks(con: Connection[Any]) -> Iterator[Block]:
    """Return the rows of the statement that was started; at least one block, may be without rows.

    Raises PyMySQL's error when the server ends the statement, LostError when it hangs up.
    """
    return _Blocks(con).read()


def keep_alive(con: Connection[Any]) -> None:
    """Let the system find out when the peer is gone, however long the wait for it."""
    with suppress(OSError, AttributeError):
        _parts(con)._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def hang_up(con: Connection[Any]) -> None:
    """Cut a connection at once, whatever it is in the middle of; another thread may read from it.

    A goodbye would wait for rows that are on their way.
    """
    with suppress(OSError, AttributeError):
        _parts(con)._sock.shutdown(socket.SHUT_RDWR)
    _parts(con)._force_close()


def server_version(con: Connection[Any]) -> str:
    """Return what the server calls itself: `10.11.6-MariaDB`, `8.4.0`."""
    return str(_parts(con).server_version)


def _parts(con: Connection[Any]) -> Any:  # noqa: ANN401 - PyMySQL's types leave them out
    return con


class _Blocks:
    """The buffer: filled from the socket, cut between rows, never written to once handed out."""

    def __init__(self, con: Connection[Any]) -> None:
        self._own = _parts(con)
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
        """Whether the last packet, which nothing follows, is the one that ends the rows."""
        if not rows or self._buffer[rows[-1]] == 0:
            return False
        first = rows[-1]
        if self._buffer[first] == _ERROR:
            from pymysql.err import raise_mysql_exception

            length = _HEADER(self._buffer, first - 4)[0] & _LENGTH
            raise_mysql_exception(bytes(self._buffer[first : first + length]))
        if self._buffer[first] != 0xFE:
            raise ForeignPacketError("a packet of a kind that is not known")
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
        if self._is_fresh:  # PyMySQL's reader may hold a part; `readinto1` would wait for more
            self._is_fresh = False
            piece = self._own._rfile.read1(_READ_AHEAD)
            got = len(piece)
            self._buffer[self._filled : self._filled + got] = piece
            self._buffer += bytes(got)
        else:
            with memoryview(self._buffer) as view:
                got = self._own._rfile.raw.readinto(view[self._filled : size])
        if not got:
            raise LostError
        self._filled += got

    def _cut(self, rows: list[int], at: int) -> Block:
        """Hand out what is scanned; what is not moves to a buffer of its own."""
        import numpy as np

        data = np.frombuffer(self._buffer, dtype=np.uint8)
        rest = self._buffer[at : self._filled]
        self._buffer = bytearray(max(_SIZE, 2 * len(rest)) + PAD)
        self._buffer[: len(rest)] = rest
        self._filled = len(rest)
        return Block(data, np.array(rows, dtype=np.int64))

    def _next_length(self) -> int:
        return int(_HEADER(self._buffer, 0)[0]) & _LENGTH

    def _giant(self) -> Block:
        """Return the one row at the start of the buffer, whose packets are joined to one."""
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
    """Note where the rows between `at` and `end` begin; return where the first partial one does."""
    while True:
        length = _HEADER(buffer, at)[0] & _LENGTH
        following = at + 4 + length
        if following > end or length == _LENGTH:
            return at
        rows.append(at + 4)
        at = following
