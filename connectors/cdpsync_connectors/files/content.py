"""The bytes of a file without its compression, and the text in its encoding."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import importlib
import io
import lzma
import re
import sys
import zipfile
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from cdpsync.errors import ReadError
from cdpsync_connectors.files.compressed import cut_off, damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 1 << 20  # bytes

# The longer marks come first, because the mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# Latin-1 has control characters there, which no text has; Windows has letters, such as the euro.
_CONTROLS = re.compile("[\x80-\x9f]")


# Such a character stands for a byte that is not in the encoding.
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def undecoded(text: str) -> bool:
    """Whether a text has bytes in it that are not in its encoding."""
    return LONE_SURROGATE.search(text) is not None


def is_openable(path: str) -> bool:
    """Whether this Python can open a file: of its own, it reads zstd since 3.14."""
    is_zstd = path.lower().endswith(".zst")
    return not is_zstd or sys.version_info >= (3, 14) or find_spec("pyarrow") is not None


@contextlib.contextmanager
def open_bytes(path: str) -> Iterator[IO[bytes]]:
    """Open a file without its compression. Raises ReadError if its data ends early or is damaged.

    A zip archive must have one file.
    """
    try:
        with _opened(path) as content:
            yield content
    except EOFError as error:
        raise cut_off(path) from error
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise damaged(path, str(error)) from error
    except OSError as error:
        if error.errno is None:  # bz2's own: invalid data
            raise damaged(path, str(error)) from error
        raise


@contextlib.contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    suffix = Path(path).suffix.lower()
    if suffix == ".gz":
        with gzip.open(path) as content:
            yield cast("IO[bytes]", content)
    elif suffix == ".bz2":
        with bz2.open(path) as content:
            yield content
    elif suffix == ".xz":
        with lzma.open(path) as content:
            yield content
    elif suffix == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(only_member(path, archive)) as content:
            yield content
    elif suffix == ".zst":
        with _open_zstd(path) as content:
            yield content
    else:
        with Path(path).open("rb") as content:
            yield content


def name_in_archive(path: str) -> str | None:
    """Return the name of the one file of a zip archive; None if it has several, or is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return only_member(path, archive).filename
    except (ReadError, OSError, zipfile.BadZipFile):
        return None


def only_member(path: str, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Return the one file of an archive; raises ReadError if it has several, or a password."""
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir()
        and not member.filename.startswith("__MACOSX/")
        and not Path(member.filename).name.startswith(".")
    ]
    if len(members) != 1:
        raise ReadError(
            f"{path}: has {len(members)} files in it, and an archive is read if it has one. "
            "Unpack it."
        )
    if members[0].flag_bits & 1:
        raise ReadError(f"{path}: is protected by a password. Unpack it.")
    return members[0]


def _open_zstd(path: str) -> IO[bytes]:
    """Open a zstd file, by Python 3.14 or by pyarrow, which comes with most connectors."""
    with contextlib.suppress(ImportError):
        zstd = importlib.import_module("compression.zstd")
        return cast("IO[bytes]", zstd.open(path))
    try:
        import pyarrow as pa
    except ModuleNotFoundError:
        raise ReadError(
            f"{path}: this encoding or dialect of a .zst file is read with pyarrow, which is not "
            "installed: pip install pyarrow. Or compress the file with gzip."
        ) from None
    stream = pa.CompressedInputStream(pa.OSFile(path), "zstd")
    return cast("IO[bytes]", io.BufferedReader(stream))


def marked_encoding(path: str) -> str | None:
    """Return the encoding that a file's byte order mark names; None: it has no mark."""
    with open_bytes(path) as content:
        start = content.read(4)
    return next((encoding for mark, encoding in _MARKS if start.startswith(mark)), None)


def read_blocks(path: str) -> Iterator[bytes]:
    """Yield the bytes of a file without its compression."""
    with open_bytes(path) as content:
        while block := content.read(_BLOCK):
            yield bytes(block)


def read_text(path: str, encoding: str, *, keeps_bytes: bool = False) -> Iterator[str]:
    """Yield the text of a file. Raises ReadError, with the line, where it is in another encoding.

    With `keeps_bytes` such a byte becomes a lone surrogate instead. A byte order mark is no part of
    the text.
    """
    errors = "surrogateescape" if keeps_bytes else "strict"
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    lines = 0
    is_latin_1 = codecs.lookup(encoding).name == "iso8859-1"
    for block in _with_end(read_blocks(path)):
        try:
            text = decoder.decode(block, final=not block)
            if not block:
                text += _rest_of(decoder, errors)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(encoding, errors="replace")
            raise ReadError(
                f"{path}, line {lines + _line_ends(before) + 1}: not in the encoding that was set "
                f"(encoding: {encoding}): {error.reason}. Nothing of the stream was kept."
            ) from error
        control = _CONTROLS.search(text) if is_latin_1 else None
        if control:
            line = lines + _line_ends(text[: control.start()]) + 1
            raise ReadError(
                f"{path}, line {line}: byte {ord(control[0]):#x} is a control character in "
                "latin-1, and a letter in Windows. Set encoding: windows-1252."
            )
        lines += _line_ends(text)
        yield text


def _rest_of(decoder: codecs.IncrementalDecoder, errors: str) -> str:
    """Return the bytes that a decoder still waits with at the end of a file.

    Python's does so with the beginning of a byte order mark, in place of an error.
    """
    return decoder.getstate()[0].decode("utf-8", errors)


def _with_end(blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield from blocks
    yield b""


def _line_ends(text: str) -> int:
    return max(text.count("\n"), text.count("\r"))
