"""Of changes with one value, a mask lets the first in an interval, or each n-th, through."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from cdpsync import engine
from cdpsync.destinations.feeds.masks import apply_mask
from cdpsync.model.destinations import Mask, Template

if TYPE_CHECKING:
    from cdpsync.model.deliveries import MaskWindow

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BY = Template("{{ customer }}", "cdpsync.yml:9")
HOURLY = Mask(BY, every=timedelta(hours=1))
EACH_THIRD = Mask(BY, after=3)


class Masked:
    """A destination that is sent changes of these customers, in turns."""

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self.windows: tuple[MaskWindow, ...] = ()

    def send(self, customers: list[str | None], at: datetime = NOON, *, held: int = 0) -> list[int]:
        """Return the numbers of the changes that are sent; the first `held` were held before."""
        con = engine.connect()
        values = ", ".join(
            f"({number}, {'null' if name is None else repr(name)}, {number < held})"
            for number, name in enumerate(customers)
        )
        con.execute(
            f"create temp table selected as from (values {values}) as t(ord, who, has_passed)"
        )
        relation, masked, self.windows = apply_mask(
            con, "selected", self.mask, "changes.who", self.windows, at
        )
        sent = con.execute(f"select ord, who, has_passed from {relation} order by ord").fetchall()
        assert masked == len(customers) - len(sent)
        con.close()
        return [ord_ for ord_, *_ in sent]


def test_first_of_each_value_in_an_interval_is_sent() -> None:
    """The interval begins with the first change of the value, not with the hour."""
    masked = Masked(HOURLY)
    assert masked.send(["a", "a", "b", None, None, "null"]) == [0, 2, 3, 5]
    assert masked.send(["a", "c"], NOON + timedelta(minutes=30)) == [1]
    assert masked.send(["a", "c"], NOON + timedelta(minutes=60)) == [0]
    assert masked.send(["a", "c"], NOON + timedelta(minutes=90)) == [1]


def test_each_nth_of_a_value_is_sent() -> None:
    """Counted over all sends, whatever time is between them."""
    masked = Masked(EACH_THIRD)
    assert masked.send(["a", "a", "b"]) == []
    assert masked.send(["a", "a", "b"], NOON + timedelta(days=400)) == [0]
    assert masked.send(["b", "a", "a"], NOON + timedelta(days=800)) == [0, 2]
    assert masked.send(["a"] * 7 + ["b"]) == [2, 5]


def test_each_nth_in_an_interval_is_sent() -> None:
    """The count begins anew with each interval."""
    masked = Masked(Mask(BY, every=timedelta(hours=1), after=2))
    assert masked.send(["a", "a", "a"]) == [1]
    assert masked.send(["a"], NOON + timedelta(minutes=59)) == [0]
    assert masked.send(["a", "a"], NOON + timedelta(minutes=60)) == [1]


@pytest.mark.parametrize("mask", [HOURLY, EACH_THIRD])
def test_held_change_passes_and_is_not_counted_again(mask: Mask) -> None:
    """It has passed when it came."""
    masked = Masked(mask)
    assert masked.send(["a", "a"], held=2) == [0, 1]
    assert masked.windows == ()
    expected = [0] if mask is HOURLY else [2]
    assert masked.send(["a"] * 3) == expected


def test_windows_have_no_values_and_end() -> None:
    """They are hashes of the values, and only those that still count are kept."""
    masked = Masked(HOURLY)
    masked.send(["secret@example.com", "b"])
    assert len(masked.windows) == 2
    assert all("secret" not in window.hash and len(window.hash) == 32 for window in masked.windows)
    masked.send(["c"], NOON + timedelta(hours=2))
    assert [window.seen for window in masked.windows] == [1]
