"""Databases that serve one test after another: to make and drop one costs more than most tests."""

from __future__ import annotations

import itertools
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.postgres_server import Database, Server

_USES = 20  # of a database; then its catalog has become large

_DISCONNECT = """
    select pg_terminate_backend(pid, 10000) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
"""
_SCHEMAS = """
    select format('drop schema %I cascade', nspname) from pg_namespace
    where nspname = 'public' or oid >= 16384 and nspname !~ '^pg_'
"""
_PUBLIC = """
    create schema public authorization pg_database_owner;
    grant usage on schema public to public;
    comment on schema public is 'standard public schema'
"""
# What may be of a database beside its schemas. Of the rows that the server came with none may have
# been written since, either.
_CATALOGS = (
    *("pg_am", "pg_cast", "pg_class", "pg_collation", "pg_conversion", "pg_default_acl"),
    *("pg_event_trigger", "pg_extension", "pg_foreign_data_wrapper", "pg_foreign_server"),
    *("pg_language", "pg_largeobject_metadata", "pg_opclass", "pg_operator", "pg_opfamily"),
    *("pg_proc", "pg_publication", "pg_transform", "pg_ts_config", "pg_ts_dict", "pg_type"),
)
_OTHERS = """
    select 1 from pg_namespace where xmin::text::bigint >= {first} and nspname <> 'public'
    union all
    select 1 from pg_db_role_setting
    where setdatabase = (select oid from pg_database where datname = current_database())
    union all
    select 1 from pg_database
    where datname = current_database() and (datacl is not null or datconnlimit <> -1)
    union all select 1 from pg_replication_slots where database = current_database()
    union all select 1 from pg_prepared_xacts where database = current_database()
"""


class DatabasePool:
    """Databases of a server that are lent to one test at a time, each as empty as a new one."""

    def __init__(self, server: Server, name: str = "test") -> None:
        self._server = server
        self._name = name
        self._idle: list[tuple[Database, ExitStack, int]] = []
        self._numbers = itertools.count(1)
        first = int(server.psql("select pg_current_xact_id()::text"))
        written = "".join(
            f" union all select 1 from {catalog} where xmin::text::bigint >= {first}"
            for catalog in _CATALOGS
        )
        self._remnants = f"select exists ({_OTHERS.format(first=first)}{written})"

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Lend a database; one that a test has left other than empty is dropped."""
        if self._idle:
            database, end, uses = self._idle.pop()
        else:
            end, uses = ExitStack(), 0
            database = end.enter_context(
                self._server.database(f"{self._name}_{next(self._numbers)}")
            )
        try:
            yield database
        finally:
            if uses + 1 < _USES and self._is_emptied(database):
                self._idle.append((database, end, uses + 1))
            else:
                end.close()

    def close(self) -> None:
        """Drop the databases that nobody has."""
        while self._idle:
            _, end, _ = self._idle.pop()
            end.close()

    def _is_emptied(self, database: Database) -> bool:
        """Drop what a test has made in a database; return whether nothing is left of it."""
        try:
            with psycopg.connect(database.dsn, autocommit=True) as con:
                con.execute(_DISCONNECT)
                drops = [drop for (drop,) in con.execute(_SCHEMAS)]
                con.execute(f"{'; '.join(drops)}; {_PUBLIC}")
                (has_remnants,) = con.execute(self._remnants).fetchone() or (True,)
        except psycopg.Error:  # it is dropped, and tells what is wrong, if that fails too
            return False
        return not has_remnants
