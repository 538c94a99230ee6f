"""DoiT's API and frankfurter.dev, as their documentation says.

github.com/doitintl/terraform-provider-doit (OpenAPI); api.frankfurter.dev/v2/openapi.json.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from support.api_server import Number, Reply
from support.api_vendor import VendorServer, varied

if TYPE_CHECKING:
    from support.api_server import ApiRequest
    from support.api_vendor import Row

START = 1_767_225_600_000


class DoIt(VendorServer):
    """Pages by `pageToken`, which the last page lacks; times are milliseconds."""

    type = "doit"
    cursors: ClassVar = {
        "anomalies": ("startTime", "minCreationTime"),
        "tickets": ("createTime", "minCreationTime"),
        "cloud_incidents": ("createTime", "minCreationTime"),
    }
    times: ClassVar = {"anomalies": "startTime", "invoices": "invoiceDate"}
    lists: ClassVar[dict[str, tuple[str, str]]] = {
        "assets": ("billing/v1/assets", "assets"),
        "invoices": ("billing/v1/invoices", "invoices"),
        "reports": ("analytics/v1/reports", "reports"),
        "budgets": ("analytics/v1/budgets", "budgets"),
        "alerts": ("analytics/v1/alerts", "alerts"),
        "allocations": ("analytics/v1/allocations", "allocations"),
        "annotations": ("analytics/v1/annotations", "annotations"),
        "labels": ("analytics/v1/labels", "labels"),
        "folders": ("analytics/v1/folders", "folders"),
        "users": ("iam/v1/users", "users"),
        "anomalies": ("anomalies/v1", "anomalies"),
        "tickets": ("support/v1/tickets", "tickets"),
        "cloud_incidents": ("core/v1/cloudincidents", "incidents"),
    }

    def __init__(self) -> None:
        super().__init__()
        for stream, (path, name) in self.lists.items():
            count = 12 if stream == "users" else 205
            self.rows[stream] = [self._row(stream, n, more) for n, more in varied(count)]
            self.routes[f"GET /{path}"] = self._list(stream, name)

    def _row(self, stream: str, n: int, more: Row) -> Row:
        time = self.times.get(stream, "createTime")
        id_: Any = n + 100_000 if stream == "tickets" else f"{stream}-{n:05d}"
        return {"id": id_, time: START + n // 2 * 1000 + 125, **more}

    @property
    def options(self) -> dict[str, Any]:
        return {"base_url": self.url, "token": "doit-1234"}

    def is_authorized(self, request: ApiRequest) -> bool:
        return (
            request.headers["Authorization"] == "Bearer doit-1234"
            and "X-Tenant-Id" not in request.headers
        )

    def _problem(self, status: int, code: str, title: str, detail: str) -> Reply:
        problem = {"type": f"https://developer.doit.com/errors/{code}", "title": title}
        problem |= {"status": status, "detail": detail, "code": code}
        return Reply(problem, status, {"Content-Type": "application/problem+json"})

    def unauthorized(self) -> Reply:
        return self._problem(401, "unauthorized", "Unauthorized", "The token is not valid.")

    def too_many(self) -> Reply:
        return Reply({"error": "Too Many Requests"}, 429)

    def bad_request(self, what: str) -> Reply:
        return self._problem(400, "validation_failed", "Bad Request", what)

    def _list(self, stream: str, name: str) -> Any:
        has_time = stream in {*self.cursors, "invoices", "reports", "budgets"}
        time = self.times.get(stream, "createTime")

        def answer(request: ApiRequest) -> Any:
            known = {"email"} if stream == "users" else {"maxResults", "pageToken", "filter"}
            known |= {"minCreationTime", "maxCreationTime"} if has_time else set()
            known |= {"sortBy", "sortOrder"} if stream in {"alerts", "anomalies"} else set()
            self.require_params(request, known)
            rows = self.rows[stream]
            low = self.number(request, "minCreationTime", 10**11, 10**11, 10**15)  # not seconds
            rows = [row for row in rows if row.get(time, 0) >= low]
            rows.sort(key=lambda row: row[time], reverse=request.query.get("sortOrder") != "asc")
            if stream == "users":
                return {name: rows, "rowCount": len(rows)}
            size = self.number(request, "maxResults", 50, 1, 10**6)
            token = request.query.get("pageToken", "page-0")
            self.require(token.startswith("page-"), "pageToken")
            start = int(token[5:])
            page = rows[start : start + size]
            more = {"pageToken": f"page-{start + size}"} if start + size < len(rows) else {}
            more |= {"truncated": False, "totalCount": len(rows)} if stream == "anomalies" else {}
            return {name: page, "rowCount": len(page), **more}

        return answer


class Frankfurter(VendorServer):
    """A list of rates, a row for each day and currency; needs no token."""

    type = "exchange_rates"
    cursors: ClassVar = {"rates": ("date", "from")}
    first = date(2026, 1, 1)

    def __init__(self) -> None:
        super().__init__()
        self.rows["rates"] = [
            {
                "date": (self.first + timedelta(days=day)).isoformat(),
                "base": "EUR",
                "quote": quote,
                "rate": Number(f"{day + 1}.{number}01234500"),
            }
            for day in range(40)
            for number, quote in enumerate(["GBP", "IDR", "USD"], start=1)
        ]
        self.rows["currencies"] = [
            {"iso_code": code, "iso_numeric": None, "name": code, "symbol": "€", "end_date": end}
            for code, end in [("EUR", None), ("DEM", "1998-12-31")]
        ]
        self.rows["providers"] = [
            {"key": "ECB", "name": "European Central Bank", "currencies": ["EUR", "USD"]},
            {"key": "BOC", "name": "Bank of Canada", "country_code": None, "currencies": []},
        ]
        self.routes = {
            "GET /v2/rates": self._rates,
            "GET /v2/currencies": self._currencies,
            "GET /v2/providers": lambda _: self.rows["providers"],
        }

    @property
    def options(self) -> dict[str, Any]:
        return {"base_url": f"{self.url}/v2", "start": "2026-01-01"}

    def is_authorized(self, request: ApiRequest) -> bool:
        return "Authorization" not in request.headers

    def unauthorized(self) -> Reply:
        return self.bad_request("credentials are not wanted")

    def too_many(self) -> Reply:
        return Reply({"status": 503, "message": "request timed out"}, 503)

    def bad_request(self, what: str) -> Reply:
        return Reply({"status": 422, "message": what}, 422)

    def _rates(self, request: ApiRequest) -> Any:
        known = {"base", "quotes", "providers", "date", "from", "to", "group", "expand"}
        self.require_params(request, known)
        self.require(len(request.query.get("base", "EUR")) == 3, "base")
        low = date.fromisoformat(request.query.get("from", "1999-01-04")).isoformat()
        quotes = request.query.get("quotes")
        return [
            row
            for row in self.rows["rates"]
            if row["date"] >= low and (quotes is None or row["quote"] in quotes.upper().split(","))
        ]

    def _currencies(self, request: ApiRequest) -> Any:
        self.require_params(request, {"scope", "providers"})
        everything = request.query.get("scope") == "all"
        return [r for r in self.rows["currencies"] if everything or r["end_date"] is None]
