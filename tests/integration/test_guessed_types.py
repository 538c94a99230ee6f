"""Numbers without declared digits: later rows may need others than those that gave the type."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from cdpsync.model.verification import VerifyStatus
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    from support.shop import Shop

MODES = {
    "inc": {"mode": "incremental", "cursor_field": "id"},
    "app": {"mode": "append_only", "cursor_field": "id"},
    "full": {"mode": "full_table"},
}
NINES = "9" * 36

# The values of one run after the other, and the column's type after it.
STEPS = {
    "whole": [(["1", "20"], "DECIMAL(38,0)"), (["1.55"], "DECIMAL(38,2)"),
              (["1.255"], "DECIMAL(38,3)"), (["7"], "DECIMAL(38,3)")],
    "empty": [([], "DECIMAL(38,9)"), (["0.12345678901"], "DECIMAL(38,11)")],
    "nulls": [(["null"], "DECIMAL(38,9)"), ([NINES], "DECIMAL(38,0)")],
    "long": [(["1.5", "2.50", "0", "-0.05", "100"], "DECIMAL(38,2)"),
             ([NINES + ".125"], "VARCHAR"), (["3.10", "7"], "VARCHAR")],
    "large": [([NINES], "DECIMAL(38,0)"), (["0.125"], "VARCHAR")],
}  # fmt: skip


@pytest.mark.parametrize("source", ["postgres", "mysql"])
def test_what_rows_decided_is_decided_again(
    source: str, shop: Shop, request: pytest.FixtureRequest
) -> None:
    """Every value of each run is in the lake as at the source, and a notice names the new type.

    Each case in each mode from Postgres, and in one mode from MySQL.
    """
    db, type_ = shop.pg, "numeric"
    if source == "mysql":
        db, type_ = request.getfixturevalue("maria"), "decimal(65,20)"
    tables = {f"{case}_{mode}": (case, mode) for case in STEPS for mode in MODES}
    if source == "mysql":
        modes = itertools.islice(itertools.cycle(MODES), 1, None)
        tables = {f"{case}_{mode}": (case, mode) for case, mode in zip(STEPS, modes, strict=False)}
    schema = "public" if source == "postgres" else db.name
    shop.configure(
        {f"{schema}.{table}": MODES[mode] for table, (_, mode) in tables.items()},
        type=source, url=db.url,
    )  # fmt: skip
    db.execute("".join(f"create table {t} (id int primary key, v {type_});\n" for t in tables))
    for number in range(4):
        changed, inserts = set(), []
        for table, (case, _) in tables.items():
            if number < len(STEPS[case]):
                changed.add(table)
                rows = enumerate(STEPS[case][number][0], start=10 * number)
                inserts += [f"insert into {table} values ({row}, {v});\n" for row, v in rows]
        db.execute("".join(inserts))
        results = shop.run().tables
        assert {result.error for result in results} == {None}
        typeof = (f"select '{t}', any_value(typeof(v)) from shop.{t}" for t in tables)
        lake_types = dict(shop.ask(" union all ".join(typeof)))
        for result in results:
            table = result.table.name
            steps = STEPS[tables[table][0]]
            lake_type = lake_types[table]
            if table in changed and steps[number][0]:
                expected = steps[number][1]
                if steps[0][1] == "DECIMAL(38,9)" and source == "mysql":
                    expected = lake_type  # its declared scale is the guess from no row
                assert lake_type == expected, (table, number)
                if number and expected != steps[number - 1][1] and "9)" not in steps[0][1]:
                    assert f"is {expected} now" in "; ".join(result.notices), (table, number)
    results = verify(shop.file)
    assert {result.status for result in results} == {VerifyStatus.EQUAL}
    assert shop.ask("select id, v from shop.long_app order by id") == [
        (0, "1.5"), (1, "2.5"), (2, "0"), (3, "-0.05"), (4, "100"),
        (10, NINES + ".125"), (20, "3.1"), (21, "7"),
    ]  # fmt: skip
    assert {result.rows_inserted for result in shop.run("shop.*_inc").tables} == {0}


def test_text_stays_where_another_column_is_decided_again(shop: Shop) -> None:
    """Also where the rows of this run would fit a decimal; no old value is rounded to one."""
    small = f"0.{'1' * 44}"
    shop.pg.execute(
        "create table orders (id int primary key, long numeric, small numeric, other numeric);"
        f"insert into orders values (1, {'9' * 50}, {small}, 1.25), (2, 5, 5, 1)"
    )
    shop.configure({"public.orders": {"mode": "append_only", "cursor_field": "id"}})
    shop.one()
    shop.pg.execute(f"insert into orders values (3, 5, 5, {NINES}.125)")
    shop.pg.execute("delete from orders where id = 1")
    shop.one()
    rows = [("9" * 50, small), ("5", "5"), ("5", "5")]
    assert shop.ask("select long, small from shop.orders order by id") == rows


def test_key_without_digits_finds_deleted_rows(shop: Shop) -> None:
    """The keys are read in the type that the rows of the same run need."""
    shop.pg.execute("create table orders (id numeric primary key, rev int)")
    shop.pg.execute("insert into orders values (1, 1), (2, 2), (3, 3)")
    options = {"mode": "incremental", "cursor_field": "rev", "deletes": "hard"}
    shop.configure({"public.orders": options})
    shop.one()
    for key, deleted in (("1.55", "2"), (NINES + ".125", "1")):
        shop.pg.execute(f"insert into orders select {key}, 1 + max(rev) from orders")
        shop.pg.execute(f"delete from orders where id = {deleted}")
        result = shop.one()
        assert (result.rows_inserted, result.rows_deleted) == (1, 1)
    assert shop.ask("select id from shop.orders order by rev") == [
        ("3",), ("1.55",), (NINES + ".125",),
    ]  # fmt: skip
    assert verify(shop.file)[0].status is VerifyStatus.EQUAL
