"""Order per key: no change overtakes an earlier one of its key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cdpsync.destinations.delivery.key_order import KeyOrder
from cdpsync.destinations.delivery.requests import Parcel

PARCELS = st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3), max_size=30)


def parcel(first: int, keys: list[str]) -> Parcel:
    return Parcel(first, first, len(keys), "request", f"e{first}", {}, keys)


@given(PARCELS, st.data())
def test_parcels_of_a_key_go_one_after_the_other(
    all_keys: list[list[str]], data: st.DataObject
) -> None:
    """Whichever is answered first; and all go in the end, but those behind a held one."""
    order, going, done, held = KeyOrder(), [], [], set()
    waiting = [parcel(number + 1, keys) for number, keys in enumerate(all_keys)]
    held_keys: set[str] = set()
    while waiting or going:
        if waiting and (not going or data.draw(st.booleans())):
            new = waiting.pop(0)
            if order.is_held(new):
                assert held_keys & set(new.keys)
                order.hold(new)
                held.add(new.first)
                held_keys |= set(new.keys)
            elif order.add(new):
                going.append(new)
            continue
        current = going.pop(data.draw(st.integers(0, len(going) - 1)))
        assert not any(set(current.keys) & set(other.keys) for other in going)
        if data.draw(st.integers(0, 9)) == 0:
            for each in order.hold_all(current):
                held.add(each.first)
                held_keys |= set(each.keys)
        else:
            done.append(current.first)
            going += order.settle(current)
    assert sorted([*done, *held]) == list(range(1, len(all_keys) + 1))
    assert order.waiting == 0
    for key in "abcdef":
        own = [first for first in done if key in all_keys[first - 1]]
        assert own == sorted(own)
        late = [first for first in held if key in all_keys[first - 1]]
        assert not late or not own or max(own) < max(late)
