"""Chargebee's API v2: apidocs.chargebee.com, and the types in chargebee/chargebee-node."""

from __future__ import annotations

import base64
import json
from typing import Any

from support.api_server import ApiRequest, ApiServer, Reply
from support.api_system import BIG, Changes, System, at, epoch, paged, unknown

KEY = "cb_live_abcdef"
_WITH_DELETED = {
    *("customers", "subscriptions", "invoices", "credit_notes", "transactions"),
    *("payment_sources", "orders", "quotes", "plans", "addons"),
}
_TIMES = {"promotional_credits": "created_at", "comments": "created_at", "events": "occurred_at"}
TABLES = (
    *_WITH_DELETED,
    *("coupons", "hosted_pages", "items", "item_prices", "item_families", *_TIMES),
)


def _error(status: int, code: str, message: str) -> Reply:
    return Reply({"message": message, "type": "invalid_request", "api_error_code": code}, status)


def _record(table: str, number: int) -> dict[str, Any]:
    field = _TIMES.get(table, "updated_at")
    return {
        "id": f"{table}-{number}",
        field: epoch(at(number)),
        "resource_version": 1517505747000 + number,
        "total": BIG if number == 2 else number * 100,
        "cf_note": None,
        "billing_address": {"city": "Zürich", "validation_status": "not_validated"},
        "deleted": number == 3,
        "object": table,
    }


def chargebee() -> System:
    """Return a site with 230 customers."""
    rows = {
        table: [_record(table, n) for n in range(1, 231 if table == "customers" else 4)]
        for table in TABLES
    }

    def listed(request: ApiRequest) -> Any:
        table = request.parts[0]
        field = _TIMES.get(table, "updated_at")
        known = {"limit", "offset", f"{field}[after]", "sort_by[asc]"}
        if table in _WITH_DELETED:
            known.add("include_deleted")
        if unknown(request, known):
            return _error(400, "param_wrong_value", f"{unknown(request, known)} : unknown")
        limit = int(request.query.get("limit", "10"))
        if not 1 <= limit <= 100:
            return _error(400, "param_wrong_value", "limit : should be between 1 and 100")
        after = int(request.query.get(f"{field}[after]", "-1"))
        has_deleted = request.query.get("include_deleted") == "true" or table not in _WITH_DELETED
        found = [r for r in rows[table] if r[field] > after and (has_deleted or not r["deleted"])]
        start = json.loads(request.query.get("offset", '["0"]'))[0]
        page, following = paged(found, int(start), limit)
        wrapper = {"item_families": "item_family"}.get(table, table.removesuffix("s"))
        content = {"list": [{wrapper: row, "card": {"last4": "1111"}} for row in page]}
        if following is None:
            return content
        return content | {"next_offset": json.dumps([str(following), "230000000081"])}

    server = ApiServer({rf"GET /api/v2/({'|'.join(TABLES)})": listed})
    expected = base64.b64encode(f"{KEY}:".encode()).decode()

    def authorised(request: ApiRequest) -> Reply | None:
        if request.headers["Authorization"] == f"Basic {expected}":
            return None
        return _error(401, "api_authentication_failed", "Sorry, authentication failed.")

    server.before = authorised

    def changes(field: str) -> Changes:
        return Changes(
            field,
            lambda row: at(int(row["id"].rpartition("-")[2])),
            lambda request: request.query.get(f"{field}[after]"),
            lambda moment: str(epoch(moment) - 1),
        )

    return System(
        "chargebee",
        server,
        lambda: {"site": "acme-test", "key": KEY, "base_url": f"{server.url}/api/v2"},
        "key",
        "Sorry, authentication failed",
        lambda: _error(429, "api_request_limit_exceeded", "Sorry, API request limit exceeded."),
        rows,
        changes={
            "customers": changes("updated_at"),
            "events": changes("occurred_at"),
            "comments": changes("created_at"),
        },
    )
