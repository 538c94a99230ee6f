"""An API in the lake: the three modes, deletes, verify; and every promise of the contract."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.api_server import ApiRequest, ApiServer, Number, Reply, serving

from cdpsync import query, run
from cdpsync.testing import conforms
from cdpsync_connectors.rest import RestConnector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = datetime(2026, 1, 1, tzinfo=UTC)
SIZE = 40


class Shop:
    """An API of orders: pages by token, `since` is inclusive, at whole seconds."""

    def __init__(self) -> None:
        self.orders: dict[int, dict[str, Any]] = {}
        self.server = ApiServer({"GET /v1/orders": self.listed})
        self.server.before = self.guard

    def put(self, id_: int, second: float, **fields: Any) -> None:
        at = START + timedelta(seconds=second)
        self.orders[id_] = {
            "id": id_,
            "total": Number(f"{id_}.10"),
            "updated_at": at.isoformat().replace("+00:00", "Z"),
            **fields,
        }

    def listed(self, request: ApiRequest) -> Any:
        since = request.query.get("since", "")
        rows = [row for row in self.orders.values() if row["updated_at"][:19] >= since[:19]]
        rows.sort(key=lambda row: (row["updated_at"], row["id"]))
        start = int(request.query.get("after", "0"))
        following = start + SIZE if rows[start + SIZE :] else None
        return {"items": rows[start : start + SIZE], "next": following and str(following)}

    def guard(self, request: ApiRequest) -> Reply | None:
        is_known = request.headers["Authorization"] == "Bearer right-token"
        return None if is_known else Reply({"message": "who are you?"}, 401)

    def options(self, word: str = "right-token") -> dict[str, Any]:
        return {
            "client": {
                "base_url": f"{self.server.url}/v1",
                "auth": {"type": "bearer", "token": word},
            },
            "resources": {
                "orders": {
                    "path": "orders",
                    "records": "items",
                    "primary_key": ["id"],
                    "cursor_field": "updated_at",
                    "cursor_param": "since",
                    "paginator": {"type": "cursor", "next": "next", "param": "after"},
                }
            },
        }


@pytest.fixture
def shop() -> Iterator[Shop]:
    own = Shop()
    with serving(own.server):
        yield own


def project(folder: Path, shop: Shop, **table: Any) -> Path:
    file = folder / "cdpsync.yml"
    source = {"type": "rest", **shop.options(), "tables": {"orders": table}}
    file.write_text(yaml.safe_dump({"sources": {"shop": source}}))
    return file


def in_lake(file: Path, columns: str = "id, total::varchar") -> list[tuple[Any, ...]]:
    return query(f"select {columns} from shop.orders order by all", file)


def counts(file: Path) -> tuple[int | None, ...]:
    (table,) = run(file).tables
    assert table.error is None, table.error
    return table.rows_inserted, table.rows_updated, table.rows_deleted


def test_incremental_takes_what_changed(tmp_path: Path, shop: Shop) -> None:
    """Ties at the cursor, a late row within the lookback, a new field, a wider number."""
    for number in range(100):
        shop.put(number, number // 3)
    file = project(tmp_path, shop, mode="incremental", cursor_field="updated_at")
    assert counts(file) == (100, 0, 0)
    shop.put(100, 33)  # at the cursor itself
    shop.put(5, 40, total=Number("5.105"), note="paid")
    shop.put(101, 1)  # late, within five minutes
    assert counts(file) == (2, 1, 0)
    assert counts(file) == (0, 0, 0)
    assert in_lake(file)[5] == (5, "5.105")
    assert in_lake(file, "note")[0] == ("paid",)
    assert len(in_lake(file)) == 102


def test_deleted_rows_leave_the_lake(tmp_path: Path, shop: Shop) -> None:
    for number in range(90):
        shop.put(number, number)
    file = project(
        tmp_path, shop, mode="incremental", cursor_field="updated_at", deletes="hard",
        deletes_every="1s",
    )  # fmt: skip
    run(file)
    for number in (0, 44, 89):
        del shop.orders[number]
    time.sleep(1)
    run(file)
    assert [row[0] for row in in_lake(file)] == sorted(shop.orders)


def test_append_only_adds_a_record_once(tmp_path: Path, shop: Shop) -> None:
    for number in range(50):
        shop.put(number, number)
    file = project(tmp_path, shop, mode="append_only", cursor_field="updated_at")
    assert counts(file)[0] == 50
    shop.put(50, 49)
    assert counts(file)[0] == 1
    assert len(in_lake(file)) == 51


def test_an_unchanged_full_table_writes_nothing(tmp_path: Path, shop: Shop) -> None:
    for number in range(50):
        shop.put(number, number)
    file = project(tmp_path, shop, mode="full_table")
    assert counts(file) == (50, 0, 0)
    assert counts(file) == (0, 0, 0)
    shop.put(3, 3, total=Number("0.00"))
    assert counts(file) == (0, 1, 0)


def test_a_list_that_fails_in_the_middle_changes_nothing(tmp_path: Path, shop: Shop) -> None:
    for number in range(100):
        shop.put(number, number)
    file = project(tmp_path, shop, mode="full_table")
    run(file)
    before = in_lake(file)
    for number in range(100):
        shop.put(number, number, total=Number("1.00"))
    shop.server.before = lambda request: (
        Reply({"error": "boom"}, 400) if "after" in request.query else None
    )
    (table,) = run(file).tables
    assert table.error is not None
    assert "refused the request (status 400): boom" in table.error.message
    assert in_lake(file) == before


def test_a_first_load_without_rows_is_followed_by_any_type(tmp_path: Path, shop: Shop) -> None:
    file = project(tmp_path, shop, mode="incremental", cursor_field="updated_at")
    assert counts(file)[0] == 0
    shop.put(1, 1)
    assert counts(file) == (1, 0, 0)
    assert in_lake(file, "typeof(id)") == [("BIGINT",)]


def test_every_promise(shop: Shop) -> None:
    for number in range(300):
        shop.put(number, number // 7, data={"n": number, "list": [Number("1.50")]})
    closed = {**shop.options(), "client": {"base_url": "http://127.0.0.1:9"}}
    conforms(RestConnector, shop.options(), broken=[shop.options("wrong-token"), closed])


def test_status_and_query_need_no_api(tmp_path: Path, shop: Shop) -> None:
    shop.put(1, 1)
    file = project(tmp_path, shop, mode="full_table")
    run(file)
    asked = len(shop.server.requests)
    assert json.dumps(in_lake(file)) == '[[1, "1.10"]]'
    assert len(shop.server.requests) == asked
