"""Many tables in one project: each is right, each is reported, and no work is quadratic."""

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

_TABLES = 60


def counts(shop: Shop) -> dict[str, int]:
    names = [f"t{number}" for number in range(_TABLES)]
    parts = (f"select '{name}' as t, count(*) as n from shop.{name}" for name in names)
    return dict(shop.ask(" union all ".join(parts)))


def test_many_tables_of_every_mode(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first run and after changes, each table has its rows, its result and its status."""
    many_tables.make(shop.pg.url, _TABLES)
    shop.file.write_text(many_tables.project_file(shop.pg.url, _TABLES))
    config = project.load(shop.file)
    planned = sync.plan(config)
    assert len(planned.plans) == _TABLES
    first = sync.run(config)
    assert [result.rows_inserted for result in first.tables] == [many_tables.ROWS] * _TABLES
    assert set(counts(shop).values()) == {many_tables.ROWS}

    changed = range(0, _TABLES, 6)
    many_tables.change(shop.pg.url, changed)
    again = {result.table: result for result in sync.run(config).tables}
    for number in range(_TABLES):
        new_rows = int(number in changed)
        assert again[f"shop.t{number}"].rows_inserted == new_rows
    expected = {f"t{n}": many_tables.ROWS + int(n in changed) for n in range(_TABLES)}
    assert counts(shop) == expected
    states = project.status(config)
    assert [(state.status, state.rows) for state in states] == [
        ("ok", expected[state.table.name]) for state in states
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
    assert len(opened) < 2 * len(changed)  # the catalog is not opened for each table
    assert counts(shop) == expected


def test_one_refused_table_does_not_stop_the_others_of_its_batch(shop: Shop) -> None:
    """A batch whose commit fails is committed by halves, so only the table at fault fails."""
    many_tables.make(shop.pg.url, 12)
    shop.configure({"public.*": {"mode": "full_table"}})
    shop.run()
    shop.pg.execute("truncate t5; insert into t7 values (100, 1, 'x')")
    results = {result.table: result for result in shop.run().tables}
    assert results["shop.t5"].error.type == "ContractError"
    assert sum(result.status == "ok" for result in results.values()) == 11
    assert shop.ask("select (select count(*) from shop.t5), (select count(*) from shop.t7)") == [
        (many_tables.ROWS, many_tables.ROWS + 1)
    ]
