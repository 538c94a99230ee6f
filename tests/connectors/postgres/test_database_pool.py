"""The databases that tests are lent: each is as empty as a new one."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.database_pool import DatabasePool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Server


@pytest.fixture
def pool(postgres_server: Server) -> Iterator[DatabasePool]:
    with closing(DatabasePool(postgres_server, "pool")) as pool:
        yield pool


def test_schemas_of_a_test_are_gone_for_the_next_one(pool: DatabasePool) -> None:
    """Also those that the test has made itself."""
    with pool.database() as first:
        first.execute("create table t (id int); create type mood as enum ('sad')")
        first.execute('create schema "A b"; create table "A b".t (id int)')
    with pool.database() as second:
        assert second == first
        schemas = "select string_agg(nspname, ' ') from pg_namespace where nspname !~ '^pg_'"
        assert second.psql(schemas).split() == ["information_schema", "public"]
        named = "select count(*) from pg_class where relnamespace = 'public'::regnamespace"
        assert second.psql(named) == "0"


@pytest.mark.parametrize(
    "change",
    [
        "alter database {name} set datestyle = 'SQL, DMY'",
        "alter database {name} connection limit 7",
        "grant connect on database {name} to public",
        "revoke execute on function pg_control_system() from public",
        "alter default privileges grant select on tables to public",
        "create publication everything for all tables",
        "select lo_create(0)",
        "create cast (text as int) with inout",
    ],
)
def test_database_with_anything_else_left_is_not_lent_again(
    pool: DatabasePool, postgres_server: Server, change: str
) -> None:
    """It is dropped."""
    with pool.database() as first:
        first.psql(change.format(name=first.name))
    with pool.database() as second:
        assert second.name != first.name
    exists = f"select count(*) from pg_database where datname = '{first.name}'"
    assert postgres_server.psql(exists) == "0"
