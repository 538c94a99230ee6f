"""RevenueCat's API v2: www.revenuecat.com/docs/api-v2."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from support.api_server import ApiRequest, ApiServer, Reply
from support.api_system import System, at, epoch, paged, unknown

KEY = "sk_abcdef0123456"
_OF_PROJECT = ("apps", "products", "entitlements", "offerings")
_OF_CUSTOMER = ("subscriptions", "purchases", "active_entitlements")


def _error(status: int, type_: str, message: str, **more: Any) -> Reply:
    content = {"object": "error", "type": type_, "message": message, "retryable": False, **more}
    return Reply(content, status, {"Retry-After": "0"} if status == 429 else {})


def _customer(number: int) -> dict[str, Any]:
    return {
        "object": "customer",
        "id": f"$RCAnonymousID:a/{number}",
        "project_id": "proj1",
        "first_seen_at": epoch(at(number)) * 1000,
        "last_seen_country": None,
        "active_entitlements": {"object": "list", "items": [], "next_page": None},
    }


def revenuecat() -> System:
    """Return a project with 120 customers, of whom each has two subscriptions."""
    rows: dict[str, list[dict[str, Any]]] = {
        "projects": [{"object": "project", "id": "proj1", "name": "Ä", "created_at": 1}],
        "customers": [_customer(n) for n in range(1, 121)],
    }
    for name in _OF_PROJECT:
        rows[name] = [
            {"object": name, "id": f"{name}{n}", "project_id": "proj1", "created_at": n, "x": None}
            for n in range(1, 4)
        ]
    rows["products"] = [{"id": f"prod{n}", "project_id": "proj1"} for n in range(1, 231)]
    for name in _OF_CUSTOMER:
        rows[name] = [
            {
                **({"entitlement_id": "entl1"} if name == "active_entitlements" else {"id": "s1"}),
                "project_id": "proj1",
                "customer_id": customer["id"],
                "expires_at": None,
                "total_revenue_in_usd": {"gross": 9.99, "currency": "USD"},
            }
            for customer in rows["customers"][:20]
        ]
        if name != "active_entitlements":
            for number, row in enumerate(rows[name]):
                row["id"] = f"{name}{number}"

    def page(request: ApiRequest, records: list[dict[str, Any]]) -> Any:
        if unknown(request, {"limit", "starting_after", "search", "expand"}):
            return _error(400, "parameter_error", "unknown parameter")
        limit = max(1, min(int(request.query.get("limit", "20")), 100))
        start = int(request.query.get("starting_after", "0"))
        items, following = paged(records, start, limit)
        url = quote(request.path)
        link = None if following is None else f"{url}?starting_after={following}&limit={limit}"
        return {"object": "list", "items": items, "next_page": link, "url": url}

    def of_customer(request: ApiRequest) -> Any:
        project, customer, name = request.parts
        found = [
            r for r in rows[name] if (r["project_id"], r["customer_id"]) == (project, customer)
        ]
        own = {"project_id", "customer_id"}
        return page(request, [{k: v for k, v in row.items() if k not in own} for row in found])

    server = ApiServer(
        {
            "GET /v2/projects": lambda r: page(r, rows["projects"]),
            rf"GET /v2/projects/(\w+)/({'|'.join(_OF_PROJECT)}|customers)": lambda r: page(
                r, rows[r.parts[1]]
            ),
            rf"GET /v2/projects/(\w+)/customers/([^/]+)/({'|'.join(_OF_CUSTOMER)})": of_customer,
        }
    )

    def authorised(request: ApiRequest) -> Reply | None:
        if request.headers["Authorization"] == f"Bearer {KEY}":
            return None
        return _error(401, "authentication_error", "Invalid API key.")

    server.before = authorised
    return System(
        "revenuecat",
        server,
        lambda: {"key": KEY, "base_url": f"{server.url}/v2"},
        "key",
        "Invalid API key",
        lambda: _error(429, "rate_limit_error", "Too many requests", backoff_ms=10),
        rows,
        keys={
            "customers": ("project_id", "id"),
            "subscriptions": ("project_id", "id"),
            "purchases": ("project_id", "id"),
            "active_entitlements": ("project_id", "customer_id", "entitlement_id"),
        },
    )
