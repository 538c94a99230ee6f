"""One project over Postgres, MySQL, Snowflake and Stripe: one lake, one query that joins them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from support.stripe_server import KEY, fake_stripe

from cdpsync import query, sync
from cdpsync.model import RunStatus

if TYPE_CHECKING:
    from pathlib import Path

    from support.mysql_server import MariaDatabase
    from support.servers import Database
    from support.snowflake_server import Account

JOINED = """
    select o.id, u.name, s.region, c.amount
    from shop.orders o
    join crm.users u on u.id = o.user_id
    join dwh.regions s on s.id = u.region_id
    join billing.charges c on c.metadata ->> '$.order' = o.id::varchar
    order by o.id
"""


def test_four_sources_are_one_lake(
    tmp_path: Path, pg: Database, maria: MariaDatabase, snow: Account
) -> None:
    """Two runs, changes at every source between them, and one SQL statement over all four."""
    pg.execute("create table orders (id int primary key, user_id int, updated_at timestamptz)")
    pg.execute("insert into orders select i, i % 3, now() from generate_series(1, 6) i")
    maria.execute(
        "create table users (id int primary key, name text, region_id int, updated_at datetime(6))"
    )
    maria.execute("insert into users values (0,'a',7,now(6)),(1,'b',7,now(6)),(2,'c',8,now(6))")
    snow.execute(
        "create table regions (id number(38,0) primary key, region text, rev number(9,0))",
        "insert into regions values (7, 'north', 1), (8, 'south', 1)",
    )
    with fake_stripe() as stripe:
        stripe.now = int(time.time()) - 3600
        for number in range(1, 7):
            stripe.add("charges", amount=number * 100, metadata={"order": str(number)})
        incremental = {"mode": "incremental", "cursor_field": "updated_at"}
        sources = {
            "shop": {"type": "postgres", "url": pg.url, "tables": {"public.orders": incremental}},
            "crm": {
                "type": "mysql",
                "url": maria.url,
                "tables": {f"{maria.name}.users": incremental},
            },
            "dwh": snow.options
            | {"tables": {"*REGIONS": {"mode": "incremental", "cursor_field": "REV"}}},
            "billing": {
                "type": "stripe",
                "api_key": KEY,
                "api_base": stripe.url,
                "max_rate": 10_000,
                "tables": {"charges": {"mode": "incremental"}},
            },
        }
        project = tmp_path / "cdpsync.yml"
        project.write_text(json.dumps({"sources": sources}))
        first = sync.run(project)
        assert first.status is RunStatus.OK, [table.error for table in first.tables]
        assert query(JOINED, project) == [
            (1, "b", "north", 100), (2, "c", "south", 200), (3, "a", "north", 300),
            (4, "b", "north", 400), (5, "c", "south", 500), (6, "a", "north", 600),
        ]  # fmt: skip
        pg.execute("insert into orders values (7, 2, now())")
        maria.execute("update users set region_id = 8, updated_at = now(6) where id = 1")
        snow.execute("update regions set region = 'far south', rev = 2 where id = 8")
        stripe.now += 600
        stripe.add("charges", amount=700, metadata={"order": "7"})
        charge = next(iter(stripe.rows("charges")))
        stripe.change("charges", charge, amount_refunded=100)
        second = sync.run(project)
    assert second.status is RunStatus.OK, [table.error for table in second.tables]
    assert {table.table: table.rows_inserted + table.rows_updated for table in second.tables} == {
        "shop.orders": 1, "crm.users": 1, "dwh.regions": 1, "billing.charges": 2,
    }  # fmt: skip
    assert query(JOINED, project) == [
        (1, "b", "far south", 100), (2, "c", "far south", 200), (3, "a", "north", 300),
        (4, "b", "far south", 400), (5, "c", "far south", 500), (6, "a", "north", 600),
        (7, "c", "far south", 700),
    ]  # fmt: skip
