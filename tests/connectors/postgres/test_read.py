"""Reads of Postgres: every row once, of one moment; and the errors of a failed read."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg
import pytest
from support.faults import FaultProxy
from support.postgres_reading import connected, read_back, read_chunks, request_for

from cdpsync import engine
from cdpsync.connector import ReadRequest, SizedChunk
from cdpsync.errors import ConnectError, ConnectorError, ReadError
from cdpsync.model import Column, Cursor, CursorType, Stream, Window
from cdpsync.sql import quote_name
from cdpsync_connectors.postgres import chunks as postgres_chunks
from cdpsync_connectors.postgres import select

if TYPE_CHECKING:
    from support.servers import Database


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of a few pages are cut as if they were large."""
    monkeypatch.setattr(postgres_chunks, "FEWEST_PAGES", 4)
    monkeypatch.setattr(postgres_chunks, "FEW_ROWS", 1000)


def numbers(values: list[Any]) -> list[int]:
    return sorted(int(value) for value in values)


def chunk_labels(url: str, stream: str, **changes: Any) -> list[str]:
    with (
        connected(url) as connector,
        connector.read(request_for(connector, stream, **changes)) as c,
    ):
        return [chunk.label for chunk in c]


def test_chunks_hold_every_row_once(pg: Database) -> None:
    """Ranges of pages leave no gap, and the last one is open."""
    pg.execute(
        "create table t (i int, pad text);"
        "insert into t select i, repeat('x', 200) from generate_series(1, 5000) i;"
        "delete from t where i % 7 = 0; analyze t"
    )
    labels = chunk_labels(pg.url, "public.t", workers=2)
    assert len(labels) > 4
    assert labels[0].startswith("pages 0 to ")
    assert labels[-1].endswith(" to the end")
    result = read_back(pg.url, "public.t", workers=2)
    assert numbers(result.column("i")) == [i for i in range(1, 5001) if i % 7]


def test_all_chunks_share_one_snapshot(pg: Database) -> None:
    """The second chunk does not see rows that change after the first one."""
    pg.execute(
        "create table t (i int, v int, pad text);"
        "insert into t select i, 0, repeat('x', 200) from generate_series(1, 3000) i"
    )
    with connected(pg.url) as connector:
        request = request_for(connector, "public.t", workers=4)
        with connector.read(request) as chunks:
            listed = list(chunks)
            assert len(listed) > 2

            def changing() -> Any:
                for chunk in listed:
                    yield chunk
                    pg.execute(
                        "update t set v = v + 1; delete from t where i % 10 = 0;"
                        "insert into t select i, 9 from generate_series(4000, 5000) i"
                    )

            result = read_chunks(connector, changing())
    assert numbers(result.column("i")) == list(range(1, 3001))
    assert set(result.column("v")) == {"0"}


def test_partitioned_tables_are_read_by_their_leaves(pg: Database) -> None:
    """Leaves with another order of columns, with a dropped column, and leaves of leaves."""
    pg.execute("""
        create table p (i int, k text, n numeric(5,1)) partition by range (i);
        create table p1 partition of p for values from (0) to (1000);
        create table p2 (gone int, n numeric(5,1), k text, i int);
        alter table p2 drop column gone;
        alter table p attach partition p2 for values from (1000) to (2000);
        create table p3 partition of p for values from (2000) to (5000) partition by list (k);
        create table p3a partition of p3 for values in ('a');
        create table p3d partition of p3 default;
        insert into p select i, case when i % 2 = 0 then 'a' else 'b' end, 1.5
            from generate_series(0, 4999) i;
    """)
    labels = chunk_labels(pg.url, "public.p", workers=4)
    assert len(labels) > 3
    result = read_back(pg.url, "public.p", workers=4, where="p.k <> 'c'")
    assert numbers(result.column("i")) == list(range(5000))
    assert result.type("n") == "DECIMAL(5,1)"


def test_views_and_empty_tables_are_one_chunk_with_columns(pg: Database) -> None:
    """A table without rows still has its columns."""
    pg.execute(
        "create table t (i int, c char(3)); create view v as select i, 'x' as c from t;"
        "create materialized view m as select generate_series(1, 20) as i;"
        "create table p (i int) partition by range (i)"
    )
    for name in ("t", "v", "p"):
        assert chunk_labels(pg.url, f"public.{name}") == ["all rows"]
        assert read_back(pg.url, f"public.{name}").rows == []
    assert read_back(pg.url, "public.t").types == ["INTEGER", "VARCHAR"]
    assert numbers(read_back(pg.url, "public.m").column("i")) == list(range(1, 21))


def test_rows_hidden_by_a_policy_are_an_error(pg: Database) -> None:
    """A table that a policy narrows is refused by name; a view of the table's owner is read.

    Row-level security of a parent does not hold for its leaves, so those are not asked.
    """
    pg.execute("""
        create table p (i int) partition by range (i);
        create table p1 partition of p for values from (0) to (3000);
        create table p2 partition of p for values from (3000) to (6000);
        insert into p select generate_series(0, 5999);
        alter table p enable row level security;
        create policy few on p using (i < 10);
        create role tenant login password 'tenant-pw';
        create view few as select * from p where i < 10;
        grant select on p, p1, p2, few to tenant;
    """)
    try:
        url = pg.url.replace("postgres:" + pg.password, "tenant:tenant-pw")
        with pytest.raises(ReadError, match=r"row-level security hides rows .* table's owner"):
            read_back(url, "public.p", workers=4)
        assert numbers(read_back(url, "public.few", workers=4).column("i")) == list(range(10))
        assert len(read_back(pg.url, "public.p", workers=4).rows) == 6000
    finally:
        pg.execute("drop owned by tenant; drop role tenant")


WINDOWS: list[tuple[str, str, Cursor]] = [
    ("int", "g", Cursor(CursorType.INTEGER, 50)),
    ("bigint", "g + 5000000000", Cursor(CursorType.INTEGER, 5000000050)),
    ("date", "date '2020-01-01' + g", Cursor(CursorType.DATE, date(2020, 2, 20))),
    (
        "timestamp",
        "timestamp '2020-01-01' + g * interval '1 microsecond'",
        Cursor(CursorType.TIMESTAMP, datetime(2020, 1, 1, 0, 0, 0, 50)),  # noqa: DTZ001
    ),
    (
        "timestamptz",
        "timestamptz '2020-01-01 00:00+00' + g * interval '1 microsecond'",
        Cursor(CursorType.TIMESTAMPTZ, datetime(2020, 1, 1, 0, 0, 0, 50, tzinfo=UTC)),
    ),
]


@pytest.mark.parametrize(("type_", "value", "low"), WINDOWS)
def test_window_includes_its_boundary_and_null_cursors(
    pg: Database, type_: str, value: str, low: Cursor
) -> None:
    """It has the rows at the cursor and above, to the microsecond, and those with a NULL cursor."""
    pg.execute(
        f'create table t (g int, "Cur" {type_});'
        f"insert into t select g, {value} from generate_series(1, 100) g;"
        "insert into t values (0, null)"
    )
    result = read_back(pg.url, "public.t", window=Window("Cur", low))
    assert numbers(result.column("g")) == [0, *range(50, 101)]


def test_large_windows_are_cut_too_and_indexed_ones_are_not(pg: Database) -> None:
    """Postgres' plan decides."""
    pg.execute(
        "create table t (i int, u int, pad text);"
        "insert into t select i, i, repeat('x', 200) from generate_series(1, 5000) i;"
        "create index on t (u); analyze t"
    )
    window = Window("i", Cursor(CursorType.INTEGER, 10))
    assert len(chunk_labels(pg.url, "public.t", window=window, workers=2)) > 2
    assert len(read_back(pg.url, "public.t", window=window, workers=2).rows) == 4991
    window = Window("u", Cursor(CursorType.INTEGER, 4990))
    assert chunk_labels(pg.url, "public.t", window=window, workers=2) == ["all rows"]
    assert len(read_back(pg.url, "public.t", window=window, workers=2).rows) == 11


def test_where_is_one_condition_whatever_it_contains(pg: Database) -> None:
    """An `or` stays within its parentheses, and a comment ends with the line."""
    pg.execute("create table t (i int, s text); insert into t values (1, 'a%'), (2, 'b'), (3, 'c')")
    window = Window("i", Cursor(CursorType.INTEGER, 2))
    where = "s like 'a%' or s = 'b' -- not c"
    assert numbers(read_back(pg.url, "public.t", where=where, window=window).column("i")) == [2]
    with pytest.raises(ReadError, match=r'table "public.t": where: .*syntax error'):
        read_back(pg.url, "public.t", where="i = = 2")
    with pytest.raises(ReadError, match=r"where: nope = 1: .*nope"):
        read_back(pg.url, "public.t", where="nope = 1")


@pytest.mark.parametrize(
    "name",
    ["UPPER", "with space", "dot.ted", 'quo"te', "it's", "%s {} {c} $1", "é😀", "select", "c0"],
)
def test_hostile_names_are_read(pg: Database, name: str) -> None:
    """Schema, table, column and cursor may have such a name, also with several chunks."""
    quoted = quote_name(name)
    pg.execute(
        f"create schema {quoted}; create table {quoted}.{quoted} ({quoted} int, x numeric);"
        f"insert into {quoted}.{quoted} select generate_series(1, 3000), 1.5;"
        "analyze"
    )
    with connected(pg.url) as connector:
        stream = next(iter(connector.discover()))
        request = ReadRequest(
            stream, stream.columns, workers=2, window=Window(name, Cursor(CursorType.INTEGER, 2))
        )
        with connector.read(request) as chunks:
            result = read_chunks(connector, chunks)
    assert result.columns == [name, "x"]
    assert numbers(result.column(name)) == list(range(2, 3001))


def test_columns_that_differ_in_case_only_are_refused(pg: Database) -> None:
    """They would be one column in the lake; a project can leave one out."""
    pg.execute('create table t ("Id" int, "ID" int); insert into t values (1, 2)')
    with pytest.raises(ReadError, match=r'"Id" and "ID".*exclude'):
        read_back(pg.url, "public.t")
    assert read_back(pg.url, "public.t", columns=(Column("ID", "INTEGER"),)).rows == [("2",)]


def test_requested_columns_come_in_the_requested_order(pg: Database) -> None:
    """Exactly these columns are read, even without the right to read the others."""
    pg.execute(
        "create table t (a int, b text, secret text); insert into t values (1, 'x', 's');"
        "create role part login password 'part-pw'; grant select (a, b) on t to part"
    )
    try:
        url = pg.url.replace("postgres:" + pg.password, "part:part-pw")
        columns = (Column("b", "VARCHAR"), Column("a", "INTEGER"))
        assert read_back(url, "public.t", columns=columns).rows == [("x", "1")]
    finally:
        pg.execute("drop owned by part; drop role part")


def test_other_encodings_arrive_as_the_same_text(postgres_server: Any) -> None:
    """The server converts, whatever the database's encoding."""
    postgres_server.psql(
        "create database latin encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0"
    )
    try:
        url = postgres_server.url.replace("/postgres", "/latin").replace("//latin", "//postgres")
        with psycopg.connect(url, autocommit=True, client_encoding="utf8") as con:
            con.execute("create table t (c text, d char(4)); insert into t values ('é£', 'ü')")
        assert read_back(url, "public.t").rows == [("é£", "ü   ")]
    finally:
        postgres_server.psql("drop database latin with (force)")


def test_settings_of_the_role_do_not_change_what_is_read(pg: Database) -> None:
    """The session sets DateStyle, IntervalStyle, time zone and the like."""
    pg.execute(f"""
        alter database {pg.name} set datestyle = 'SQL, DMY';
        alter database {pg.name} set intervalstyle = 'iso_8601';
        alter database {pg.name} set timezone = 'Asia/Tokyo';
        alter database {pg.name} set extra_float_digits = -5;
        alter database {pg.name} set bytea_output = 'escape';
        create table t (i interval, r tstzrange, f float8[][], b bytea[]);
        insert into t values ('1 day 2 h', '[2020-01-01 00:00+00,)', '{{{{0.1}}}}',
            array['\\x00ff'::bytea]);
    """)
    assert read_back(pg.url, "public.t").rows == [
        ("1 day 02:00:00", '["2020-01-01 00:00:00+00",)', [["0.1"]], ["\\x00ff"])
    ]


def failing(url: str, stream: str, **options: Any) -> ConnectorError:
    with pytest.raises(ConnectorError) as caught:
        read_back(url, stream, options)
    assert "\n" not in caught.value.message
    return caught.value


def test_permission_denied_names_the_grant(pg: Database) -> None:
    """The message has a statement that can be pasted."""
    pg.execute('create table "T" (i int); create role "no-body" login password \'nobody-pw\'')
    try:
        url = pg.url.replace("postgres:" + pg.password, "no-body:nobody-pw")
        error = failing(url, "public.T")
        assert 'GRANT SELECT ON "public"."T" TO "no-body"' in error.message
        assert not error.retryable
    finally:
        pg.execute('drop owned by "no-body"; drop role "no-body"')


def test_statement_timeout_is_kept_and_named(pg: Database) -> None:
    """The error is not retryable, because the next attempt takes as long."""
    pg.execute("create view slow as select pg_sleep(5)::text as c")
    error = failing(pg.url, "public.slow", statement_timeout="200ms")
    assert "Raise statement_timeout" in error.message
    assert not error.retryable


def test_table_or_column_dropped_after_discovery_is_named(pg: Database) -> None:
    """A table or a column that was dropped after discovery."""
    pg.execute("create table t (i int)")
    dropped_stream = Stream("public.gone", "gone", ())
    with connected(pg.url) as connector:
        columns = (Column("j", "INTEGER"),)
        request = request_for(connector, "public.t", columns=columns)
        with pytest.raises(ReadError, match='no column "j"'), connector.read(request):
            pass
        request = ReadRequest(dropped_stream, columns)
        with pytest.raises(ReadError, match="does not exist"), connector.read(request):
            pass
        request = request_for(connector, "public.t")
        with connector.read(request) as chunks:
            listed = list(chunks)
            assert len(listed) == 1
        pg.execute("drop table t")
        with pytest.raises(ConnectorError):
            read_chunks(connector, listed)


def test_lost_connection_is_retryable(pg: Database) -> None:
    """After a loss in the middle of a chunk, another connection can read the same chunk."""
    pg.execute(
        "create table t (i int, pad text);"
        "insert into t select i, md5(i::text) from generate_series(1, 100000) i"
    )
    with FaultProxy(pg.port) as proxy:
        url = pg.url.replace(str(pg.port), str(proxy.port))
        with connected(url) as connector:
            request = request_for(connector, "public.t", workers=1)
            view = ExitStack()
            chunks = view.enter_context(connector.read(request))
            listed = list(chunks)
            first = read_chunks(connector, listed[:1])
            con = engine.connect(threads=1, extensions=connector.extensions)
            con.begin()
            relation = listed[1].relation(con)
            proxy.cut_after = proxy.passed + 20_000
            with pytest.raises(duckdb.Error) as caught:
                relation.fetchall()
            with pytest.raises(duckdb.Error):  # to close without it would end the process
                con.rollback()
            con.close()
            error = connector.translate(caught.value)
            assert isinstance(error, ConnectError)
            assert error.retryable
            proxy.cut_after = None
            with pytest.raises(ConnectError, match="lost"):
                view.close()
            # The view went with its connection, so the read as a whole is made again.
            with connector.read(request_for(connector, "public.t", workers=1)) as chunks:
                result = read_chunks(connector, chunks)
    assert numbers(result.column("i")) == list(range(1, 100001))
    assert first.rows


def test_lost_snapshot_is_retryable(pg: Database) -> None:
    """An administrator may end the transaction that holds the snapshot."""
    pg.execute("create table t (i int)")
    with connected(pg.url) as connector:
        request = request_for(connector, "public.t")
        with connector.read(request) as chunks:
            listed = list(chunks)
            pg.psql(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where pid <> pg_backend_pid() and datname = current_database()"
            )
            with pytest.raises(ConnectorError) as caught:
                read_chunks(connector, listed)
            assert caught.value.retryable


def test_without_shared_snapshots_a_table_is_one_statement(
    pg: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a load balancer, a second connection may not know the first one's snapshot."""
    pg.execute(
        "create table t (i int, n numeric, pad text);"
        "insert into t select i, 0.5, repeat('x', 200) from generate_series(1, 3000) i"
    )
    with connected(pg.url) as connector:
        monkeypatch.setattr(connector._source.exporter, "_can_import", lambda _: False)
        with connector.read(request_for(connector, "public.t", workers=4)) as chunks:
            listed = list(chunks)
            assert [(chunk.label, chunk.snapshot.exported_id) for chunk in listed] == [
                ("all rows", None)
            ]
            result = read_chunks(connector, listed)
    assert numbers(result.column("i")) == list(range(1, 3001))


def test_password_is_never_shown(pg: Database) -> None:
    """Neither DuckDB's views of the attached database nor an error show it."""
    pg.execute("create table t (i int)")
    with connected(pg.url) as connector:
        con = engine.connect(extensions=connector.extensions)
        with connector.read(request_for(connector, "public.t")) as chunks:
            con.begin()
            for chunk in chunks:
                chunk.relation(con)
            shown = con.execute("select * from duckdb_databases()").fetchall()
            shown += con.execute("from duckdb_secrets()").fetchall()
            assert pg.password not in str(shown)
            with pytest.raises(duckdb.Error) as caught:
                con.execute(
                    "call postgres_execute((select database_name from duckdb_databases()"
                    " where type = 'postgres'), 'select 1/0')"
                )
            assert pg.password not in str(caught.value)
        con.close()


def test_cursor_literals_keep_every_digit() -> None:
    """A literal has a type, is in UTC, and is exact to the microsecond."""
    moment = datetime(44, 3, 15, 1, 2, 3, 4, tzinfo=UTC)
    literal = select.cursor_literal(Cursor(CursorType.TIMESTAMPTZ, moment))
    assert literal == "'0044-03-15 01:02:03.000004+00'::timestamptz"
    literal = select.cursor_literal(Cursor(CursorType.INTEGER, 10**18 + 1))
    assert literal == "'1000000000000000001'::int8"


def test_chunks_of_large_rows_report_their_memory(pg: Database) -> None:
    """Chunks of large rows report much memory, out-of-line values included; small rows little."""
    pg.execute(
        "create table large (i int, t text); alter table large alter t set storage external;"
        "insert into large select i, repeat('x', 50000) from generate_series(1, 300) i;"
        "create table small as select i from generate_series(1, 30000) i;"
        "vacuum analyze large; vacuum analyze small"
    )
    memory, sent = {}, {}
    with connected(pg.url) as connector:
        for name in ("large", "small"):
            with connector.read(request_for(connector, f"public.{name}")) as chunks:
                memory[name] = max(
                    chunk.memory for chunk in chunks if isinstance(chunk, SizedChunk)
                )
                sent[name] = "generate_series" in "".join(chunk.sql for chunk in chunks)
                result = read_chunks(connector, chunks)
            with psycopg.connect(pg.url) as con:
                rows = con.execute(f"select i::text, t.* from {name} as t".encode()).fetchall()
            assert sorted(result.column("i")) == sorted(row[0] for row in rows)
            assert set(result.column(result.columns[-1])) <= {str(row[-1]) for row in rows}
    assert sent == {"large": True, "small": False}  # rows of NULLs between, which do not land
    assert memory["large"] == 150_000_000  # not 8 times 2,048 rows, 800 MB
    assert 0 < memory["small"] < 2048 * 8 * 100


@pytest.mark.parametrize(
    ("stream", "indexed", "apart"),
    [("public.t", True, True), ("public.t", False, False), ("public.v", True, False)],
    ids=["by its index", "through the table", "of a view"],
)
@pytest.mark.parametrize("where", [None, "id % 2 = 0"])
def test_rows_above_the_boundary_and_with_null_cursor_arrive_once(
    pg: Database, stream: str, indexed: bool, apart: bool, where: str | None
) -> None:
    """With an index, each window has its own statement; without one, a single scan finds both."""
    pg.execute(
        "create table t (id int, at timestamptz);"
        "insert into t select i, case when i % 100 <> 0 then timestamptz '2026-01-01' "
        "+ i * interval '1 minute' end from generate_series(1, 20000) i;"
        f"{'create index on t (at);' if indexed else ''} vacuum analyze t;"
        "create view v as select * from t"
    )
    low = Cursor(CursorType.TIMESTAMPTZ, datetime(2026, 1, 14, 21, 0, tzinfo=UTC))
    with connected(pg.url) as connector:
        request = request_for(
            connector, stream, cursor_field="at", window=Window("at", low), where=where
        )
        with connector.read(request) as chunks:
            assert ["union all" in chunk.sql for chunk in chunks] == [apart]
            result = read_chunks(connector, chunks)
    with psycopg.connect(pg.url) as con:
        condition = f"(at >= '2026-01-14 21:00Z' or at is null) and {where or 'true'}"
        rows = con.execute(f"select id::text from t where {condition}".encode()).fetchall()
    assert sorted(result.column("id")) == sorted(row[0] for row in rows)
    assert 100 < len(rows) < 2000


def test_connection_lost_at_the_start_of_a_chunk_is_named(pg: Database) -> None:
    """The failed statement mentions row_security, but the message names the lost connection."""
    with connected(pg.url) as connector:
        start = connector._primary.relation_settings("00000003-0000001B-1")
        assert "row_security" in start
        error = connector.translate(duckdb.Error(f'Failed to execute query "{start}": '))
    assert isinstance(error, ConnectError)
    assert error.retryable
    assert "the connection was lost while reading" in error.message
