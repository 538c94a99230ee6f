"""Zendesk's Support API: developer.zendesk.com/api-reference/ticketing, incremental exports."""

from __future__ import annotations

import base64
from typing import Any

from support.api_server import ApiRequest, ApiServer, Reply
from support.api_system import BIG, Changes, System, at, epoch, iso, paged, unknown

TOKEN = "zd-token-abcdef"
LISTS = (
    *("groups", "group_memberships", "organization_memberships", "macros", "brands", "views"),
    *("automations", "triggers", "ticket_fields", "ticket_metrics", "satisfaction_ratings"),
)
_PAGE = 90  # of an export: 1,000 at Zendesk


def _error(status: int, error: str, description: str, **headers: str) -> Reply:
    return Reply({"error": error, "description": description}, status, headers)


def _ticket(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "url": f"https://acme.zendesk.com/api/v2/tickets/{number}.json",
        "generated_timestamp": epoch(at(number)),
        "updated_at": iso(at(0)),  # the system changed it later
        "subject": None if number % 4 == 0 else f"It's “broken” {number}",
        "custom_fields": [{"id": 27642, "value": BIG if number == 5 else "745"}],
        "status": "deleted" if number == 9 else "open",
        "tags": [],
    }


def _record(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "name": f"n {number}", "updated_at": iso(at(number)), **more}


class _Zendesk(ApiServer):
    """Return an account with some hundred tickets."""

    def __init__(self) -> None:
        super().__init__(
            {
                r"GET /api/v2/incremental/(tickets|users)/cursor\.json": self.by_cursor,
                r"GET /api/v2/incremental/(organizations|ticket_events)\.json": self.by_time,
                rf"GET /api/v2/({'|'.join(LISTS)})\.json": self.listed,
            }
        )
        self.before = self.authorised
        self.rows: dict[str, list[dict[str, Any]]] = {
            "tickets": [_ticket(n) for n in range(1, 201)],
            "users": [_record(n, phone=None, photo={"id": n}) for n in range(1, 131)],
            "organizations": [_record(n, domain_names=["x.de"]) for n in range(1, 121)],
            "ticket_events": [
                {
                    "id": 926256957613 + n,
                    "ticket_id": n,
                    "timestamp": epoch(at(n)),
                    "created_at": iso(at(n)),
                    "child_events": [{"id": n, "type": "Comment", "body": "Hi"}],
                }
                for n in range(1, 111)
            ],
            **{name: [_record(n, extra=None) for n in range(1, 4)] for name in LISTS},
        }
        self.rows["groups"] = [_record(n) for n in range(1, 231)]

    def time_of(self, row: dict[str, Any]) -> int:
        if "generated_timestamp" in row:
            return int(row["generated_timestamp"])
        return int(row["timestamp"]) if "timestamp" in row else epoch(at(row["id"]))

    def since(self, name: str, start: int) -> list[dict[str, Any]]:
        return sorted(
            (row for row in self.rows[name] if self.time_of(row) >= start), key=self.time_of
        )

    def by_cursor(self, request: ApiRequest) -> Any:
        name = request.parts[0]
        if unknown(request, {"start_time", "cursor", "per_page", "include", "exclude_deleted"}):
            return _error(400, "InvalidValue", "unknown parameter")
        if "cursor" in request.query:
            start, skip = map(int, base64.b64decode(request.query["cursor"]).decode().split("|"))
        elif "start_time" in request.query:
            start, skip = int(request.query["start_time"]), 0
        else:
            return _error(400, "MissingParameter", "start_time is missing")
        page, following = paged(self.since(name, start), skip, _PAGE)
        token = base64.b64encode(f"{start}|{skip + len(page)}".encode()).decode()
        url = f"{self.url}{request.path}?cursor={token}"
        return {
            name: page,
            "after_url": url,
            "after_cursor": token,
            "end_of_stream": following is None,
        }

    def by_time(self, request: ApiRequest) -> Any:
        name = request.parts[0]
        if unknown(request, {"start_time", "per_page", "include"}):
            return _error(400, "InvalidValue", "unknown parameter")
        if name == "ticket_events" and request.query.get("include") != "comment_events":
            return _error(400, "InvalidValue", "the test wants comments")
        found = self.since(name, int(request.query["start_time"]))
        page = found[:_PAGE]
        end = self.time_of(page[-1]) if page else int(request.query["start_time"])
        page = [row for row in found if self.time_of(row) <= end]  # a second is never cut
        more = f"&include={request.query['include']}" if "include" in request.query else ""
        return {
            name: page,
            "count": len(page),
            "end_time": end,
            "next_page": f"{self.url}{request.path}?start_time={end}{more}",
            "end_of_stream": len(page) == len(found),
        }

    def listed(self, request: ApiRequest) -> Any:
        name = request.parts[0]
        if unknown(request, {"page[size]", "page[after]"}):
            return _error(400, "InvalidValue", "unknown parameter")
        size = int(request.query["page[size]"])
        if size > 100:
            return _error(400, "InvalidPaginationParameter", "page[size] must be at most 100")
        page, following = paged(self.rows[name], int(request.query.get("page[after]", "0")), size)
        after = f"page%5Bsize%5D={size}&page%5Bafter%5D={following or 999}"
        return {
            name: page,
            "meta": {"has_more": following is not None, "after_cursor": "x"},
            "links": {"next": f"{self.url}{request.path}?{after}", "prev": None},
        }

    def authorised(self, request: ApiRequest) -> Reply | None:
        expected = base64.b64encode(f"me@acme.com/token:{TOKEN}".encode()).decode()
        if request.headers["Authorization"] == f"Basic {expected}":
            return None
        return Reply({"error": "Couldn't authenticate you"}, 401)


def zendesk() -> System:
    """Return an account with some hundred tickets."""
    server = _Zendesk()

    def changes(field: str) -> Changes:
        return Changes(
            field,
            lambda row: at(row["id"] - (926256957613 if row["id"] > 10**9 else 0)),
            lambda request: request.query.get("start_time"),
            lambda moment: str(epoch(moment)),
        )

    return System(
        "zendesk",
        server,
        lambda: {
            "subdomain": "acme",
            "email": "me@acme.com",
            "token": TOKEN,
            "base_url": f"{server.url}/api/v2",
        },
        "token",
        "Couldn't authenticate you",
        lambda: Reply(
            {"error": "APIRateLimitExceeded", "description": "exceeded"}, 429, {"Retry-After": "0"}
        ),
        server.rows,
        repeating=("organizations", "ticket_events"),
        changes={
            "tickets": changes("generated_timestamp"),
            "users": changes("updated_at"),
            "organizations": changes("updated_at"),
            "ticket_events": changes("created_at"),
        },
    )
