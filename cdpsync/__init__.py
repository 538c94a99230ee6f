"""Sync databases, SaaS APIs and files into a Parquet lake you own, and ask it with SQL.

from cdpsync import query, run

result = run("cdpsync.yml")
rows = query("select count(*) from shop.orders", "cdpsync.yml")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cdpsync.model import Config, RunResult

__version__ = "0.1.0"
__all__ = ["__version__", "query", "run"]


def run(
    config: Config | str | Path | None = None,
    select: Sequence[str] = (),
    **choices: Any,  # noqa: ANN401 - handed on unchanged to sync.run, which says their types
) -> RunResult:
    """Sync a project's tables (`cdpsync.yml` here, by default); `sync.run` names the choices."""
    from cdpsync import sync

    return sync.run(config, select, **choices)


def query(
    sql: str, config: Config | str | Path | None = None, *, at: str | None = None
) -> list[tuple[Any, ...]]:
    """Ask the lake of a project (`cdpsync.yml` here, by default) and return all rows.

    Values are Python's; what it cannot hold comes as text, as `QueryResult.rows` says.
    """
    from cdpsync import project
    from cdpsync.model import Config

    loaded = config if isinstance(config, Config) else project.load(config)
    with project.open_query(loaded, sql, at=at) as answer:
        return list(answer.rows())
