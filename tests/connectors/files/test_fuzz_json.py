"""Any JSON lands as Python reads it, in lines or an array; damaged, it does too, or is refused.

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


# White space around the signs of a record: in lines, and where a record may be over several.
_IN_LINE = st.sampled_from(["", "", " ", "\t", "\r"])
_ANYWHERE = st.sampled_from(["", "", " ", "\t", "\n", "\r\n", "\n\n  "])
_OF_ARRAY = st.sampled_from([",", ",", ",\n", " , ", "\r\n,", ",\n\n"])


def _in_lines(draw: st.DrawFn, records: list[str]) -> str:
    end = draw(st.sampled_from(["\n", "\r\n", " \n", "\n\n"]))
    return end.join(records) + draw(st.sampled_from(["", end]))


def _in_array(draw: st.DrawFn, records: list[str]) -> str:
    between = "".join(
        record + (draw(_OF_ARRAY) if number < len(records) else "")
        for number, record in enumerate(records, start=1)
    )
    return f"{draw(_ANYWHERE)}[{draw(_ANYWHERE)}{between}{draw(_ANYWHERE)}]{draw(_ANYWHERE)}"


def _over_lines(draw: st.DrawFn, records: list[str]) -> str:
    """Return records one behind another, of which the first has a line end behind its bracket."""
    text = draw(st.sampled_from(["", " ", "\n", "\r\n"])).join(records)
    return draw(_ANYWHERE) + text.replace("{", draw(st.sampled_from(["{\n", "{ \r\n"])), 1)


LAYOUTS = {
    "lines": (_IN_LINE, _in_lines),
    "array": (_ANYWHERE, _in_array),
    "over lines": (_ANYWHERE, _over_lines),
}


@st.composite
def streams(draw: st.DrawFn, layout: str) -> list[tuple[str, bytes]]:
    """Return the files of a stream: compression and content. Most are of this layout."""
    width = draw(st.one_of(st.integers(1, 4), st.sampled_from([1, 40])))
    names = draw(st.lists(keys, min_size=width, max_size=width, unique_by=str.casefold))
    kinds = dict(zip(names, draw(st.lists(columns, min_size=width, max_size=width)), strict=True))
    files = []
    for _ in range(draw(st.integers(1, 3))):
        own_layout = draw(st.sampled_from([layout] * 9 + list(LAYOUTS)))
        own_spaces, write_records = LAYOUTS[own_layout]
        records = []
        for _ in range(draw(st.integers(0, 4))):
            some = draw(st.permutations(names))[: draw(st.integers(0, width))]
            ascii_only = draw(st.booleans())
            pairs = [f"{_string(n, ascii_only=ascii_only)}:{draw(kinds[n])}" for n in some]
            records.append(_joined("{", "}", draw(own_spaces), pairs))
        content = write_records(draw, records)
        mark = draw(st.sampled_from([b""] * 4 + [b"\xef\xbb\xbf"])) if content else b""
        files.append((draw(st.sampled_from(COMPRESSIONS)), mark + content.encode()))
    return files


def pack(file: tuple[str, bytes]) -> tuple[str, bytes]:
    return file[0], compress(file[1], file[0])


def write(folder: Path, files: Sequence[tuple[str, bytes]]) -> list[str]:
    paths = [f"{folder}/{number}.jsonl{packing}" for number, (packing, _) in enumerate(files)]
    for path, (_, packed) in zip(paths, files, strict=True):
        with open(path, "wb") as file:  # noqa: PTH123 - a text is what the reader takes
            file.write(packed)
    return paths


def read_records(file: tuple[str, bytes]) -> list[dict[str, Any]]:
    """Return the records of a packed file as Python reads them."""
    packing, packed = file
    return list(read_json_records(decompress(packed, packing)))


def require_equal(landed: Landed, files: Sequence[tuple[str, bytes]]) -> None:
    """Fail unless each value that landed is the one that Python reads, record for record."""
    records = [record for file in files for record in read_records(file)]
    names = list(dict.fromkeys(name for record in records for name in record))
    if len({name.encode().lower() for name in names}) < len(names):
        return  # keys that differ in case are numbered, which test_dialect shows
    assert list(landed.types) == names
    assert len(landed.rows) == len(records)
    for row, record in zip(landed.rows, records, strict=True):
        for value, (name, type_) in zip(row, landed.types.items(), strict=True):
            assert is_json_value(value, type_, record.get(name)), (value, type_, record.get(name))


@pytest.mark.parametrize("layout", LAYOUTS)
@fuzz
@given(data=st.data())
def test_json_lands_as_python_reads_it(tmp_path_factory, layout, data):
    """Each value of each record of each file; numbers with each digit."""
    files = list(map(pack, data.draw(streams(layout))))
    with fuzz_connection(tmp_path_factory) as (con, folder):
        write(folder, files)
        landed = land(con, f"{folder}/*", {"stream": "t", "format": "jsonl"})
        if not any(record for file in files for record in read_records(file)):
            assert isinstance(landed, Refused)
            assert "is empty, as is each file" in landed.message
            return
        assert isinstance(landed, Landed), landed
        require_equal(landed, files)


_SIGNS = [sign.encode() for sign in '":,{}[]0-.eE\\\n\r \t\x0c'] + [b"\r\n", b"nan", b"inf", b"//"]
_SIGNS += [b"[]", b"{}", b",,", b"]]", b"},{", b"null", b"/*"]
_OTHERS = ["é€".encode(other) for other in ("utf-8", "utf-16", "cp1252", "utf-8-sig")]


@st.composite
def damaged_streams(draw: st.DrawFn, layout: str) -> list[tuple[str, bytes]]:
    """Return the files of a stream, of which one was damaged before or after it was compressed."""
    contents = draw(streams(layout))
    number = draw(st.integers(0, len(contents) - 1))
    packing, content = contents[number]
    files = list(map(pack, contents))
    if packing and draw(st.booleans()):
        files[number] = packing, draw(damages_of_bytes).apply(files[number][1])
    else:
        files[number] = pack((packing, draw(damages(_SIGNS, _OTHERS)).apply(content)))
    return files


@pytest.mark.parametrize("layout", LAYOUTS)
@fuzz
@given(data=st.data())
def test_damaged_json_lands_as_python_reads_it_or_is_refused_by_line(
    tmp_path_factory, layout, data
):
    """Never a third thing: no other value, no part of the rows, no error of another kind."""
    files = data.draw(damaged_streams(layout))
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
