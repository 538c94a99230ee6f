"""Which database of which cluster a connection leads to, whatever the address and the pooler.

A cluster has its system identifier from initdb on. Its streaming replicas and physical copies have
the same one; pg_upgrade and a dump that is restored make another
(https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-CONTROLDATA). A database
keeps its oid when it is renamed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cdpsync.model import SourceIdentity
from cdpsync_connectors.postgres.encoding import is_utf8

if TYPE_CHECKING:
    import psycopg

# Servers that only speak Postgres' protocol may lack the function; others keep it from users.
_MAY_SEE_SYSTEM = """
    pg_catalog.has_function_privilege(
        pg_catalog.to_regprocedure('pg_catalog.pg_control_system()')::oid, 'execute')
"""
_DATABASE = f"""
    select d.oid::text, case when {is_utf8("d.datname")} then d.datname::text end, {_MAY_SEE_SYSTEM}
    from pg_catalog.pg_database d
    where d.datname = current_database()
"""
_SYSTEM = "select system_identifier::text from pg_catalog.pg_control_system()"


def fetch_source_identity(con: psycopg.Connection[Any]) -> SourceIdentity | None:
    """Return the identity of the database of a connection; None where the server has no word of it.

    A cluster that may not be seen is left out: then only the database's oid counts.
    """
    row = con.execute(_DATABASE.encode()).fetchone()
    if row is None:
        return None
    oid, name, may_see_system = row
    parts, server = {"database": (str(oid),)}, "a Postgres server"
    if may_see_system:
        system = str(_fetch_value(con, _SYSTEM))
        parts["system"], server = (system,), f"the Postgres server {system}"
    return SourceIdentity(parts, f"database {name or oid} of {server}")


def fetch_system(con: psycopg.Connection[Any]) -> str | None:
    """Return the number of a cluster, which its replicas share; None where we may not see it."""
    may_see_system = _fetch_value(con, f"select {_MAY_SEE_SYSTEM}")
    return str(_fetch_value(con, _SYSTEM)) if may_see_system else None


def _fetch_value(con: psycopg.Connection[Any], sql: str) -> object:
    row = con.execute(sql.encode()).fetchone()
    if row is None:
        raise AssertionError("a select of one row has one")
    return row[0]
