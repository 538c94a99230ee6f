"""Tables that the project file asks for: streams that it must name."""

from __future__ import annotations

from cdpsync.model import Source, Stream, TableOptions, TableRule
from cdpsync.plan.configured import configured_tables

CHEAP = Stream("cheap", "cheap", ())
COSTLY = Stream("costly", "costly", (), only_if_named="it takes a request for each customer")


def names(loaded: tuple[str, ...] = (), **tables: TableOptions) -> list[str]:
    rules = tuple(TableRule(name, options, "p.yml:5") for name, options in tables.items())
    source = Source("shop", "stripe", None, "p.yml:3", tables=rules)
    return [table.name for table in configured_tables(source, [CHEAP, COSTLY], loaded)]


def test_stream_that_must_be_named_is_left_out_unless_it_is_loaded() -> None:
    """It costs too much, or is not permitted; what the lake has is never left out in silence."""
    assert names() == ["cheap"]
    assert names(loaded=("costly",)) == ["cheap", "costly"]
    assert names(**{"c*y": TableOptions()}) == ["costly"]
    assert names(costly=TableOptions()) == ["costly"]
    assert names(loaded=("costly",), costly=TableOptions(enabled=False)) == ["cheap"]
