"""Polar and Paddle Billing, as their documentation says.

docs.polar.sh/api-reference, github.com/polarsource/polar-python (docs); developer.paddle.com
(api-reference/about, and the list of each entity).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from support.api_server import Reply
from support.api_vendor import VendorServer, letters, varied

if TYPE_CHECKING:
    from support.api_server import ApiRequest
    from support.api_vendor import Row

START = datetime(2026, 1, 1, tzinfo=UTC)


def moment(n: int) -> str:
    """Return the time of a record, which two share; some are a whole second."""
    at = START + timedelta(seconds=n // 2, milliseconds=250 * (n // 2 % 2))
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Polar(VendorServer):
    """Pages by number; `pagination` has the number of records and pages."""

    type = "polar"
    cursors: ClassVar = {"events": ("timestamp", "start_timestamp")}

    lists: ClassVar[dict[str, tuple[str, tuple[str, ...]]]] = {
        "customers": ("customers", ("created_at", "email", "name")),
        "orders": ("orders", ("created_at", "status", "invoice_number", "amount")),
        "subscriptions": ("subscriptions", ("customer", "status", "started_at", "amount")),
        "products": ("products", ("created_at", "name", "price_amount")),
        "checkouts": ("checkouts", ("created_at", "expires_at", "status")),
        "checkout_links": ("checkout-links", ("created_at", "label", "success_url")),
        "payments": ("payments", ("created_at", "status", "amount", "method")),
        "refunds": ("refunds", ("created_at", "amount")),
        "disputes": ("disputes", ("created_at", "amount")),
        "discounts": ("discounts", ("created_at", "name", "code", "redemptions_count")),
        "benefits": ("benefits", ("created_at", "description", "type", "user_order")),
        "benefit_grants": ("benefit-grants", ("created_at", "granted_at", "revoked_at")),
        "license_keys": ("license-keys", ()),
        "meters": ("meters", ("created_at", "name")),
        "customer_meters": ("customer-meters", ("created_at", "modified_at", "balance")),
        "custom_fields": ("custom-fields", ("created_at", "slug", "name", "type")),
        "files": ("files", ()),
        "events": ("events", ("timestamp",)),
    }

    def __init__(self) -> None:
        super().__init__()
        for stream, (path, _) in self.lists.items():
            count = 230 if stream in {"orders", "events"} else 103
            self.rows[stream] = [self._row(stream, n, more) for n, more in varied(count)]
            self.routes[f"GET /v1/{path}/"] = self._list(stream)

    @staticmethod
    def _row(stream: str, n: int, more: Row) -> Row:
        id_ = f"00000000-0000-4000-8000-{n:012d}"
        if stream == "events":
            return {"id": id_, "timestamp": moment(n), "name": "order.paid", **more}
        changed = None if n % 2 else moment(n + 1)
        started = {"started_at": moment(n)} if stream == "subscriptions" else {}
        return {"created_at": moment(n), "modified_at": changed, "id": id_, **started, **more}

    @property
    def options(self) -> dict[str, Any]:
        return {"base_url": f"{self.url}/v1", "token": "polar_oat_1234"}

    def is_authorized(self, request: ApiRequest) -> bool:
        return request.headers["Authorization"] == "Bearer polar_oat_1234"

    def unauthorized(self) -> Reply:
        return Reply({"error": "Unauthorized", "detail": "Not authenticated"}, 401)

    def too_many(self) -> Reply:
        return Reply({"detail": "Rate limit exceeded"}, 429, {"Retry-After": "0"})

    def bad_request(self, what: str) -> Reply:
        detail = [{"loc": ["query"], "msg": what, "type": "value_error"}]
        return Reply({"error": "RequestValidationError", "detail": detail}, 422)

    def _list(self, stream: str) -> Any:
        sorts = self.lists[stream][1]

        def answer(request: ApiRequest) -> Any:
            more = ("start_timestamp", "end_timestamp") if stream == "events" else ()
            self.require_params(request, ("page", "limit", "organization_id", "sorting", *more))
            page = self.number(request, "page", 1, 1, 10**6)
            limit = self.number(request, "limit", 10, 1, 100)
            rows = list(self.rows[stream])
            sort = request.query.get("sorting", "")
            self.require(not sort or sort.lstrip("-") in sorts, f"sorting: {sort}")
            rows.sort(key=lambda row: str(row.get(sort.lstrip("-"))), reverse=sort[:1] == "-")
            start = request.query.get("start_timestamp")
            if start is not None:
                low = datetime.fromisoformat(start)
                rows = [row for row in rows if datetime.fromisoformat(row["timestamp"]) > low]
            items = rows[(page - 1) * limit : page * limit]
            if stream == "events":
                paging: Row = {"has_next_page": page * limit < len(rows)}
            else:
                paging = {"total_count": len(rows), "max_page": -(-len(rows) // limit)}
            return {"items": items, "pagination": paging}

        return answer


class Paddle(VendorServer):
    """Pages behind an entity; there is a next address on the last page, too."""

    type = "paddle"
    cursors: ClassVar = {"transactions": ("updated_at", "updated_at[GTE]")}

    # The greatest page, and the statuses that a list has without being asked for others.
    lists: ClassVar[dict[str, tuple[int, str, str]]] = {
        "products": (200, "pro_", "active"),
        "prices": (200, "pri_", "active"),
        "discounts": (200, "dsc_", "active"),
        "customers": (200, "ctm_", "active"),
        "subscriptions": (200, "sub_", ""),
        "transactions": (30, "txn_", ""),
        "adjustments": (50, "adj_", ""),
        "notification_settings": (200, "ntfset_", ""),
        "events": (200, "evt_", ""),
    }

    def __init__(self) -> None:
        super().__init__()
        for stream, (size, prefix, default) in self.lists.items():
            count = 3 if stream == "customers" else size + 4
            self.rows[stream] = [self._row(stream, prefix, n, more) for n, more in varied(count)]
            path = stream.replace("_", "-")
            self.routes[f"GET /{path}"] = self._list(stream, size, default)
        for stream, prefix in {"addresses": "add_", "businesses": "biz_"}.items():
            self.rows[stream] = [
                {**self._row(stream, prefix, n, more), "customer_id": letters("ctm_", n % 3)}
                for n, more in varied(7)
            ]
            self.routes[rf"GET /customers/(\w+)/{stream}"] = self._list(stream, 200, "active")

    @staticmethod
    def _row(stream: str, prefix: str, n: int, more: Row) -> Row:
        if stream == "events":
            event = {"event_id": letters(prefix, n), "event_type": "customer.created"}
            return {**event, "occurred_at": moment(n), "data": more}
        status = "archived" if n % 3 == 1 else "active"
        times = {"created_at": moment(n), "updated_at": moment(n * 7 % 34)}
        return {"id": letters(prefix, n), "status": status, "custom_data": None, **times, **more}

    @property
    def options(self) -> dict[str, Any]:
        return {"base_url": self.url, "token": "pdl_live_apikey_1234"}

    def is_authorized(self, request: ApiRequest) -> bool:
        return request.headers["Authorization"] == "Bearer pdl_live_apikey_1234"

    def _error(self, code: str, detail: str) -> Row:
        link = f"https://developer.paddle.com/errors/shared/{code}"
        error = {"type": "request_error", "code": code, "detail": detail}
        return {"error": {**error, "documentation_url": link}, "meta": {"request_id": "r-1"}}

    def unauthorized(self) -> Reply:
        return Reply(self._error("invalid_token", "Invalid API key."), 403)

    def too_many(self) -> Reply:
        detail = "IP address exceeded the allowed rate limit."
        return Reply(self._error("too_many_requests", detail), 429, {"Retry-After": "0"})

    def bad_request(self, what: str) -> Reply:
        return Reply(self._error("bad_request", what), 400)

    def _list(self, stream: str, size: int, default: str) -> Any:
        key = "event_id" if stream == "events" else "id"

        def answer(request: ApiRequest) -> Any:
            self.require(request.headers.get("Paddle-Version", "1") == "1", "version")
            filters = {"updated_at[GTE]"} if stream == "transactions" else set()
            statuses = {"status"} if stream not in {"events", "notification_settings"} else set()
            known = {"after", "per_page", "order_by", "id", *filters, *statuses}
            self.require_params(request, known)
            per_page = min(self.number(request, "per_page", 50, 1, 10**6), size)
            order = request.query.get("order_by", "id[DESC]")
            self.require(order in {"id[ASC]", "id[DESC]"}, f"order_by: {order}")
            rows = sorted(self.rows[stream], key=lambda row: row[key], reverse="DESC" in order)
            wanted = request.query.get("status", default)
            if wanted and statuses:
                rows = [row for row in rows if row["status"] in wanted.split(",")]
            if request.parts:
                rows = [row for row in rows if row["customer_id"] == request.parts[0]]
            low = request.query.get("updated_at[GTE]")
            if low is not None:
                rows = [row for row in rows if _at(row["updated_at"]) >= _at(low)]
            after = request.query.get("after")
            start = [row[key] for row in rows].index(after) + 1 if after is not None else 0
            page = rows[start : start + per_page]
            last = page[-1][key] if page else after or ""
            following = urlencode({**request.query, "after": last})
            paging = {
                "per_page": per_page,
                "next": f"{self.url}{request.path}?{following}",
                "has_more": start + per_page < len(rows),
                "estimated_total": len(rows),
            }
            return {"data": page, "meta": {"request_id": "r-1", "pagination": paging}}

        return answer


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
