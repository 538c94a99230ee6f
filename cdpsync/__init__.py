"""Sync databases, SaaS APIs and files into a Parquet lake you own, and query it with SQL.

from cdpsync import query, run

result = run("cdpsync.yml")
rows = query("select count(*) from shop.orders", "cdpsync.yml")
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own takes most of the time until interrupts are handled
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from cdpsync.model import Config, RunResult

__version__ = "0.1.0"
__all__ = ["__version__", "query", "run"]


def run(
    config: Config | str | Path | None = None,
    select: Sequence[str] = (),
    **options: Any,  # noqa: ANN401 - passed unchanged to sync.run, which declares their types
) -> RunResult:
    """Sync a project's tables (default: `./cdpsync.yml`). `sync.run` documents the options."""
    from cdpsync import sync

    return sync.run(config, select, **options)


def query(
    sql: str, config: Config | str | Path | None = None, *, at: str | None = None
) -> list[tuple[Any, ...]]:
    """Query the lake of a project (default: `./cdpsync.yml`), and return all rows.

    Values are Python's. A value that Python cannot hold comes as text, as in `QueryResult.rows`.
    """
    from cdpsync import project
    from cdpsync.model import Config

    loaded = config if isinstance(config, Config) else project.load(config)
    with project.open_query(loaded, sql, at=at) as result:
        return list(result.rows())
