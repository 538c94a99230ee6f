"""What Postgres' catalog says of one relation while it is read: its leaves, rewrites, identity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cdpsync.sql import quote_text
from cdpsync_connectors.postgres.catalog import Leaf, Relation, SourceColumn

if TYPE_CHECKING:
    import psycopg

    from cdpsync.connector import ReadRequest


# The pages of now, not those of the last ANALYZE, so that a table that grew is cut evenly.
_LEAVES = """
    with recursive
    root as (
        select c.oid, c.relkind
        from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = %s and c.relname = %s
    ),
    member as (
        select oid from root
        union all
        select i.inhrelid
        from member m
        join pg_catalog.pg_inherits i on i.inhparent = m.oid
        where (select relkind from root) = 'p'
    )
    select n.nspname, c.relname,
        pg_catalog.pg_relation_size(c.oid) / b.size,
        case when c.reltoastrelid = 0 then 0
            else pg_catalog.pg_relation_size(c.reltoastrelid) / b.size end,
        c.relkind in ('r', 'm')
            and coalesce(am.amname = 'heap', true)
            and pg_catalog.has_schema_privilege(n.oid, 'usage')
            and pg_catalog.has_table_privilege(c.oid, 'select')
            and not pg_catalog.row_security_active(c.oid)
    from member m
    join pg_catalog.pg_class c on c.oid = m.oid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    left join pg_catalog.pg_am am on am.oid = c.relam
    cross join (select current_setting('block_size')::bigint as size) b
    where c.relkind in ('r', 'm', 'f')
       or (c.relkind = 'p' and pg_catalog.row_security_active(c.oid))
    order by n.nspname, c.relname
"""


def fetch_leaves(con: psycopg.Connection[Any], relation: Relation) -> tuple[Leaf, ...]:
    """Return the tables that store the rows of a relation: itself, or its last partitions."""
    rows = con.execute(_LEAVES, (relation.schema, relation.name))
    return tuple(Leaf(*row) for row in rows)


# Relations that the transaction has locked: the files that its snapshot knows, and those of now.
REWRITTEN = """
    select exists (
        select 1 from pg_catalog.pg_locks l
        join pg_catalog.pg_class c on c.oid = l.relation
        where l.pid = pg_backend_pid() and l.locktype = 'relation'
            and l.database = (
                select oid from pg_catalog.pg_database where datname = current_database()
            )
            and c.relfilenode <> 0
            and c.relfilenode is distinct from pg_catalog.pg_relation_filenode(c.oid)
    )
"""


def was_rewritten(con: psycopg.Connection[Any]) -> bool:
    """Whether a table was emptied or rewritten after the snapshot began and before it was locked.

    That covers every table that the transaction has planned to read, such as partitions and the
    tables of a view.
    """
    row = con.execute(REWRITTEN.encode()).fetchone()
    return row is not None and row[0] is True


_DEFINITION = """
    select coalesce(md5(string_agg(concat_ws(':', c.oid, a.attnum, a.atttypid, a.atttypmod,
        quote_ident(a.attname)), ' ' order by a.attnum)), '')
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where n.nspname = {schema} and c.relname = {name}
"""


def definition_sql(relation: Relation) -> str:
    """Return a SELECT of a text that changes with the relation's columns."""
    schema, name = quote_text(relation.schema), quote_text(relation.name)
    return _DEFINITION.format(schema=schema, name=name)


def fetch_definition(con: psycopg.Connection[Any], relation: Relation) -> str:
    """Return a text that changes with the relation's columns."""
    row = con.execute(definition_sql(relation).encode()).fetchone()
    return str(row[0]) if row else ""


# The identity changes with the server, with its restart (because a crash may lose what was not yet
# on disk), with the database, with a rewrite of the table and with any column that was added or
# changed. Tables that inherit from this one are read with it, so they count too.
_IDENTITY = """
    with recursive member as (
        select c.oid
        from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = %s and c.relname = %s
        union
        select i.inhrelid
        from member m
        join pg_catalog.pg_inherits i on i.inhparent = m.oid
    ), described as (
        select string_agg(concat_ws(':', a.attrelid, pg_relation_filenode(a.attrelid), a.attnum,
            a.atttypid, a.atttypmod, quote_ident(a.attname), pg_get_expr(d.adbin, d.adrelid)
        ), ' ' order by a.attrelid, a.attnum) as columns
        from member m
        join pg_catalog.pg_attribute a on a.attrelid = m.oid
        left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attnum > 0 and not a.attisdropped
    )
    select concat_ws(' ',
            pg_postmaster_start_time(),
            (select stats_reset from pg_catalog.pg_stat_bgwriter),
            pg_is_in_recovery(),
            (select oid from pg_catalog.pg_database where datname = current_database()),
            (select md5(columns) from described)),
        txid_snapshot_xmin(txid_current_snapshot())::text
"""


def fetch_identity(
    con: psycopg.Connection[Any], relation: Relation, request: ReadRequest
) -> tuple[str | None, str]:
    """Return what the values of row versions depend on, and the oldest open transaction.

    None where equal versions may have different values. Values of a user's own types, and names of
    other objects, may print differently although their row did not change. So may a row meet the
    user's `where` at one time and not at another.
    """
    if request.where or not all(_prints_itself(column) for column in relation.columns):
        return None, ""
    row = con.execute(_IDENTITY, (relation.schema, relation.name)).fetchone()
    return (str(row[0]), str(row[1])) if row else (None, "")


def _prints_itself(column: SourceColumn) -> bool:
    depends_on_others = column.kind.startswith("reg") or column.kind in {"aclitem", "money"}
    return bool(column.kind) and not depends_on_others
