"""Identities of sources: when two are of one source, and what is kept of them."""

from __future__ import annotations

import pytest

from cdpsync.model import SourceIdentity
from cdpsync.model.identity import identity_text, parse_identity


def identity(label: str = "", **parts: str) -> SourceIdentity:
    """Return an identity; the names of a part are divided by spaces."""
    return SourceIdentity({part: tuple(names.split()) for part, names in parts.items()}, label)


@pytest.mark.parametrize(
    ("before", "now", "is_other"),
    [
        (identity(account="a", mode="live"), identity(account="a", mode="live"), False),
        (identity(account="a", mode="live"), identity(account="a", mode="test"), True),
        (identity(account="a", mode="live"), identity(mode="live"), False),
        (identity(mode="live"), identity(account="a", mode="live"), False),
        (identity(account="a"), identity(mode="live"), False),
        (identity(server="uuid1 db:3306"), identity(server="uuid2 db:3306"), False),
        (identity(server="uuid1 db:3306"), identity(server="uuid1 db2:3306"), False),
        (identity(server="uuid1 db:3306"), identity(server="uuid2 db2:3306"), True),
        (identity(system="1", database="5"), identity(system="2", database="5"), True),
    ],
)
def test_sources_differ_in_a_part_that_both_have(
    before: SourceIdentity, now: SourceIdentity, is_other: bool
) -> None:
    """What one of them does not know tells nothing; one name in common is enough."""
    assert now.is_other_than(before) is is_other
    assert before.is_other_than(now) is is_other


def test_what_is_known_of_a_source_only_grows() -> None:
    """A key that may see less forgets nothing, and an identity without news is the same value."""
    full, part = identity("all", account="a", mode="live"), identity("less", mode="live")
    assert part.combined(full) is full
    assert full.combined(part) == full
    assert full.combined(None) is full
    servers = identity("old", server="uuid1 db:3306")
    moved = identity("new", server="uuid2 db:3306").combined(servers)
    assert moved == identity("new", server="uuid2 db:3306 uuid1")
    assert identity("old", server="uuid1 db:3306").combined(moved) is moved


def test_names_of_a_part_are_limited() -> None:
    """A container with another name each night does not make the state grow; the newest stay."""
    known = identity("server", server="name0 db:3306")
    for night in range(1, 40):
        known = identity("server", server=f"name{night} db:3306").combined(known)
    assert len(known.parts["server"]) == 12
    assert {"name39", "db:3306"} <= set(known.parts["server"])


@pytest.mark.parametrize("value", [None, identity("ä b", account="a", server="x y")])
def test_identity_survives_the_catalog(value: SourceIdentity | None) -> None:
    """The text of an identity gives the identity back."""
    assert parse_identity(identity_text(value)) == value
