"""The digest of rows: the same for the same rows however they lie, another for any other value."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdpsync import engine
from cdpsync.extract.row_digest import RowDigest, digest_of
from cdpsync.model import Column

if TYPE_CHECKING:
    import duckdb

# Values of one type that differ, though some are equal to DuckDB's `=` or `hash()`.
DIFFERENT = {
    "BIGINT": ["null", "0", "-1", "1", "9223372036854775807"],
    "BLOB": ["null", "''", r"'\x00'", r"'\x00\x00'", "'+++'",
             r"'\x00\x00\x00\x00\x00\x00\x00\x41\x00\x00\x00\x00\x00\x00\x00\x41'",
             r"'\x00\x00\x00\x00\x00\x00\x00\xC1\x00\x00\x00\x00\x00\x00\x00\xC1'"],
    "BLOB[]": ["null", "[]", r"['\x00'::blob]", r"['\x5Cx00'::blob]"],
    "BOOLEAN": ["null", "false", "true"],
    "DATE": ["null", "'1970-01-01'", "'infinity'", "'-infinity'"],
    "DECIMAL(18,2)": ["null", "0", "0.01", "1"],
    "DECIMAL(38,2)": ["null", "0", "0.01", "1", "18446744073709551616"],
    "DOUBLE": ["null", "0.0", "'-0.0'", "'nan'", "'inf'", "'-inf'", "1.0"],
    "DOUBLE[]": ["null", "[0.0]", "['-0.0'::double]", "['nan'::double]"],
    "FLOAT": ["null", "0.0", "'-0.0'", "'nan'"],
    "INTEGER[]": ["null", "[]", "[null]", "[0]", "[1, 2]", "[2, 1]"],
    "INTEGER[][]": ["null", "[]", "[null]", "[[]]", "[[null]]"],
    "JSON": ["null", "'null'", "'{}'", "'{ }'"],
    "MAP(VARCHAR, INTEGER)": ["null", "map {}", "map {'a': 1}", "map {'a': null}"],
    "STRUCT(a INTEGER, b VARCHAR)": ["null", "{'a': null, 'b': null}", "{'a': null, 'b': ''}",
                                     "{'a': null, 'b': 'NULL'}"],
    "TIMESTAMP WITH TIME ZONE": ["null", "'2024-01-01 00:00:00+00'", "'2024-01-01 00:00:00+01'"],
    "UUID": ["null", "'00000000-0000-0001-0000-000000000002'",
             "'00000000-0000-0002-0000-000000000001'"],
    "VARCHAR": ["null", "''", "' '", "'NULL'", "'+++'", "'a'", "'abcdefg1hijklmn1xyzxyzxyz'",
                "'abcdefgqhijklmnqxyzxyzxyz'",
                "repeat('a', 1000)", "repeat('a', 1001)"],
    "VARCHAR[]": ["null", "[]", "[null]", "['NULL']", "['']", "['a, b']", "['a', 'b']"],
}  # fmt: skip


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    """A connection with the settings of every other."""
    return engine.connect(threads=1)


@pytest.mark.parametrize("type_", DIFFERENT)
def test_different_values_have_different_digests(
    con: duckdb.DuckDBPyConnection, type_: str
) -> None:
    """NULL, empty, zero and NaN, signs and the order of elements are told apart."""
    columns = [Column("a", type_)]
    digests = {
        value: digest_of(con, f"select cast({value} as {type_}) as a", columns)
        for value in DIFFERENT[type_]
    }
    for one, other in combinations(digests, 2):
        assert digests[one].second != digests[other].second, (one, other)


CELLS = st.tuples(st.sampled_from([None, "", "a", "b"]), st.sampled_from([None, 0, 1]))


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(CELLS, max_size=6), other=st.lists(CELLS, max_size=6), cut=st.integers(0, 6))
def test_digest_is_that_of_the_multiset(
    con: duckdb.DuckDBPyConnection,
    rows: list[tuple[str | None, int | None]],
    other: list[tuple[str | None, int | None]],
    cut: int,
) -> None:
    """Order and files do not count, how often a row is there does."""
    columns = [Column("a", "VARCHAR"), Column("b", "INTEGER")]

    def digest(part: list[tuple[str | None, int | None]]) -> RowDigest:
        values = "select unnest($rows) as row" if part else "select null as row where false"
        con.execute(
            "create or replace temp table part as "
            f"select row[1]::varchar as a, row[2]::integer as b from ({values})",
            {"rows": [[a, None if b is None else str(b)] for a, b in part]} if part else None,
        )
        return digest_of(con, "from part", columns)

    assert digest(rows[:cut]) + digest(rows[cut:]) == digest(rows[::-1])
    assert (digest(rows) == digest(other)) is (sorted(map(repr, rows)) == sorted(map(repr, other)))
