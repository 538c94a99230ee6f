"""Names and values that are SQL, paths or patterns to whatever takes them for more than text."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier, Literal
from typer.testing import CliRunner

from cdpsync import project, query, sync
from cdpsync.cli.main import app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.mysql_server import MariaServer
    from support.servers import Server

NAMES = [
    '"; drop table victim; --',
    "'; drop table victim; #",
    "`') ; drop table victim; /*",
    "it's {} {0} {x} %s %(a)s $1 ? :a ${HOME} $$ \\ \\' E'\\x41'",
    "two\nlines\r\n\t\x1b[31mred\x1b]0;title\x07",
    "..",
    "../../../a*b?[c]",
    "ü 表 \u202e\u200b select " + "x" * 30,
]
VALUES = [*NAMES, "😀", "", " ", "\\N", "NULL", "'" * 50_000, "\\" * 50_000]


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literally(name: str) -> str:
    """Return a glob that means this name alone."""
    return re.sub(r"[*?\[]", r"[\g<0>]", name)


def filled(text: str) -> str:
    """Return a value of the project file that means this text."""
    return text.replace("$", "$$")


class Project:
    """A project whose source `shop` has a table of every name, each with columns of that name."""

    def __init__(self, folder: Path, source: dict[str, Any], streams: dict[str, str]) -> None:
        self.folder, self.file = folder, folder / "project/cdpsync.yml"
        self.file.parent.mkdir()
        self._source, self.streams = source, streams

    def configure(self, mode: str, **options: Any) -> None:
        tables = {
            literally(stream): {
                "mode": mode,
                "primary_key": [filled("k" + name)],
                **({} if mode == "full_table" else {"cursor_field": filled("u" + name)}),
                **({"deletes": "hard"} if mode == "incremental" else {}),
                **options,
            }
            for name, stream in self.streams.items()
        }
        sections = {"sources": {"shop": {**self._source, "tables": {**tables, "*victim": {}}}}}
        self.file.write_text(json.dumps(sections, ensure_ascii=False))

    def run(self) -> None:
        result = sync.run(self.file)
        assert [(table.stream, table.error) for table in result.tables if table.error] == []
        assert len(result.tables) == len(NAMES) + 1

    def tables(self) -> dict[str, str]:
        """Return each stream's table in the lake, as SQL."""
        overviews = project.status(project.load(self.file))
        return {
            overview.stream: ".".join(map(quote, (overview.table.schema, overview.table.name)))
            for overview in overviews
            if overview.stream in self.streams.values()
        }

    def cli(self, *arguments: str) -> str:
        """Run the command line, and return what it wrote; nothing in it moves a terminal."""
        done = CliRunner().invoke(app, ["-c", str(self.file), *arguments])
        assert done.exit_code == 0, done.output
        assert "\x1b" not in done.stderr
        assert "\x1b" not in done.stdout
        return done.stdout

    def in_lake(self, tables: dict[str, str]) -> dict[str, list[tuple[Any, ...]]]:
        """Return the rows of each of these streams, by one query over all their tables."""
        parts = (f"select {n}, * from {table}" for n, table in enumerate(tables.values()))
        rows: dict[str, list[tuple[Any, ...]]] = {stream: [] for stream in tables}
        streams = list(tables)
        for number, *row in query(" union all ".join(parts), self.file):
            rows[streams[number]].append(tuple(row))
        return {stream: sorted(values) for stream, values in rows.items()}


def check_everything(lake: Project, source: Any, mode: str) -> None:
    """Take every table through its life; the lake has the source's rows, and nothing else.

    In the first mode every command is run, too: they are the same in each.
    """
    lake.configure(mode)
    if mode == "incremental":
        lake.cli("check")
        assert len(json.loads(lake.cli("discover", "shop", "-o", "json"))) == len(NAMES) + 1
        lake.cli("discover", "shop", "--yaml")
        lake.cli("discover", "shop")
        lake.cli("plan")
    lake.run()
    tables = lake.tables()
    assert len(set(tables.values())) == len(NAMES)
    rows = lake.in_lake(tables)
    for name, stream in lake.streams.items():
        assert rows[stream] == source.rows(name), name

    for name in NAMES:
        source.change(name, deletes=mode != "append_only")
    lake.run()
    rows = lake.in_lake(tables)
    for name, stream in lake.streams.items():
        if mode == "append_only":  # the old version of the row that changed stays
            assert set(rows[stream]) > set(source.rows(name)), name
        else:
            assert rows[stream] == source.rows(name), name

    if mode == "incremental":
        _check_commands(lake)
    assert [path.name for path in lake.folder.iterdir()] == ["project"]
    source.check_victim()


def _check_commands(lake: Project) -> None:
    """Run each command on tables that are loaded, until all but the victim are deleted."""
    lake.cli("maintain")
    lake.cli("status")
    lake.cli("status", "--history", "-n", "1")
    lake.cli("state", "show")
    for stream in itertools.islice(lake.streams.values(), 0, None, 4):
        lake.cli("state", "get", f"shop.{literally(stream)}")
        lake.cli("state", "set", f"shop.{literally(stream)}", "1")
        lake.cli("reset", f"shop.{literally(stream)}", "-y")
    lake.run()
    lake.cli("delete", "-y", *(f"shop.{literally(stream)}" for stream in lake.streams.values()))
    assert query("select table_name from information_schema.tables where table_schema = 'shop'",
                 lake.file) == [("victim",)]  # fmt: skip


class PostgresSource:
    """A database of a hostile name, with a schema and a table in it for every name."""

    def __init__(self, server: Server, database: str) -> None:
        self.url = make_conninfo(server.dsn, dbname=database)
        with psycopg.connect(self.url, autocommit=True) as con:
            con.execute("create table victim (id int)")
            for name in NAMES:
                self._do(con, "create schema {t}", name)
                self._do(
                    con, "create table {t}.{t} ({k} text primary key, {c} text, {u} int)", name
                )
                for number, value in enumerate(VALUES):
                    values = f"{value[:99]}{number}", value, number
                    self._do(con, "insert into {t}.{t} values ({}, {}, {})", name, *values)

    @staticmethod
    def _do(con: Any, sql: str, name: str, *values: object) -> Any:
        names = {part: Identifier(part.strip("tc") + name) for part in ("t", "c", "k", "u")}
        return con.execute(SQL(sql).format(*map(Literal, values), **names))

    def change(self, name: str, *, deletes: bool) -> None:
        with psycopg.connect(self.url) as con:
            changed = '"; drop table victim', VALUES[0][:99] + "0"
            self._do(con, "update {t}.{t} set {c} = {}, {u} = 100 where {k} = {}", name, *changed)
            new = f"new{name}", name, 101
            self._do(con, "insert into {t}.{t} values ({}, {}, {})", name, *new)
            if deletes:
                self._do(con, "delete from {t}.{t} where {u} = 3", name)

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as con:
            return sorted(self._do(con, "select * from {t}.{t}", name).fetchall())

    def check_victim(self) -> None:
        with psycopg.connect(self.url) as con:
            con.execute("select * from victim")


@pytest.fixture
def hostile_postgres(postgres_server: Server) -> Iterator[tuple[PostgresSource, dict[str, Any]]]:
    name = "\"; drop table victim; -- ' {} %s \\ é"
    with psycopg.connect(postgres_server.url, autocommit=True) as con:
        con.execute(SQL("create database {}").format(Identifier(name)))
        try:
            options = {
                "type": "postgres",
                "host": "127.0.0.1",
                "port": postgres_server.port,
                "user": "postgres",
                "password": filled(postgres_server.password),
                "database": filled(name),
            }
            yield PostgresSource(postgres_server, name), options
        finally:
            con.execute(SQL("drop database {} with (force)").format(Identifier(name)))


def _part(name: str) -> str:
    return quote(name) if "." in name or '"' in name else name


@pytest.mark.parametrize("mode", ["incremental", "append_only", "full_table"])
def test_postgres_names_and_values_are_only_text(
    tmp_path: Path, hostile_postgres: tuple[PostgresSource, dict[str, Any]], mode: str
) -> None:
    """Databases, schemas, tables, columns, keys, cursors and values run and break nothing."""
    source, options = hostile_postgres
    streams = {name: f"{_part(name)}.{_part(name)}" for name in NAMES}
    check_everything(Project(tmp_path, options, streams), source, mode)


class MysqlSource:
    """A database of a hostile name, with a table in it for every name."""

    def __init__(self, server: MariaServer, database: str) -> None:
        self._server, self._database = server, database
        with self._connect() as con, con.cursor() as cursor:
            cursor.execute("create table victim (id int)")
            for name in NAMES:
                names = {part: _ticked(part + name) for part in ("k", "c", "u")}
                cursor.execute(
                    f"create table {_ticked(name)} ({names['k']} varchar(200) collate utf8mb4_bin "
                    f"primary key, {names['c']} longtext, {names['u']} int)"
                )
                rows = [(f"{v[:99]}{n}", v, n) for n, v in enumerate(VALUES)]
                cursor.executemany(f"insert into {_percent(name)} values (%s, %s, %s)", rows)

    def _connect(self) -> Any:
        return contextlib.closing(self._server.connect(database=self._database))

    def change(self, name: str, *, deletes: bool) -> None:
        c, k, u = (_percent(part + name) for part in "cku")
        with self._connect() as con, con.cursor() as cursor:
            changed = "`; drop table victim", VALUES[0][:99] + "0"
            cursor.execute(
                f"update {_percent(name)} set {c} = %s, {u} = 100 where {k} = %s", changed
            )
            new = f"new{name}", name, 101
            cursor.execute(f"insert into {_percent(name)} values (%s, %s, %s)", new)
            if deletes:
                cursor.execute(f"delete from {_ticked(name)} where {_ticked('u' + name)} = 3")

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        with self._connect() as con, con.cursor() as cursor:
            cursor.execute(f"select * from {_ticked(name)}")
            return sorted(cursor.fetchall())

    def check_victim(self) -> None:
        with self._connect() as con, con.cursor() as cursor:
            cursor.execute("select * from victim")


def _ticked(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _percent(name: str) -> str:
    return _ticked(name).replace("%", "%%")


@pytest.mark.parametrize("mode", ["incremental", "append_only", "full_table"])
def test_mysql_names_and_values_are_only_text(
    tmp_path: Path, mariadb_server: MariaServer, mode: str
) -> None:
    """Databases, tables, columns, keys, cursors and values run and break nothing."""
    database = "`; drop table victim; -- ' {} %s \\ é"
    mariadb_server.execute(f"create database {_ticked(database)}")
    try:
        options = {
            "type": "mysql",
            "host": "127.0.0.1",
            "port": mariadb_server.port,
            "user": mariadb_server.user,
            "password": filled(mariadb_server.password),
            "database": filled(database),
        }
        source = MysqlSource(mariadb_server, database)
        streams = {name: f"{_part(database)}.{_part(name)}" for name in NAMES}
        check_everything(Project(tmp_path, options, streams), source, mode)
    finally:
        mariadb_server.execute(f"drop database {_ticked(database)}")
