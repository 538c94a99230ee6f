"""Intercom's REST API: descriptions/2.14 in intercom/Intercom-OpenAPI."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from support.api_server import ApiRequest, ApiServer, Reply
from support.api_system import BIG, Changes, System, at, epoch, paged, unknown

TOKEN = "dG9rOmludGVyY29t"
_ZONE = timezone(timedelta(hours=13))  # of the workspace, whose days a search for contacts compares
_PLAIN = {
    "admins": "admins",
    "teams": "teams",
    "tags": "data",
    "segments": "segments",
    "subscription_types": "data",
    "ticket_types": "data",
}


def _error(status: int, code: str, message: str, **headers: str) -> Reply:
    errors = [{"code": code, "message": message}]
    return Reply({"type": "error.list", "request_id": "b1", "errors": errors}, status, headers)


def _record(number: int, **more: Any) -> dict[str, Any]:
    row = {"id": f"6762f0{number:04d}", "created_at": epoch(at(0)), "updated_at": epoch(at(number))}
    return {**row, "name": None if number % 3 else f"Ò {number}", **more}


class _Intercom(ApiServer):
    """Return a workspace with 330 contacts."""

    def __init__(self) -> None:
        super().__init__(
            {
                "POST /(contacts|conversations|tickets)/search": self.search,
                "GET /companies/scroll": self.companies,
                r"GET /conversations/(\w+)": self.conversation,
                rf"GET /({'|'.join(_PLAIN)})": lambda r: {
                    "type": "list",
                    _PLAIN[r.parts[0]]: self.rows[r.parts[0]],
                },
            }
        )
        self.before = self.authorised
        self.rows: dict[str, list[dict[str, Any]]] = {
            "contacts": [
                _record(n, custom_attributes={"spent": BIG}, tags={"type": "list", "data": []})
                for n in range(1, 331)
            ],
            "conversations": [
                _record(n, source={"body": "<p>Hi"}, open=n % 2 == 0) for n in range(161)
            ],
            "tickets": [_record(n, ticket_attributes={"_default_title_": "x"}) for n in range(5)],
            "companies": [_record(n, monthly_spend=n, plan={}) for n in range(1, 241)],
            **{name: [{"id": str(n), "name": f"{name} {n}"} for n in range(3)] for name in _PLAIN},
        }
        self.rows["conversation_parts"] = [
            {"id": f"{row['id']}-{n}", "body": None, "conversation_id": row["id"]}
            for row in self.rows["conversations"]
            for n in range(2)
        ]
        self.scroll = {"at": -1}

    def matches(self, request: ApiRequest, row: dict[str, Any], value: int) -> bool:
        if request.path != "/contacts/search":
            return bool(row["updated_at"] >= value)
        day = datetime.fromtimestamp(value, UTC).astimezone(_ZONE)
        start = day.replace(hour=0, minute=0, second=0) + timedelta(days=1)
        return bool(row["updated_at"] >= start.timestamp())

    def search(self, request: ApiRequest) -> Any:
        name = request.parts[0]
        query, paging = request.json["query"], request.json.get("pagination", {})
        if set(request.json) - {"query", "pagination", "sort"} or request.query:
            return _error(400, "parameter_invalid", "unknown parameter")
        if query["field"] != "updated_at" or query["operator"] not in {">", "<", "="}:
            return _error(400, "invalid_operator", f"{query['operator']} is not supported")
        if not isinstance(query["value"], int):
            return _error(400, "invalid_value", "value must be a number")
        size = paging.get("per_page", 20)
        if size > 150:
            return _error(400, "parameter_invalid", "per_page must be at most 150")
        found = [row for row in self.rows[name] if self.matches(request, row, query["value"])]
        page, following = paged(found, int(paging.get("starting_after", "0")), size)
        pages: dict[str, Any] = {"type": "pages", "page": 1, "per_page": size, "total_pages": 9}
        if following is not None:
            pages["next"] = {"per_page": size, "starting_after": str(following)}
        records = "data" if name == "contacts" else name
        return {"type": "list", records: page, "total_count": len(found), "pages": pages}

    def companies(self, request: ApiRequest) -> Any:
        if unknown(request, {"scroll_param"}):
            return _error(400, "parameter_invalid", "unknown parameter")
        if "scroll_param" not in request.query:
            if 0 <= self.scroll["at"] < len(self.rows["companies"]):
                return _error(400, "scroll_exists", "scroll already exists for this workspace")
            self.scroll["at"] = 0
        elif self.scroll["at"] < 0:
            return _error(404, "not_found", "scroll parameter not found")
        page, _ = paged(self.rows["companies"], self.scroll["at"], 100)
        self.scroll["at"] += 100
        if not page:
            self.scroll["at"] = -1
        return {"type": "list", "data": page, "pages": None, "scroll_param": "69352cd2"}

    def conversation(self, request: ApiRequest) -> Any:
        found = [
            p for p in self.rows["conversation_parts"] if p["conversation_id"] == request.parts[0]
        ]
        parts = [{k: v for k, v in part.items() if k != "conversation_id"} for part in found]
        content = {"type": "conversation_part.list", "conversation_parts": parts}
        return {"id": request.parts[0], "conversation_parts": content}

    def authorised(self, request: ApiRequest) -> Reply | None:
        if request.headers["Authorization"] != f"Bearer {TOKEN}":
            return _error(401, "unauthorized", "Access Token Invalid")
        if request.headers["Intercom-Version"] != "2.14":
            return _error(400, "intercom_version_invalid", "The requested version is wrong")
        return None


def intercom() -> System:
    """Return a workspace with 330 contacts."""
    server = _Intercom()

    def changes() -> Changes:
        return Changes(
            "updated_at",
            lambda row: at(int(row["id"][6:])),
            lambda request: request.json["query"]["value"],
            lambda moment: epoch(moment) - 2 * 86400,
        )

    return System(
        "intercom",
        server,
        lambda: {"token": TOKEN, "base_url": server.url},
        "token",
        "Access Token Invalid",
        lambda: _error(
            429,
            "rate_limit_exceeded",
            "Exceeded rate limit",
            **{
                "X-RateLimit-Limit": "166",
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": str(int(datetime.now(UTC).timestamp())),
            },
        ),
        server.rows,
        changes={
            "contacts": changes(),
            "conversations": changes(),
            "companies": Changes("updated_at", lambda row: at(int(row["id"][6:]))),
        },
    )
