"""Attio's and Vitally's REST APIs, as their documentation says.

docs.attio.com/rest-api; docs.vitally.io/en/articles/9880649-rest-api-overview.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, ClassVar

from support.api_server import Reply
from support.api_vendor import VendorServer, varied

if TYPE_CHECKING:
    from support.api_server import ApiRequest
    from support.api_vendor import Row

START = datetime(2026, 1, 1, tzinfo=UTC)
WORKSPACE = "14beef7a-99f7-4534-a87e-70b564330a4c"


def uuid(kind: int, n: int) -> str:
    return f"{kind:08d}-0000-4000-8000-{n:012d}"


class Attio(VendorServer):
    """An id is an object. Records and entries by POST with limit and offset in the body."""

    type = "attio"
    slugs = ("people", "companies", "deals")

    def __init__(self) -> None:
        super().__init__()
        self.rows["objects"] = [
            self._row({"object_id": uuid(1, n)}, n, {"api_slug": slug})
            for n, slug in enumerate(self.slugs)
        ]
        for n, slug in enumerate(self.slugs):
            self.rows[slug] = [
                self._row({"object_id": uuid(1, n), "record_id": uuid(2, i)}, i, {"values": more})
                for i, more in varied(1003 if slug == "people" else 7)
            ]
        self.rows["records"] = [row for slug in self.slugs for row in self.rows[slug]]
        self.rows["lists"] = [
            self._row({"list_id": uuid(3, n)}, n, {"api_slug": f"list-{n}", **more})
            for n, more in varied(2)
        ]
        self.rows["list_entries"] = [
            self._row({"list_id": uuid(3, n % 2), "entry_id": uuid(4, n)}, n, {"values": more})
            for n, more in varied(1010)
        ]
        for n, (stream, id_) in enumerate(
            [("workspace_members", "workspace_member_id"), ("notes", "note_id")]
        ):
            self.rows[stream] = [self._row({id_: uuid(5 + n, i)}, i, m) for i, m in varied(120)]
        self.rows["tasks"] = [self._row({"task_id": uuid(7, i)}, i, m) for i, m in varied(501)]
        self.routes = {
            "GET /v2/objects": self._whole("objects"),
            "GET /v2/lists": self._whole("lists"),
            "GET /v2/workspace_members": self._whole("workspace_members"),
            "GET /v2/notes": self._paged("notes", 10, 50, ()),
            "GET /v2/tasks": self._paged("tasks", 500, 500, ("sort",)),
            r"POST /v2/objects/([^/]+)/records/query": self._records,
            r"POST /v2/lists/([^/]+)/entries/query": self._entries,
        }

    @staticmethod
    def _row(id_: Row, n: int, more: Row) -> Row:
        at = (START + timedelta(seconds=n)).strftime("%Y-%m-%dT%H:%M:%S.061281000Z")
        return {"id": {"workspace_id": WORKSPACE, **id_}, **more, "created_at": at}

    @property
    def options(self) -> dict[str, Any]:
        return {"base_url": f"{self.url}/v2", "token": "attio-1234"}

    def is_authorized(self, request: ApiRequest) -> bool:
        return request.headers["Authorization"] == "Bearer attio-1234"

    def _error(self, status: int, kind: str, code: str, message: str) -> Row:
        return {"status_code": status, "type": kind, "code": code, "message": message}

    def unauthorized(self) -> Reply:
        message = "The access token is invalid."
        return Reply(self._error(401, "auth_error", "unauthorized", message), 401)

    def too_many(self) -> Reply:
        error = self._error(429, "rate_limit_error", "rate_limit_exceeded", "Rate limit exceeded.")
        return Reply(error, 429, {"Retry-After": format_datetime(datetime.now(UTC), usegmt=True)})

    def bad_request(self, what: str) -> Reply:
        return Reply(self._error(400, "invalid_request_error", "validation_type", what), 400)

    def _whole(self, stream: str) -> Any:
        def answer(request: ApiRequest) -> Any:
            self.require_params(request, ())
            return {"data": self.rows[stream]}

        return answer

    def _paged(self, stream: str, default: int, most: int, known: tuple[str, ...]) -> Any:
        def answer(request: ApiRequest) -> Any:
            self.require_params(request, {"limit", "offset", *known})
            self.require(request.query.get("sort", "created_at:asc") == "created_at:asc", "sort")
            limit = self.number(request, "limit", default, 1, most)
            offset = self.number(request, "offset", 0, 0, 10**9)
            return {"data": self.rows[stream][offset : offset + limit]}

        return answer

    def _records(self, request: ApiRequest) -> Any:
        ids = {uuid(1, n): slug for n, slug in enumerate(self.slugs)}
        slug = ids.get(request.parts[0], request.parts[0])
        if slug not in self.slugs:
            return Reply(self._error(404, "invalid_request_error", "not_found", "No object"), 404)
        return self._query(request, self.rows[slug])

    def _entries(self, request: ApiRequest) -> Any:
        entries = self.rows["list_entries"]
        return self._query(request, [e for e in entries if e["id"]["list_id"] == request.parts[0]])

    def _query(self, request: ApiRequest, rows: list[Row]) -> Any:
        body = request.json
        self.require(request.headers["Content-Type"] == "application/json", "content type")
        self.require(set(body) <= {"filter", "sorts", "limit", "offset"}, f"body: {body}")
        for sort in body.get("sorts", []):
            self.require(sort == {"attribute": "created_at", "direction": "asc"}, f"sort: {sort}")
        limit, offset = body.get("limit", 500), body.get("offset", 0)
        self.require(isinstance(limit, int) and 1 <= limit <= 500, f"limit: {limit}")
        self.require(isinstance(offset, int) and offset >= 0, f"offset: {offset}")
        return {"data": rows[offset : offset + limit]}


class Vitally(VendorServer):
    """The newest first by `sortBy`; `next` is the cursor for `from`, null at the end."""

    type = "vitally"
    sorted_lists: ClassVar = {
        "accounts": "accounts",
        "organizations": "organizations",
        "users": "users",
        "conversations": "conversations",
        "notes": "notes",
        "tasks": "tasks",
        "nps_responses": "npsResponses",
    }
    cursors: ClassVar = dict.fromkeys(sorted_lists, ("updatedAt", "sortBy"))

    def __init__(self) -> None:
        super().__init__()
        for stream, path in (self.sorted_lists | {"admins": "admins"}).items():
            self.rows[stream] = [self._row(stream, n, more) for n, more in varied(230)]
            self.routes[f"GET /resources/{path}"] = self._list(stream)
        self.rows["custom_objects"] = [{"id": uuid(1, 1), "name": "x"}, {"id": uuid(1, 2)}]
        self.routes["GET /resources/customObjects"] = self._list("custom_objects")

    @staticmethod
    def _row(stream: str, n: int, more: Row) -> Row:
        created = START + timedelta(seconds=n)
        updated = created + timedelta(seconds=n * 7919 % 500)
        times = {
            name: at.strftime("%Y-%m-%dT%H:%M:%S.125Z")
            for name, at in [("createdAt", created), ("updatedAt", updated)]
        }
        churned = {"churnedAt": times["updatedAt"] if n % 4 == 0 else None}
        own = churned if stream == "accounts" else {}
        return {"id": uuid(9, n), "externalId": str(n), **times, **own, "traits": more}

    @property
    def options(self) -> dict[str, Any]:
        keys = {"token": "sk_live_1234", "host": "acme.rest.vitally.io"}
        return {"base_url": f"{self.url}/resources", **keys}

    @property
    def wrong_options(self) -> dict[str, Any]:
        return {**self.options, "token": "revoked-1234"}

    def is_authorized(self, request: ApiRequest) -> bool:
        pair = base64.b64encode(b"sk_live_1234:").decode()
        return request.headers["Authorization"] == f"Basic {pair}"

    def unauthorized(self) -> Reply:
        return Reply({"error": "Authorization header not valid."}, 401)

    def too_many(self) -> Reply:
        headers = {"RateLimit-Limit": "1000, 1000;window=60", "RateLimit-Remaining": "0"}
        return Reply({"error": "Too many requests."}, 429, {**headers, "RateLimit-Reset": "0"})

    def bad_request(self, what: str) -> Reply:
        return Reply({"error": what}, 400)

    def _list(self, stream: str) -> Any:
        is_sorted = stream in self.sorted_lists

        def answer(request: ApiRequest) -> Any:
            known = {"sortBy"} if is_sorted else set()
            known |= {"status"} if stream == "accounts" else set()
            self.require_params(request, {"limit", "from", *known})
            limit = self.number(request, "limit", 100, 1, 100)
            by = request.query.get("sortBy", "updatedAt")
            self.require(by in {"createdAt", "updatedAt"}, "sortBy")
            rows = self.rows[stream]
            if is_sorted:
                rows = sorted(rows, key=lambda row: (row[by], row["id"]), reverse=True)
            if stream == "accounts" and request.query.get("status", "active") == "active":
                rows = [row for row in rows if row["churnedAt"] is None]
            start = int(request.query.get("from", "0"))
            following = str(start + limit) if start + limit < len(rows) else None
            return {"results": rows[start : start + limit], "next": following}

        return answer
