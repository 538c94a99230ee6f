"""Postgres' catalogs: relations, their columns with real types, keys, sizes and partitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cdpsync.sql import quote_name, quote_text
from cdpsync_connectors._shared.naming import stream_name
from cdpsync_connectors.postgres.encoding import is_utf8

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from cdpsync.connector import ReadRequest


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column with the base type of its domains.

    `kind` is the name of a built-in type, for an array that of its elements, and "" for any other
    type. `dimensions` is 0 for a scalar, else the declared number, at least 1. `output` is the
    function that prints a value as psql does; `delimiter` separates the printed elements. `display`
    is the declared type: with its base, if it is a domain, and with its labels, if it is an enum,
    such as `mood enum('sad', 'ok')` and `price domain numeric(10,2)`.
    """

    name: str
    kind: str
    modifier: int
    dimensions: int
    output: str
    delimiter: str
    display: str
    required: bool
    domain: bool


@dataclass(frozen=True, slots=True)
class Leaf:
    """A relation with pages of its own: a table, or a partition without partitions."""

    schema: str
    name: str
    pages: int
    toast_pages: int
    addressable: bool
    """Whether this user can read its rows by page, under the same rules as the parent's."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view, materialised view, partitioned parent or foreign table.

    `toast_bytes` is the size of its values that are stored out of line; None where that is unknown,
    because it is not a table, or one of many that were fetched. `rewrite` names files of the
    table, and has no name in common once it was emptied or rewritten; None where it has no file.
    """

    schema: str
    name: str
    kind: str
    columns: tuple[SourceColumn, ...]
    primary_key: tuple[str, ...]
    estimated_rows: int | None
    identity: str
    rewrite: str | None = None
    toast_bytes: int | None = None

    @property
    def stream(self) -> str:
        """The stream's name: `public.orders`; a part with a dot or a quote in it is quoted."""
        return stream_name((self.schema, self.name))

    @property
    def sql(self) -> str:
        """The relation's name as SQL."""
        return f"{quote_name(self.schema)}.{quote_name(self.name)}"


KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialized view", "f": "foreign table"}

# One statement for everything: a round trip, and 1,000 tables in well under a second.
_RELATIONS = """
    with recursive
    relation as materialized (
        select c.oid, n.nspname, c.relname, c.relkind, c.reltuples, c.relpages, c.relfilenode
        from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v', 'm', 'f')
          and not c.relispartition
          and c.relpersistence <> 't'
          and n.nspname !~ '^pg_'
          and n.nspname <> 'information_schema'
          {filter}
    ),
    descendant as (
        select r.oid as root, i.inhrelid as oid
        from relation r
        join pg_catalog.pg_inherits i on i.inhparent = r.oid
        where r.relkind = 'p'
        union all
        select d.root, i.inhrelid
        from descendant d
        join pg_catalog.pg_inherits i on i.inhparent = d.oid
    ),
    domain_step as (
        select oid, typbasetype as base, typtypmod as modifier, typndims as dimensions
        from pg_catalog.pg_type
        where typtype = 'd'
        union all
        select s.oid, t.typbasetype, t.typtypmod, t.typndims
        from domain_step s
        join pg_catalog.pg_type t on t.oid = s.base
        where t.typtype = 'd'
    ),
    domain as materialized (
        select s.*
        from domain_step s
        join pg_catalog.pg_type t on t.oid = s.base
        where t.typtype <> 'd'
    ),
    column_type as (
        select a.attrelid, a.attnum, a.attname, a.attnotnull,
            pg_catalog.format_type(a.atttypid, a.atttypmod) as display,
            coalesce(d.base, a.atttypid) as type,
            coalesce(d.modifier, a.atttypmod) as modifier,
            greatest(a.attndims, d.dimensions) as dimensions,
            d.base is not null as is_domain
        from relation r
        join pg_catalog.pg_attribute a
          on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
        left join domain d on d.oid = a.atttypid
    ),
    element_type as (
        select c.*, t.typoutput,
            case when a.is_array then coalesce(d.base, t.typelem) else t.oid end as element,
            case when a.is_array then coalesce(d.modifier, c.modifier) else c.modifier
                end as element_modifier,
            case when a.is_array then greatest(c.dimensions, 1) else 0 end as depth,
            c.is_domain or (a.is_array and d.base is not null) as over_domain
        from column_type c
        join pg_catalog.pg_type t on t.oid = c.type
        cross join lateral (
            select t.typcategory = 'A' and t.typlen = -1 and t.typelem <> 0
                and t.oid not in (22, 30) as is_array  -- int2vector, oidvector
        ) a
        left join domain d on d.oid = t.typelem
    ),
    described as (
        select e.attrelid, json_agg(json_build_array(
            e.attname,
            case when n.nspname = 'pg_catalog' and t.typtype = 'b'
                then case when t.typcategory = 'A' then '' else t.typname end
                else '' end,
            e.element_modifier,
            e.depth,
            pg_catalog.quote_ident(fn.nspname) || '.' || pg_catalog.quote_ident(f.proname),
            t.typdelim,
            e.display
                || case when e.over_domain then ' domain '
                    || pg_catalog.format_type(e.element, e.element_modifier)
                    || case when e.depth > 0 then '[]' else '' end
                    else '' end
                || case when t.typtype = 'e' then ' enum(' || coalesce((
                    select string_agg(pg_catalog.quote_literal(l.enumlabel), ', '
                        order by l.enumsortorder)
                    from pg_catalog.pg_enum l
                    where l.enumtypid = t.oid
                ), '') || ')' else '' end,
            e.attnotnull,
            e.over_domain
        ) order by e.attnum) as columns
        from element_type e
        join pg_catalog.pg_type t on t.oid = e.element
        join pg_catalog.pg_namespace n on n.oid = t.typnamespace
        join pg_catalog.pg_proc f on f.oid = e.typoutput
        join pg_catalog.pg_namespace fn on fn.oid = f.pronamespace
        group by e.attrelid
    ),
    leaf_rows as (
        select d.root, sum(c.reltuples) as reltuples
        from descendant d
        join pg_catalog.pg_class c on c.oid = d.oid
        where c.relkind <> 'p'
          and c.reltuples >= 0
          and (c.reltuples > 0 or c.relpages > 0)
        group by d.root
    ),
    leaf_files as (  -- of the oldest partitions, of which some are there in each run
        select n.root, string_agg(n.file::text, ',' order by n.number) as files
        from (
            select d.root, c.relfilenode as file,
                row_number() over (partition by d.root order by c.relfilenode) as number
            from descendant d
            join pg_catalog.pg_class c on c.oid = d.oid
            where c.relkind = 'r'
        ) n
        where n.number <= 16
        group by n.root
    )
    select r.nspname, r.relname, r.relkind::text, d.columns,
        (
            select json_agg(a.attname order by k.position)
            from pg_catalog.pg_constraint p
            cross join lateral unnest(p.conkey) with ordinality as k(attnum, position)
            join pg_catalog.pg_attribute a on a.attrelid = p.conrelid and a.attnum = k.attnum
            where p.conrelid = r.oid and p.contype = 'p'
              -- a key of a parent in plain inheritance says nothing of its children's rows
              and (r.relkind = 'p' or not exists (
                  select from pg_catalog.pg_inherits i where i.inhparent = r.oid
              ))
        ) as primary_key,
        case
            when r.relkind = 'v' then null
            when r.relkind = 'p' then l.reltuples::bigint
            when r.reltuples > 0 or (r.reltuples = 0 and {empty_is_known}) then r.reltuples::bigint
        end as estimate,
        r.oid::text as identity,
        case r.relkind when 'r' then r.relfilenode::text when 'p' then f.files end as rewrite,
        {toast_bytes} as toast_bytes
    from relation r
    left join described d on d.attrelid = r.oid
    left join leaf_rows l on l.root = r.oid
    left join leaf_files f on f.root = r.oid
    order by r.nspname, r.relname
"""

_TOAST_BYTES = """
    case when r.relkind in ('r', 'p', 'm') then (
        select coalesce(sum(pg_catalog.pg_relation_size(c.reltoastrelid)), 0)::bigint
        from pg_catalog.pg_class c
        where c.reltoastrelid <> 0
            and (c.oid = r.oid or c.oid in (select d.oid from descendant d))
    ) end
"""

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


def fetch_relations(
    con: psycopg.Connection[Any],
    table: tuple[str, str] | None = None,
    names_condition: str | None = None,
) -> list[Relation]:
    """Return every relation outside the system's schemas, or only one, by its (schema, name).

    Reading all of them ends the transaction, without a round trip of its own.
    """
    empty_is_known = "true" if con.info.server_version >= 140000 else "r.relpages > 0"
    table_filter = "and n.nspname = %s and c.relname = %s" if table else ""
    if names_condition is not None:
        table_filter += f" and {names_condition}"
    sql = _RELATIONS.replace("{filter}", table_filter).replace("{empty_is_known}", empty_is_known)
    sql = sql.replace("{toast_bytes}", _TOAST_BYTES if table else "null")
    if con.info.server_version < 120000:  # it materializes every WITH, and lacks the keyword
        sql = sql.replace(" as materialized (", " as (")
    if table is None:
        sql = f"{sql}; rollback"
    return [_relation(row) for row in con.execute(sql.encode(), table)]


def fetch_schemas(con: psycopg.Connection[Any]) -> list[str]:
    """Return every schema except the system's."""
    sql = f"""
        select nspname from pg_catalog.pg_namespace
        where nspname !~ '^pg_' and nspname <> 'information_schema' and {is_utf8("nspname")}
        order by 1
    """
    return [str(name) for (name,) in con.execute(sql.encode())]


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


def _relation(row: Sequence[Any]) -> Relation:  # psycopg decodes JSON columns to Any
    schema, name, kind, columns, key, estimate, identity, rewrite, toast_bytes = row
    return Relation(
        schema=schema,
        name=name,
        kind=KINDS[kind],
        columns=tuple(SourceColumn(*column) for column in columns or ()),
        primary_key=tuple(key or ()),
        estimated_rows=estimate,
        identity=identity,
        rewrite=rewrite,
        toast_bytes=toast_bytes,
    )
