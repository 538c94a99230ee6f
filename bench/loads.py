"""Loads of whole tables into a lake, compared with psql's COPY to /dev/null and with peers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import peers
from measure import WORK, Command, Contender, Figure, in_turns, median, output, peak, ratio
from postgres import ask, cdpsync, copy, load_tpch, project
from report import Limit, Line

if TYPE_CHECKING:
    from postgres import Setting

_OURS, _COPY, _SCANNER = "cdpsync run", "psql COPY binary > /dev/null", "DuckDB's scanner alone"
_CONNECTORX, _PYARROW = "dlt connectorx", "dlt pyarrow"

_EVENTS = """
    create unlogged table events as
    select md5(i::text)::uuid as id,
        jsonb_build_object('user', i % 50000, 'page', '/p/' || i % 997, 'ms', i % 3000,
            'tags', jsonb_build_array('a' || i % 7, 'b' || i % 11), 'ok', i % 13 <> 0) as payload,
        timestamptz '2024-01-01' + i * interval '1.7 seconds' as happened_at,
        'event number ' || i || ' of kind ' || i % 31 as note
    from generate_series(1, {rows}) i;
    vacuum analyze events
"""

_FOURFOLD = """
    create unlogged table lineitem4 as
    select l_orderkey + k * 6000000 as l_orderkey, l_partkey, l_suppkey, l_linenumber, l_quantity,
        l_extendedprice, l_discount, l_tax, l_returnflag, l_linestatus, l_shipdate, l_commitdate,
        l_receiptdate, l_shipinstruct, l_shipmode, l_comment
    from generate_series(0, 3) k, lineitem;
    vacuum analyze lineitem4
"""

_WIDE = (
    "(i * 31 + {n}) % 1000003 as i{n}",
    "(i + {n})::bigint * 7919 as b{n}",
    "((i % 9973) / ({n} + 1.0))::float8 as f{n}",
    "(((i + {n}) % 100000)::numeric / 100)::numeric(12,2) as d{n}",
    "'value ' || (i + {n}) % 5000 as t{n}",
    "timestamptz '2024-01-01' + (i + {n}) * interval '1 second' as u{n}",
    "nullif((i + {n}) % 3, 0) as s{n}",
    "date '2000-01-01' + ((i + {n}) % 9000)::int as e{n}",
)

# Prose of a thousand words, cut from sixty-four pages, so that neighbouring rows differ. The server
# stores it uncompressed, because its compression gains nothing and takes ten times as long.
_TALL = """
    create unlogged table pages (page int, words bytea);
    alter table pages alter words set storage external;
    insert into pages
    select page % 64, convert_to(string_agg(left(md5(word::text), 3 + word % 7), ' '), 'UTF8')
    from (
        select w as page, (random() * 1000)::int as word from generate_series(0, 64 * 14000 - 1) w
    ) as words
    group by 1;
    create unlogged table tall (id int, body text);
    alter table tall alter body set storage external;
    insert into tall
    select i, convert_from(substr(words, 1 + (i::bigint * 7919 % 40000)::int, 50000), 'UTF8')
    from generate_series(1, {rows}) i join pages on page = i % 64;
    drop table pages;
    vacuum analyze tall
"""


@dataclass(frozen=True)
class Loaded:
    """A table that was loaded in turns, and the figures of each contender."""

    table: str
    figures: dict[str, list[Figure]]

    @property
    def seconds(self) -> float:
        return median(self.figures[_OURS])

    def slower_than(self, name: str, bound: float) -> Limit:
        measured = ratio(self.figures[_OURS], self.figures[name])
        return Limit(f"{{}} x {name}", measured, bound)

    def faster_than(self, name: str, bound: float) -> Limit:
        return Limit(f"{{}} x as fast as {name}", self._longer(name), bound, least=True)

    def memory(self, bound: float) -> Limit:
        return Limit("{} MB", peak(self.figures[_OURS]), bound)

    def _longer(self, name: str) -> float:
        return ratio(self.figures[name], self.figures[_OURS])

    def lines(self, rows: str, *limits: Limit) -> list[Line]:
        return [
            Line(f"{name}, {rows}", tuple(figures), limits)
            if name == _OURS
            else Line(f"{name}, {rows}", tuple(figures), ratio=self._longer(name))
            for name, figures in self.figures.items()
        ]


def lineitem(setting: Setting) -> list[Line]:
    """TPC-H lineitem, 6.0 M rows of 16 columns at scale 1, Postgres to a lake in a folder."""
    load_tpch(setting.server, setting.scale, "lineitem")
    answer = "select count(*) || ' ' || sum(l_orderkey)::bigint from {table}"
    loaded = _load(setting, "lineitem", answer, _CONNECTORX, _PYARROW)
    return loaded.lines(
        f"{6 * setting.scale:g} M lineitem rows",
        loaded.slower_than(_COPY, 1.15),
        loaded.faster_than(_CONNECTORX, 2),
        loaded.faster_than(_PYARROW, 4.5),
        loaded.memory(400),
    )


def reload(setting: Setting) -> list[Line]:
    """lineitem again, where nothing changed, in turns with its first load."""
    load_tpch(setting.server, setting.scale, "lineitem")
    answer = "select count(*) || ' ' || sum(l_orderkey)::bigint from {table}"
    folder = project("reload", setting.server, {"public.lineitem": {}})
    again = cdpsync(folder, "run")
    output(again.words)
    # A file that a run adds has another name, so the answer shows that there is none.
    files = "select string_agg(distinct filename, ' ' order by filename) from shop.lineitem"
    unchanged = Contender("cdpsync run, unchanged", lambda: again, partial(ask, folder, files))
    truths = [setting.server.psql(answer.format(table="lineitem")), ask(folder, files)]
    contenders = [_ours(setting, "lineitem", answer), unchanged]
    first, reloaded = in_turns(contenders, setting.runs, truths)
    millions = f"{6 * setting.scale:g} M lineitem rows"
    return [
        Line(f"{_OURS}, {millions}", tuple(first)),
        Line(
            f"{unchanged.name}, {millions}",
            tuple(reloaded),
            (
                Limit("{} x the first load", ratio(reloaded, first), 1.4),
                Limit("{} x its memory", peak(reloaded) / peak(first), 1.2),
            ),
        ),
    ]


def events(setting: Setting) -> list[Line]:
    """2 M rows of uuid, jsonb, timestamptz and text at scale 1."""
    rows = int(2_000_000 * setting.scale)
    setting.server.execute(_EVENTS.format(rows=rows))
    answer = "select count(*) || ' ' || sum(length(note))::bigint from {table}"
    loaded = _load(setting, "events", answer, _CONNECTORX, _PYARROW)
    return loaded.lines(
        f"{rows / 1e6:g} M event rows",
        loaded.slower_than(_COPY, 1.3),
        loaded.faster_than(_CONNECTORX, 2),
        loaded.faster_than(_PYARROW, 20),
    )


def fourfold(setting: Setting) -> list[Line]:
    """A table four times the size of lineitem, in turns with lineitem itself."""
    load_tpch(setting.server, setting.scale, "lineitem")
    setting.server.execute(_FOURFOLD)
    answer = "select count(*) || ' ' || sum(l_orderkey)::bigint from {table}"
    names = ("lineitem", "lineitem4")
    truths = [setting.server.psql(answer.format(table=name)) for name in names]
    contenders = [_ours(setting, name, answer) for name in names]
    single, fourfold_ = in_turns(contenders, setting.runs, truths)
    limits = (
        Limit("{} x four times as long", ratio(fourfold_, single) / 4, 1.1),
        Limit("{} x the memory", peak(fourfold_) / peak(single), 1.15),
    )
    millions = 6 * setting.scale
    return [
        Line(f"{_OURS}, {millions:g} M lineitem rows", tuple(single)),
        Line(f"{_OURS}, {4 * millions:g} M lineitem rows", tuple(fourfold_), limits),
    ]


def wide(setting: Setting) -> list[Line]:
    """1 M rows of 200 columns of eight types at scale 1."""
    rows = int(1_000_000 * setting.scale)
    columns = ["i as id", *(_WIDE[n % len(_WIDE)].format(n=n) for n in range(199))]
    setting.server.execute(
        f"create unlogged table wide as select {', '.join(columns)} "
        f"from generate_series(1, {rows}) i; vacuum analyze wide"
    )
    answer = "select count(*) || ' ' || sum(id)::bigint || ' ' || sum(d195) from {table}"
    loaded = _load(setting, "wide", answer)
    return loaded.lines(f"{rows / 1e6:g} M rows of 200 columns", *_heavy(loaded))


def tall(setting: Setting) -> list[Line]:
    """100,000 rows with a text of 50 KB at scale 1."""
    rows = int(100_000 * setting.scale)
    setting.server.execute(_TALL.format(rows=rows))
    answer = "select count(*) || ' ' || sum(id)::bigint || ' ' || sum(length(body)) from {table}"
    loaded = _load(setting, "tall", answer)
    return loaded.lines(f"{rows:,} rows of 50 KB", *_heavy(loaded))


def _heavy(loaded: Loaded) -> tuple[Limit, Limit]:
    return loaded.memory(600), loaded.faster_than(_SCANNER, 0.8)


def _load(setting: Setting, table: str, answer: str, *peer_names: str) -> Loaded:
    """Load a table in turns with each contender, into its own kind of lake.

    `answer` is SQL over `{table}`: one value that shows whether all rows were loaded.
    """
    server, peer_runs = setting.server, setting.few
    contenders = [
        Contender(_COPY, partial(copy, server, table)),
        _ours(setting, table, answer),
        Contender(
            _SCANNER,
            partial(peers.scanner, server, table, peers.work("scanner")),
            partial(_parquet, "scanner", answer),
        ),
    ]
    for name in peer_names:
        begin = partial(peers.dlt_folder, server, table, name.split()[-1], peers.work(name))
        contenders.append(
            Contender(name, begin, partial(_parquet, f"{name}/out", answer), peer_runs)
        )
    truth = server.psql(answer.format(table=table))
    figures = in_turns(contenders, setting.runs, [truth] * len(contenders))
    for contender in contenders:
        peers.clear(contender.name)
    names = [contender.name for contender in contenders]
    return Loaded(table, dict(zip(names, figures, strict=True)))


def _ours(setting: Setting, table: str, answer: str) -> Contender:
    def begin() -> Command:
        return cdpsync(project(table, setting.server, {f"public.{table}": {}}), "run")

    query = partial(ask, WORK / table, answer.format(table=f"shop.{table}"))
    return Contender(_OURS, begin, query)


def _parquet(name: str, answer: str) -> str:
    files = f"read_parquet('{peers.work(name)}/**/*.parquet', union_by_name = true)"
    return peers.ask(":memory:", answer.format(table=files))
