"""Any CSV of a tolerated dialect lands as Python reads it; a damaged one does too, or is refused.

`CDPSYNC_FUZZ` is how many examples are tried; `make fuzz` sets it.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.file_damage import damages, damages_of_bytes
from support.file_dialects import (
    COMPRESSIONS,
    DELIMITERS,
    ENCODINGS,
    LINE_ENDS,
    NULLS,
    OTHER_ENCODINGS,
    USUAL_DELIMITERS,
    Dialect,
    Table,
    UnreadableError,
    compress,
    decompress,
    folded_ascii,
    read_csv,
    write_csv,
)
from support.file_fuzzing import fuzz, fuzz_connection
from support.file_reading import Landed, Refused, is_value, land, require_named

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

dialects = st.builds(
    Dialect,
    delimiter=st.sampled_from(DELIMITERS),
    encoding=st.sampled_from(ENCODINGS),
    null=st.sampled_from(NULLS),
    header=st.booleans(),
    end=st.sampled_from(LINE_ENDS),
    ends_last_line=st.booleans(),
    quotes_all=st.booleans(),
    compression=st.sampled_from(COMPRESSIONS),
    quote=st.sampled_from("\"'"),
)
_SOME_OPTION = st.sampled_from(["quote", "escape", "comment", "skip", "delimiter", "decimal"])


@st.composite
def dialects_with_options(draw: st.DrawFn) -> Dialect:
    """Return a dialect with one or more of the options that most files need none of."""
    chosen = draw(st.sets(_SOME_OPTION, max_size=3))
    encoding = draw(st.sampled_from([*ENCODINGS, *OTHER_ENCODINGS]))
    delimiters = USUAL_DELIMITERS if "delimiter" in chosen else (*USUAL_DELIMITERS, " ")
    decimal = "decimal" in chosen
    return replace(
        draw(dialects),
        delimiter=draw(st.sampled_from(delimiters)),
        names_delimiter="delimiter" not in chosen,
        encoding=encoding,
        quote="" if "quote" in chosen else draw(st.sampled_from("\"'")),
        escape=draw(st.sampled_from("\\^")) if "escape" in chosen else "",
        comment=draw(st.sampled_from(["#", "//", "%"])) if "comment" in chosen else "",
        skip=draw(st.integers(1, 3)) if "skip" in chosen else 0,
        more_nulls=draw(st.sampled_from([(), ("",), ("NA", "n/a"), ("0", "-")])),
        empty_as_null=draw(st.booleans()),
        decimal="," if decimal else ".",
        thousands=draw(st.sampled_from(["", ".", "'"])) if decimal else "",
    )


DIALECTS = {"dialect": dialects, "options": dialects_with_options()}


def _texts(letters: str) -> st.SearchStrategy[str]:
    awkward = st.text(st.sampled_from(letters + " a1-,;|\t\"'\\#\r\n\0\x1f"), max_size=8)
    return st.one_of(awkward, st.sampled_from(["", *NULLS, "\r\n", '"', '""', " ", "NaN", "nan"]))


_local_numbers = st.from_regex(r"\A-?[0-9]{1,3}([.'][0-9]{3}){0,2}(,[0-9]{1,9})?\Z")
numbers = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.integers(-9, 99).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(lambda n: f"{n:f}"),
    st.floats().map(repr),
    st.from_regex(r"\A[+-]?[0-9]{0,3}\.?[0-9]{0,20}([eE][+-]?[0-9]{1,3})?\Z"),
)
times = st.one_of(
    st.dates().map(str),
    st.datetimes().map(str),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.datetimes(timezones=st.timezones()).map(str),
    st.from_regex(r"\A[0-9]{4}-[01][0-9]-[0-3][0-9]([T ][0-9]{2}:[0-5][0-9])?\Z"),
)


def _columns(letters: str) -> st.SearchStrategy[st.SearchStrategy[str | None]]:
    """Return strategies of one column's values."""
    texts = _texts(letters)
    kinds = [
        numbers,
        _local_numbers,
        st.decimals(-999, 999, allow_nan=False, places=2).map(lambda n: f"{n}".replace(".", ",")),
        st.integers(-999, 999).map(str),
        st.decimals(-999, 999, allow_nan=False, places=2).map(str),
        st.floats().map(repr),
        times,
        st.dates().map(str),
        st.datetimes().map(str),
        st.booleans().map(lambda truth: str(truth).lower()),
        texts,
        st.one_of(numbers, times, texts),
    ]
    return st.sampled_from([st.one_of(st.none(), kind) for kind in kinds])


@st.composite
def tables(draw: st.DrawFn, dialect: Dialect) -> list[Table]:
    """Return the tables of one to three files of a stream; their columns may be in any order."""
    letters = dialect.encoding.texts
    width = draw(st.one_of(st.integers(1, 4), st.sampled_from([1, 40])))
    name = st.text(st.sampled_from(letters + "abxy ,;\"'\r\n"), max_size=4) | st.sampled_from(NULLS)
    names = draw(st.lists(name, min_size=width, max_size=width, unique_by=_folded))
    kinds = draw(st.lists(_columns(letters), min_size=width, max_size=width))
    files = []
    for _ in range(draw(st.integers(1, 3))):
        order = draw(st.permutations(range(width))) if dialect.header else range(width)
        row = st.tuples(*(kinds[number] for number in order))
        rows = draw(st.lists(row, max_size=5 if width < 9 else 2))
        if not dialect.quote:
            rows = [row for row in rows if row != (None,)]
        if width == 1 and not dialect.header:  # a first line that is empty is refused
            rows = [row for row in rows if row[0] is not None]
        files.append(Table(tuple(names[number] for number in order), rows))
    return files


def _folded(name: str) -> str:
    return name.casefold() or "column"


@st.composite
def streams(draw: st.DrawFn, kind: str) -> tuple[Dialect, list[tuple[Dialect, bytes]]]:
    """Return the files of a stream: of each the content, before it is compressed."""
    dialect = draw(DIALECTS[kind])
    signs = dialect.encoding.texts.replace("\u2028", "").replace("\x85", "") + " a,;\"'\\#"
    line = st.text(st.sampled_from(signs), max_size=9)
    count = dialect.skip
    more = st.lists(line, min_size=count, max_size=count + 3)
    own_dialects = st.builds(
        replace,
        st.just(dialect),
        end=st.sampled_from(LINE_ENDS),
        quotes_all=st.booleans(),
        compression=st.sampled_from(COMPRESSIONS),
    )
    of_stream = draw(tables(dialect))
    if len(of_stream[0].names) == 1:  # a delimiter is found where it divides the header
        dialect = replace(dialect, names_delimiter=True)
    files = [(draw(own_dialects), table) for table in of_stream]
    return dialect, [(own, write_csv(table, own, draw(more))) for own, table in files]


def expected(files: Sequence[tuple[Dialect, bytes]]) -> Table:
    """Return the rows of all files, by the names of their columns, as Python reads them."""
    read = [read_csv(decompress(packed, own.compression), own) for own, packed in files]
    found = [table for table in read if table is not None]
    names = list(dict.fromkeys(itertools.chain.from_iterable(table.names for table in found)))
    rows = []
    for table in found:
        for row in table.rows:
            values = dict(zip(table.names, row, strict=True))
            rows.append(tuple(values.get(name) for name in names))
    return Table(tuple(names), rows)


def require_equal(landed: Landed, table: Table, dialect: Dialect) -> None:
    """Fail unless each value that landed is the one that Python reads, row for row."""
    assert tuple(landed.types) == table.names
    if len(set(map(folded_ascii, table.names))) < len(table.names):
        return  # two files name a column in different case: a run refuses the stream
    assert len(landed.rows) == len(table.rows)
    for row, texts in zip(landed.rows, table.rows, strict=True):
        for value, type_, text in zip(row, landed.types.values(), texts, strict=True):
            standard = _standard(text, type_, dialect)
            assert is_value(value, type_, standard), (value, type_, text)


def _standard(text: str | None, type_: str, dialect: Dialect) -> str | None:
    """Return the text of a number as Python reads it; each of another type as it is."""
    is_local = dialect.decimal != "." or dialect.thousands
    if text is None or not is_local or not type_.startswith(("BIGINT", "DECIMAL", "DOUBLE")):
        return text
    thousands = re.escape(dialect.thousands)
    whole = rf"(\d+|\d{{1,3}}({thousands}\d{{3}})+)" if thousands else r"\d+"
    if re.fullmatch(rf"-?{whole}(,\d+)?([eE][+-]?\d+)?", text, re.ASCII):
        plain = text.replace(dialect.thousands, "") if thousands else text
        return plain.replace(",", ".")
    assert text.lower().lstrip("+-") in {"nan", "inf", "infinity"}, (text, type_)
    return text


def write(folder: Path, files: Sequence[tuple[Dialect, bytes]]) -> list[str]:
    for number, (own, packed) in enumerate(files):
        (folder / f"{number}.csv{own.compression}").write_bytes(packed)
    return [f"{folder}/{number}.csv{own.compression}" for number, (own, _) in enumerate(files)]


def pack(own: Dialect, content: bytes, parts: int = 1) -> tuple[Dialect, bytes]:
    return own, compress(content, own.compression, parts=parts)


@pytest.mark.parametrize("kind", DIALECTS)
@fuzz
@given(data=st.data(), parts=st.integers(1, 2))
def test_every_dialect_lands_as_python_reads_it(tmp_path_factory, kind, data, parts):
    """Each value of each row of each file, of one part or several."""
    dialect, contents = data.draw(streams(kind))
    files = [pack(own, content, parts) for own, content in contents]
    with fuzz_connection(tmp_path_factory) as (con, folder):
        write(folder, files)
        table = expected(files)
        landed = land(con, f"{folder}/*", {**dialect.options, "stream": "t", "format": "csv"})
        if isinstance(landed, Refused):
            may_refuse = "is empty, as is each file" if not table.names else "Set delimiter: of"
            assert may_refuse in landed.message, landed
            assert not table.names or not dialect.names_delimiter, landed
            return
        require_equal(landed, table, dialect)


@st.composite
def damaged_streams(draw: st.DrawFn, kind: str) -> tuple[Dialect, list[tuple[Dialect, bytes]]]:
    """Return the files of a stream, of which one was damaged before or after it was compressed."""
    dialect, contents = draw(streams(kind))
    codec = dialect.encoding.writes
    signs = [
        sign.encode(codec)
        for sign in (dialect.delimiter, dialect.quote, "\n", "\r", "\r\n", " ", dialect.escape)
        if sign
    ]
    others = ["é€".encode(other) for other in ("utf-8", "utf-16-le", "cp1252")]
    others += [f"{sign}x".encode(codec) for sign in (dialect.delimiter, '"', "")]
    number = draw(st.integers(0, len(contents) - 1))
    own, content = contents[number]
    is_packed = own.compression and draw(st.booleans())
    damage = draw(damages_of_bytes if is_packed else damages(signs, others))
    files = [pack(*file) for file in contents]
    files[number] = (
        (own, damage.apply(files[number][1])) if is_packed else pack(own, damage.apply(content))
    )
    return dialect, files


@pytest.mark.parametrize("kind", DIALECTS)
@fuzz
@given(data=st.data())
def test_damaged_csv_lands_as_python_reads_it_or_is_refused_by_line(tmp_path_factory, kind, data):
    """Never a third thing: no other value, no part of the rows, no error of another kind."""
    dialect, files = data.draw(damaged_streams(kind))
    with fuzz_connection(tmp_path_factory) as (con, folder):
        paths = write(folder, files)
        landed = land(con, f"{folder}/*", {**dialect.options, "stream": "t", "format": "csv"})
        if isinstance(landed, Refused):
            require_named(landed, paths, max(map(_lines, files)))
            return
        errors = []
        for read_files in _with_delimiters(dialect, files):
            try:
                require_equal(landed, expected(read_files), dialect)
            except (UnreadableError, AssertionError) as error:
                errors.append(error)
            else:
                return
        pytest.fail(f"{errors[0]}: landed {landed}")


def _with_delimiters(
    dialect: Dialect, files: Sequence[tuple[Dialect, bytes]]
) -> Iterator[Sequence[tuple[Dialect, bytes]]]:
    """Yield the files with each delimiter that may be found in them, first that of the writer.

    One that is not named may be another in a damaged file: the only one that divides its records.
    """
    yield files
    if not dialect.names_delimiter:
        for signs in itertools.product(USUAL_DELIMITERS, repeat=len(files)):
            yield [
                (replace(own, delimiter=sign), packed)
                for (own, packed), sign in zip(files, signs, strict=True)
            ]


def _lines(file: tuple[Dialect, bytes]) -> int:
    """Return how many lines a file may have at most."""
    own, packed = file
    try:
        content = decompress(packed, own.compression)
    except UnreadableError:
        return 1
    return content.count(b"\n") + content.count(b"\r") + 1
