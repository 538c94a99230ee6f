"""Customer.io's App API and Mailjet's Email API, as their documentation says.

docs.customer.io/integrations/api/app; dev.mailjet.com, github.com/mailjet/api-documentation.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from support.api_server import Reply
from support.api_vendor import VendorServer, varied

if TYPE_CHECKING:
    from support.api_server import ApiRequest
    from support.api_vendor import Row

START = 1_767_225_600


class CustomerIo(VendorServer):
    """Some lists are whole, some have `next`: a token for `start`, empty at the end."""

    type = "customerio"
    cursors: ClassVar = {"messages": ("created", "start_ts")}

    whole: ClassVar[dict[str, tuple[str, str]]] = {
        "campaigns": ("campaigns", "campaigns"),
        "broadcasts": ("broadcasts", "broadcasts"),
        "transactional_messages": ("transactional", "messages"),
        "segments": ("segments", "segments"),
        "snippets": ("snippets", "snippets"),
        "collections": ("collections", "collections"),
        "reporting_webhooks": ("reporting_webhooks", "reporting_webhooks"),
    }

    def __init__(self) -> None:
        super().__init__()
        for stream, (path, name) in self.whole.items():
            self.rows[stream] = [self._row(n, more) for n, more in varied(4)]
            self.routes[f"GET /v1/{path}"] = self._whole(stream, name)
        for row in self.rows["snippets"]:
            row["name"], _ = f"snippet {row.pop('id')}", row.pop("created")
        for stream in ("newsletters", "sender_identities"):
            self.rows[stream] = [self._row(n, more) for n, more in varied(25)]
            self.routes[f"GET /v1/{stream}"] = self._paged(stream, stream, 10, 100, {"sort"})
        self.rows["messages"] = [
            {**self._row(n, more), "id": f"dgOfuwIAAYSlbh{n:08d}", "metrics": {"sent": START + n}}
            for n, more in varied(2005)
        ]
        known = {"type", "metric", "drafts", "start_ts", "end_ts"}
        self.routes["GET /v1/messages"] = self._paged("messages", "messages", 50, 1000, known)
        self.rows["campaign_actions"] = [
            {**self._row(n, more), "id": n // 4 + 1, "campaign_id": n % 4 + 1}
            for n, more in varied(50)
        ]
        actions = self._paged("campaign_actions", "actions", 10, 10, set())
        self.routes[r"GET /v1/campaigns/(\d+)/actions"] = actions

    @staticmethod
    def _row(n: int, more: Row) -> Row:
        return {"id": n + 1, "deduplicate_id": f"{n}:1", "created": START + n // 2, **more}

    @property
    def options(self) -> dict[str, Any]:
        return {"base_url": f"{self.url}/v1", "token": "app-key-1234"}

    def is_authorized(self, request: ApiRequest) -> bool:
        return request.headers["Authorization"] == "Bearer app-key-1234"

    def unauthorized(self) -> Reply:
        return Reply({"errors": [{"detail": "unauthorized", "status": "401"}]}, 401)

    def too_many(self) -> Reply:
        return Reply(b"", 429)

    def bad_request(self, what: str) -> Reply:
        return Reply({"errors": [{"detail": what, "status": "400"}]}, 400)

    def _whole(self, stream: str, name: str) -> Any:
        def answer(request: ApiRequest) -> Any:
            self.require_params(request, ())
            return {name: self.rows[stream]}

        return answer

    def _paged(self, stream: str, name: str, default: int, most: int, known: set[str]) -> Any:
        def answer(request: ApiRequest) -> Any:
            limited = {"limit"} if default != most else set()
            self.require_params(request, {"start", *limited, *known})
            limit = self.number(request, "limit", default, 1, most)
            self.require(request.query.get("sort", "asc") in {"asc", "desc"}, "sort")
            rows = self.rows[stream]
            if request.parts:
                rows = [row for row in rows if row["campaign_id"] == int(request.parts[0])]
            low = self.number(request, "start_ts", 0, 0, 10**10)
            rows = [row for row in rows if row["created"] > low or not low]
            token = request.query.get("start") or base64.b64encode(b"0").decode()
            start = int(base64.b64decode(token))
            more = start + limit < len(rows)
            following = base64.b64encode(str(start + limit).encode()).decode() if more else ""
            return {name: rows[start : start + limit], "next": following}

        return answer


class Mailjet(VendorServer):
    """`Limit` and `Offset`; `Count` and `Total` are the number of records in the answer."""

    type = "mailjet"
    cursors: ClassVar = {"messages": ("ArrivedAt", "FromTS")}

    lists: ClassVar[dict[str, str]] = {
        "contacts": "contact",
        "contact_lists": "contactslist",
        "list_recipients": "listrecipient",
        "contact_properties": "contactmetadata",
        "segments": "contactfilter",
        "campaigns": "campaign",
        "campaign_drafts": "campaigndraft",
        "templates": "template",
        "senders": "sender",
        "messages": "message",
    }

    def __init__(self) -> None:
        super().__init__()
        for stream, path in self.lists.items():
            count = {"contacts": 2005, "messages": 1003, "campaigns": 12}.get(stream, 25)
            self.rows[stream] = [self._row(stream, n, more) for n, more in varied(count)]
            self.routes[f"GET /v3/REST/{path}"] = self._list(stream)
        self.rows["campaign_statistics"] = [
            {"SourceID": row["ID"], "MessageSentCount": n, "Timeslice": "", "Total": n + 5}
            for n, row in enumerate(self.rows["campaigns"])
        ]
        self.routes["GET /v3/REST/statcounters"] = self._counters

    @staticmethod
    def _row(stream: str, n: int, more: Row) -> Row:
        at = datetime.fromtimestamp(START + n // 2, UTC).isoformat().replace("+00:00", "Z")
        if stream == "messages":
            return {"ArrivedAt": at, "ID": 576460752303423488 + n, "Status": "opened", **more}
        return {"ID": n + 1, "CreatedAt": at, "Name": "", **more}

    @property
    def options(self) -> dict[str, Any]:
        keys = {"api_key": "key-1234", "secret_key": "secret-1234"}
        return {"base_url": f"{self.url}/v3/REST", **keys}

    def is_authorized(self, request: ApiRequest) -> bool:
        pair = base64.b64encode(b"key-1234:secret-1234").decode()
        return request.headers["Authorization"] == f"Basic {pair}"

    def _error(self, status: int, message: str) -> Reply:
        return Reply({"ErrorInfo": "", "ErrorMessage": message, "StatusCode": status}, status)

    def unauthorized(self) -> Reply:
        return self._error(401, "API key authentication/authorization failure.")

    def too_many(self) -> Reply:
        return self._error(429, "Too many requests.")

    def bad_request(self, what: str) -> Reply:
        return self._error(400, what)

    def _list(self, stream: str) -> Any:
        own = {"messages": {"FromTS", "ToTS", "ShowSubject", "ShowContactAlt"}}
        own["templates"] = {"OwnerType"}

        def answer(request: ApiRequest) -> Any:
            known = {"Limit", "Offset", "Sort", "countOnly", *own.get(stream, ())}
            self.require_params(request, known)
            limit = self.number(request, "Limit", 10, 0, 1000)
            offset = self.number(request, "Offset", 0, 0, 10**9)
            self.require(request.query.get("Sort", "ID ASC") == "ID ASC", "Sort")
            self.require(request.query.get("OwnerType", "user") in {"user", "apikey"}, "OwnerType")
            low = self.number(request, "FromTS", 0, 0, 10**10)
            rows = [row for row in self.rows[stream] if not low or _seconds(row) > low]
            page = rows[offset : offset + limit]
            return {"Count": len(page), "Data": page, "Total": len(page)}

        return answer

    def _counters(self, request: ApiRequest) -> Any:
        asked = dict(request.query)
        id_ = int(asked.pop("SourceId"))
        fixed = {"CounterSource": "Campaign", "CounterTiming": "Message"}
        self.require(asked == {**fixed, "CounterResolution": "Lifetime"}, f"counters: {asked}")
        data = [row for row in self.rows["campaign_statistics"] if row["SourceID"] == id_]
        return {"Count": len(data), "Data": data, "Total": len(data)}


def _seconds(row: Row) -> int:
    return int(datetime.fromisoformat(row["ArrivedAt"]).timestamp())
