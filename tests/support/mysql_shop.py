"""A test project over a real MariaDB."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from support.shop import Shop

if TYPE_CHECKING:
    from support.mysql_server import MariaDatabase


@dataclass
class MysqlShop(Shop):
    """A project whose source `shop` is its own MariaDB database."""

    url: str = ""

    def __post_init__(self) -> None:
        self.db: MariaDatabase = self.pg  # type: ignore[assignment]  # speaks SQL all the same
        self.orders = f"{self.db.name}.orders"

    def configure(self, tables: dict[str, Any] | None, **source: Any) -> None:
        super().configure(tables, **{"type": "mysql", "url": self.url or self.db.url, **source})

    def source(self, sql: str) -> list[tuple[Any, ...]]:
        return self.db.rows(sql)

    def same_rows(self, table: str = "orders") -> None:
        """Assert that the lake has the source's rows: each one, as often as there."""
        at_source = sorted(map(repr, map(_plain, self.source(f"select * from {table}"))))
        in_lake = sorted(map(repr, map(_plain, self.ask(f"select * from shop.{table}"))))
        assert in_lake == at_source, table


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        value.astimezone(UTC).replace(tzinfo=None)
        if isinstance(value, datetime) and value.tzinfo
        else value
        for value in row
    )
