"""The checks of compressed files: each is whole, as its format's own trailer says.

Measured with DuckDB 1.5.5: of a cut file it returns the rows before the cut, of one with a wrong
CRC all rows, both without an error.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib
import io
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from cdpsync.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cdpsync_connectors.files.discover import File

_FRAME = 0xFD2FB528
_SKIPPABLE_FRAMES = range(0x184D2A50, 0x184D2A60)
_DICTIONARY_ID_BYTES = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)
_RLE, _RESERVED = 1, 3  # types of a block


def require_whole(files: Iterable[File]) -> None:
    """Raise ReadError if a compressed file is cut off or damaged, before any row is read.

    A gzip file is decompressed, for its CRC and length. Of a zstd file the blocks are counted to
    the end of the last frame; DuckDB compares the checksum, where the file has one.
    """
    for file in files:
        name = file.path.lower()
        if not name.endswith((".gz", ".zst")):
            continue
        if file.size == 0:
            raise _cut_off(file.path)
        if name.endswith(".gz"):
            _require_whole_gzip(file.path)
        else:
            _require_whole_zstd(file.path)


def _require_whole_gzip(path: str) -> None:
    try:
        with gzip.open(path) as content:
            while content.read(1 << 20):
                pass
    except EOFError as error:
        raise _cut_off(path) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise damaged(path, str(error)) from error


def _require_whole_zstd(path: str) -> None:
    size = Path(path).stat().st_size
    with Path(path).open("rb") as content:
        while content.tell() < size:
            _skip_frame(path, content)
            if content.tell() > size:
                raise _cut_off(path)


def _skip_frame(path: str, content: BinaryIO) -> None:
    """Go on to the end of a frame (RFC 8878, section 3.1); past the end of a file that is cut."""
    magic = _number(path, content, 4)
    if magic in _SKIPPABLE_FRAMES:
        content.seek(_number(path, content, 4), 1)
        return
    if magic != _FRAME:
        raise damaged(path, f"no frame of zstd begins at byte {content.tell() - 4}")
    descriptor = _number(path, content, 1)
    is_single_segment = bool(descriptor & 0x20)
    content_size = _CONTENT_SIZE_BYTES[descriptor >> 6] or int(is_single_segment)
    window = int(not is_single_segment)
    content.seek(window + _DICTIONARY_ID_BYTES[descriptor & 3] + content_size, 1)
    is_last = False
    while not is_last:
        header = _number(path, content, 3)
        is_last, kind, block_size = bool(header & 1), header >> 1 & 3, header >> 3
        if kind == _RESERVED:
            raise damaged(path, f"a block of no known type at byte {content.tell() - 3}")
        content.seek(1 if kind == _RLE else block_size, 1)
    content.seek(4 if descriptor & 4 else 0, 1)  # the checksum


def _number(path: str, content: BinaryIO, length: int) -> int:
    data = content.read(length)
    if len(data) < length:
        raise _cut_off(path)
    return int.from_bytes(data, "little")


def _cut_off(path: str) -> ReadError:
    return ReadError(
        f"{path}: is cut off: its compressed data ends too early. Nothing of the stream was kept; "
        "wait until the file is complete, or copy it again."
    )


def damaged(path: str, reason: str) -> ReadError:
    """Return the error of a compressed file whose data is not what was written."""
    return ReadError(
        f"{path}: its compressed data is damaged ({reason}). Nothing of the stream was kept; copy "
        "the file again."
    )


@contextlib.contextmanager
def open_content(path: str) -> Iterator[BinaryIO | None]:
    """Lend a file for reading what is in it, decompressed; None if this Python cannot.

    A file that cannot be read to its end, or no longer be opened, is a ReadError.
    """
    is_compressed = path.lower().endswith((".gz", ".zst"))
    try:
        content = _open(path)
        with content or contextlib.nullcontext():
            yield content
    except (OSError, EOFError, zlib.error) as error:
        if is_compressed and not isinstance(error, FileNotFoundError):
            raise damaged(path, " ".join(str(error).split())) from error
        raise ReadError(
            f"{path}: no longer exists, or is no longer readable. Run again."
        ) from error


def _open(path: str) -> BinaryIO | None:
    """Open a file for reading, decompressed; None if this Python cannot.

    zstd is read by Python 3.14, and before it by pyarrow, which comes with most connectors.
    """
    name = path.lower()
    if name.endswith(".gz"):
        return cast("BinaryIO", gzip.open(path))
    if not name.endswith(".zst"):
        return Path(path).open("rb")
    with contextlib.suppress(ImportError):
        zstd = importlib.import_module("compression.zstd")
        return cast("BinaryIO", zstd.open(path))
    with contextlib.suppress(ImportError):
        pyarrow = importlib.import_module("pyarrow")
        stream = pyarrow.CompressedInputStream(pyarrow.OSFile(path), "zstd")
        return cast("BinaryIO", io.BufferedReader(stream))
    return None
