"""Many tables in one project: all right, all told, and no work that grows with their square."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stress import many_tables

from cdpsync import maintain, project, sync
from cdpsync.catalog import CatalogFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest
    from support.shop import Shop

_TABLES = 120


def counts(shop: Shop) -> dict[str, int]:
    names = [f"t{number}" for number in range(_TABLES)]
    parts = (f"select '{name}' as t, count(*) as n from shop.{name}" for name in names)
    return dict(shop.ask(" union all ".join(parts)))


def test_many_tables_of_every_mode(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """First, again, and after changes: each table has its rows, and each is told of."""
    many_tables.make(shop.pg.url, _TABLES)
    shop.file.write_text(many_tables.project_file(shop.pg.url, _TABLES))
    config = project.load(shop.file)
    planned = sync.plan(config)
    assert len(planned.plans) == _TABLES
    first = sync.run(config)
    assert [one.rows_inserted for one in first.tables] == [many_tables.ROWS] * _TABLES
    assert set(counts(shop).values()) == {many_tables.ROWS}

    changed = range(0, _TABLES, 12)
    many_tables.change(shop.pg.url, changed)
    again = {one.table: one for one in sync.run(config).tables}
    for number in range(_TABLES):
        news = int(number in changed)
        replaced = many_tables.ROWS if many_tables.mode_of(number) == "full_table" else 0
        assert again[f"shop.t{number}"].rows_inserted == news + replaced
    expected = {f"t{n}": many_tables.ROWS + int(n in changed) for n in range(_TABLES)}
    assert counts(shop) == expected
    states = project.status(config)
    assert [(one.status, one.rows) for one in states] == [
        ("ok", expected[one.table.name]) for one in states
    ]
    assert len(states) == len(json.loads(shop.state_file.read_text())["tables"]["shop"]) == _TABLES

    opened = []
    writer = CatalogFile.writer

    @contextmanager
    def counted(self: CatalogFile, *, data: bool = True) -> Iterator[object]:
        opened.append(data)
        with writer(self, data=data) as con:
            yield con

    monkeypatch.setattr(CatalogFile, "writer", counted)
    maintain.maintain(config)
    assert len(opened) < 2 * len(changed)  # not one for each table
    assert counts(shop) == expected


def test_one_refused_table_does_not_stop_those_beside_it(shop: Shop) -> None:
    """Tables that commit together are tried by halves: whoever can, commits."""
    many_tables.make(shop.pg.url, 12)
    shop.configure({"public.*": {"mode": "full_table"}})
    shop.run()
    shop.pg.execute("truncate t5; insert into t7 values (100, 1, 'x')")
    result = {one.table: one for one in shop.run().tables}
    assert result["shop.t5"].error.type == "ContractError"
    assert sum(one.status == "ok" for one in result.values()) == 11
    assert shop.ask("select (select count(*) from shop.t5), (select count(*) from shop.t7)") == [
        (many_tables.ROWS, many_tables.ROWS + 1)
    ]
