"""Casts of texts give the very numbers that stand there."""

from __future__ import annotations

import random

import duckdb

from cdpsync.connector import exact_sql as sql


def test_a_decimal_of_any_width_is_cast_exactly() -> None:
    """Each precision and scale, with as many digits as fit, of either sign, compared as text."""
    dice = random.Random(11)  # noqa: S311 - the same numbers in each run
    con = duckdb.connect()
    for precision in range(17, 39):
        for scale in sorted({0, 1, 6, 12, 16, 17, 18, precision} & set(range(precision + 1))):
            type_ = f"DECIMAL({precision},{scale})"
            texts = [_number(dice, precision - scale, scale) for _ in range(40)]
            if precision > scale:
                longest = "9" * (precision - scale)
                texts += ["1", "-1", longest, f"-{longest}", f"-1{longest[1:]}"]
            rows = [(text,) for text in texts]
            con.execute("create or replace temp table t (x varchar)")
            con.executemany("insert into t values (?)", rows)
            wrong = con.execute(
                f"select x, {sql.plain_cast('x', type_)} from t "
                f"where {sql.plain_cast('x', type_)} is distinct from cast(x as {type_})"
            ).fetchall()
            assert wrong == [], type_


def _number(dice: random.Random, whole: int, scale: int) -> str:
    digits = str(dice.randrange(10 ** dice.randint(0, whole))) if whole else "0"
    fraction = "".join(dice.choice("0123456789") for _ in range(dice.randint(0, scale)))
    return f"{dice.choice(['', '-'])}{digits}{'.' if fraction else ''}{fraction}"
