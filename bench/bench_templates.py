"""Rows rendered to bodies, in rows a second of processor time: `python bench/bench_templates.py`.

The rows are in memory, as a feed leaves them. Beside our SQL stands DuckDB's own `to_json` of the
same members, which is not exact, as the limit of what SQL can do.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from support.change_rows import Changes, body_of, text  # noqa: E402

from cdpsync.destinations.templates.compile import compile_condition, compile_requests  # noqa: E402
from cdpsync.model.destinations import RequestTemplate  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from cdpsync.destinations.templates.compile import CompiledRequests

LEAST = 350_000  # rows a second of the plain body, on one core

_ROWS = """
    select {{
        'id': i, 'email': 'customer' || i || '@example.com', 'name': 'Customer ' || i,
        'total': (i % 100000 / 100)::decimal(12, 2), 'plan': ['free', 'pro', 'max'][1 + i % 3],
        'active': i % 2 = 0, 'updated_at': timestamptz '2026-01-01' + to_seconds(i),
        'visits': (i % 1000)::integer,
        'properties': ('{{"browser": "Firefox", "price": 19.90, "n": ' || i || '}}')::json
    }}
    from range({count}) as numbers (i)
"""
_PLAIN = {
    "id": "{{ id }}", "email": "{{ email }}", "name": "{{ name }}", "total": "{{ total }}",
    "plan": "{{ plan }}", "active": "{{ active }}", "updated_at": "{{ updated_at }}",
    "visits": "{{ visits }}", "event_id": "{{ event_id }}", "change": "{{ change }}",
}  # fmt: skip
_FILTERED = _PLAIN | {
    "name": '{{ name | upcase | default: "nobody" }}',
    "updated_at": "{{ epoch_ms(updated_at) }}",
    "text": "{{ name }} paid {{ total * 2 }}",
    "email": "{{ lower_sha256(email) }}",
}
_EVENT = {
    "event": "paid", "distinct_id": "{{ email }}", "uuid": "{{ event_id }}",
    "properties": {"...": "{{ properties }}", "total": "{{ total }}", "name?": "{{ name }}"},
    "timestamp": "{{ updated_at }}",
}  # fmt: skip
_TO_JSON = """
    select to_json(struct_pack(
        id := c.row.id, email := c.row.email, name := c.row.name, total := c.row.total,
        plan := c.row.plan, active := c.row.active, updated_at := c.row.updated_at,
        visits := c.row.visits, event_id := event_id, change := change
    ))::varchar as body from changes as c
"""


def queries(changes: Changes) -> dict[str, str]:
    """Return what is measured, with SQL that gives the bytes of all rows."""
    own_url = RequestTemplate(
        "PUT",
        text("https://example.com/customers/{{ id }}"),
        headers={"X-Email": text("{{ email }}")},
        body=body_of(_PLAIN),
    )
    compiled = {
        "plain body": changes.compile(_PLAIN),
        "filters and functions": changes.compile(_FILTERED),
        "an event with a JSON column": changes.compile(_EVENT),
        "the row as a whole": changes.compile("{{ row }}"),
        "URL and headers of each row": compile_requests(changes.row, own_url),
    }
    measured = {name: _bytes(requests) for name, requests in compiled.items()}
    where = compile_condition(changes.row, text("total > 500 and plan <> 'free'"))
    measured["where alone"] = f"select count(*) from changes where {where}"
    measured["DuckDB's to_json (not exact)"] = f"select sum(strlen(body)) from ({_TO_JSON})"
    return measured


def _bytes(requests: CompiledRequests) -> str:
    columns = " + ".join(f"sum(strlen({column}))" for column in requests.columns)
    return f"select {columns}, count(error) from ({requests.select()})"


def seconds_of(task: Callable[[], Any], runs: int) -> float:
    """Return the least processor time of some runs."""
    times = []
    for _ in range(runs):
        begin = time.process_time()
        task()
        times.append(time.process_time() - begin)
    return min(times)


def main() -> None:
    """Print the figures; exit with 1 if the plain body is slower than wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    changes = Changes(_ROWS.format(count=options.rows))
    rates = {}
    for name, query in queries(changes).items():
        seconds = seconds_of(
            lambda query=query: changes.con.execute(query).fetchone(), options.runs
        )
        size = changes.con.execute(query).fetchone()[0] / options.rows
        rates[name] = options.rows / seconds
        print(f"{name:30} {rates[name] / 1000:7,.0f} k rows/s   {size:5.0f} bytes")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"peak {peak} MB, with the rows. Wanted of the plain body: {LEAST // 1000} k rows/s")
    sys.exit(rates["plain body"] < LEAST)


if __name__ == "__main__":
    main()
