"""Any JSON Lines land as Python reads them; damaged ones do too, or are refused by line.

`CDPSYNC_FUZZ` is how many examples are tried; `make fuzz` sets it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.file_damage import damages, damages_of_bytes
from support.file_dialects import COMPRESSIONS, UnreadableError, compress, decompress
from support.file_fuzzing import fuzz, fuzz_connection
from support.file_reading import Landed, Refused, land, require_named
from support.json_reading import is_json_value, read_json_records

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["", "1.50", "null", '"', "\\", '\\"1.5', ",]", ":nan,", ": NaN}", "\u2028", "\0", "\ufeff"]
)
# Numbers as they may be written, not only as Python writes them.
numbers = st.one_of(
    st.integers(-999, 999).map(str),
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(lambda n: f"{n:f}"),
    st.from_regex(r"\A-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?\Z"),
)
words = st.sampled_from(["null", "true", "false", "NaN", "Infinity", "-Infinity"])


def _string(text: str, *, ascii_only: bool) -> str:
    return json.dumps(text, ensure_ascii=ascii_only)


strings = st.builds(_string, texts, ascii_only=st.booleans())
spaces = st.sampled_from(["", "", " ", "\t", "\r"])


def _joined(opening: str, closing: str, space: str, items: list[str]) -> str:
    return opening + space + f"{space},{space}".join(items) + space + closing


def _nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(strings, inner).map(":".join)
    return st.one_of(
        st.builds(_joined, st.just("["), st.just("]"), spaces, st.lists(inner, max_size=3)),
        st.builds(_joined, st.just("{"), st.just("}"), spaces, st.lists(pairs, max_size=3)),
    )


scalars = st.one_of(numbers, strings, words)
columns = st.sampled_from(
    [
        numbers,
        strings,
        st.sampled_from(["true", "false", "null"]),
        st.integers(-9, 9).map(str),
        st.floats(allow_nan=False, allow_infinity=False).map(repr),
        st.recursive(scalars, _nested, max_leaves=6),
    ]
)
keys = st.one_of(texts.filter(lambda text: text and "\0" not in text), st.sampled_from("abcd"))


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[str, bytes]]:
    """Return the files of a stream: compression and content."""
    width = draw(st.one_of(st.integers(1, 4), st.sampled_from([1, 40])))
    names = draw(st.lists(keys, min_size=width, max_size=width, unique_by=str.casefold))
    kinds = dict(zip(names, draw(st.lists(columns, min_size=width, max_size=width)), strict=True))
    files = []
    for _ in range(draw(st.integers(1, 3))):
        lines = []
        for _ in range(draw(st.integers(0, 4))):
            some = draw(st.permutations(names))[: draw(st.integers(0, width))]
            ascii_only = draw(st.booleans())
            pairs = [f"{_string(n, ascii_only=ascii_only)}:{draw(kinds[n])}" for n in some]
            lines.append(_joined("{", "}", draw(spaces), pairs))
        end = draw(st.sampled_from(["\n", "\r\n", " \n", "\n\n"]))
        content = end.join(lines) + draw(st.sampled_from(["", end]))
        files.append((draw(st.sampled_from(COMPRESSIONS)), content.encode()))
    return files


def pack(file: tuple[str, bytes]) -> tuple[str, bytes]:
    return file[0], compress(file[1], file[0])


def write(folder: Path, files: Sequence[tuple[str, bytes]]) -> list[str]:
    paths = [f"{folder}/{number}.jsonl{packing}" for number, (packing, _) in enumerate(files)]
    for path, (_, packed) in zip(paths, files, strict=True):
        with open(path, "wb") as file:  # noqa: PTH123 - a text is what the reader takes
            file.write(packed)
    return paths


def require_equal(landed: Landed, files: Sequence[tuple[str, bytes]]) -> None:
    """Fail unless each value that landed is the one that Python reads, record for record."""
    records: list[dict[str, Any]] = []
    for packing, packed in files:
        records += read_json_records(decompress(packed, packing))
    names = list(dict.fromkeys(name for record in records for name in record))
    if len({name.encode().lower() for name in names}) < len(names):
        return  # keys that differ in case are numbered, which test_dialect shows
    assert list(landed.types) == names
    if not names:
        return
    assert len(landed.rows) == len(records)
    for row, record in zip(landed.rows, records, strict=True):
        for value, (name, type_) in zip(row, landed.types.items(), strict=True):
            assert is_json_value(value, type_, record.get(name)), (value, type_, record.get(name))


@fuzz
@given(files=streams().map(lambda files: list(map(pack, files))))
def test_json_lines_land_as_python_reads_them(tmp_path_factory, files):
    """Each value of each record of each file; numbers with each digit."""
    with fuzz_connection(tmp_path_factory) as (con, folder):
        write(folder, files)
        landed = land(con, f"{folder}/*", {"stream": "t", "format": "jsonl"})
        if not any(packed for _, packed in files):
            assert isinstance(landed, Refused)
            assert "is empty, as is each file" in landed.message
            return
        assert isinstance(landed, Landed), landed
        require_equal(landed, files)


_SIGNS = [sign.encode() for sign in '":,{}[]0-.eE\\\n\r \t\x0c'] + [b"\r\n", b"nan", b"inf", b"//"]
_OTHERS = ["é€".encode(other) for other in ("utf-8", "utf-16", "cp1252", "utf-8-sig")]


@st.composite
def damaged_streams(draw: st.DrawFn) -> list[tuple[str, bytes]]:
    """Return the files of a stream, of which one was damaged before or after it was compressed."""
    contents = draw(streams())
    number = draw(st.integers(0, len(contents) - 1))
    packing, content = contents[number]
    files = list(map(pack, contents))
    if packing and draw(st.booleans()):
        files[number] = packing, draw(damages_of_bytes).apply(files[number][1])
    else:
        files[number] = pack((packing, draw(damages(_SIGNS, _OTHERS)).apply(content)))
    return files


@fuzz
@given(files=damaged_streams())
def test_damaged_json_lands_as_python_reads_it_or_is_refused_by_line(tmp_path_factory, files):
    """Never a third thing: no other value, no part of the rows, no error of another kind."""
    with fuzz_connection(tmp_path_factory) as (con, folder):
        paths = write(folder, files)
        landed = land(con, f"{folder}/*", {"stream": "t", "format": "jsonl"})
        if isinstance(landed, Refused):
            require_named(landed, paths, max(map(_lines, files)))
            return
        try:
            require_equal(landed, files)
        except UnreadableError as error:
            pytest.fail(f"{error}: landed {landed}")


def _lines(file: tuple[str, bytes]) -> int:
    try:
        return decompress(file[1], file[0]).count(b"\n") + 1
    except UnreadableError:
        return 1
