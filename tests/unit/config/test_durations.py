"""Durations as people write them."""

from contextlib import suppress
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdpsync.config.durations import parse_duration, parse_every, parse_lookback

UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


@given(st.dictionaries(st.sampled_from("wdhms"), st.integers(0, 100_000), min_size=1))
def test_any_sum_of_units_is_understood(parts):
    """Units in falling order, each at most once, add up."""
    text = "".join(f"{parts[unit]}{unit}" for unit in UNITS if unit in parts)
    assert parse_duration(text) == timedelta(**{UNITS[unit]: n for unit, n in parts.items()})


@given(st.text() | st.text(alphabet="0123456789wdhms. -"))
def test_no_text_breaks_it(text):
    """Every text is a duration or a ValueError."""
    with suppress(ValueError):
        assert parse_duration(text) >= timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "90",
        90,
        1.5,
        True,
        None,
        "1m1h",
        "1h1h",
        "1.5h",
        "-1h",
        "1 hour",
        "1H",
        "\u0661h",
        [],
    ],
)
def test_what_is_no_duration_is_refused(text):
    """A number without its unit, units out of order and words are not guessed at."""
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)


def test_endless_duration_is_refused():
    """A duration that Python cannot hold is a ValueError like any other."""
    with pytest.raises(ValueError, match="less than a million years"):
        parse_duration("999999999999w")


def test_every_is_longer_than_zero():
    """A table cannot be due all the time."""
    assert parse_every("1h30m") == timedelta(minutes=90)
    with pytest.raises(ValueError, match="longer than zero"):
        parse_every("0h")


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("10m", timedelta(minutes=10)),
        ("0s", timedelta(0)),
        (0, Decimal(0)),
        (100, Decimal(100)),
        ("100", Decimal(100)),
        (0.1, Decimal("0.1")),
    ],
)
def test_lookback_is_a_duration_or_a_number(value, meant):
    """A number is exact, as the cursors it is taken from are."""
    assert parse_lookback(value) == meant


@pytest.mark.parametrize("value", [-1, "-1", "-10m", float("inf"), "nan", True, None, "soon", [1]])
def test_lookback_is_not_below_zero(value):
    """Looking forward would lose rows."""
    with pytest.raises(ValueError, match="not below zero"):
        parse_lookback(value)
