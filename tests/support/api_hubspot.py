"""HubSpot's CRM API v3: PublicApiSpecs/CRM in HubSpot/HubSpot-public-api-spec-collection."""

from __future__ import annotations

from typing import Any

from support.api_server import ApiRequest, ApiServer, Reply
from support.api_system import Changes, System, at, milliseconds, paged, unknown

TOKEN = "pat-eu1-abcdef01"
KINDS = (
    *("contacts", "companies", "deals", "tickets", "products", "line_items", "quotes"),
    *("calls", "emails", "meetings", "notes", "tasks"),
)
_OBJECTS = {"limit", "after", "properties", "propertiesWithHistory", "associations", "archived"}
_PROPERTIES = ("createdate", "hs_object_id", "custom_score", "Größe")


def _error(status: int, message: str, **more: str) -> Reply:
    content = {"status": "error", "message": message, "correlationId": "aeb5f871", **more}
    return Reply(content, status)


def _object(number: int, *, archived: bool = False) -> dict[str, Any]:
    properties = {
        "createdate": milliseconds(at(0)),
        "hs_object_id": str(number),
        "custom_score": None if number % 3 else "12345678901234567890.12",
        "Größe": f"größe {number}",
    }
    row: dict[str, Any] = {"id": str(number), "properties": properties}
    row |= {"createdAt": milliseconds(at(0)), "updatedAt": milliseconds(at(number))}
    row["archived"] = archived
    return row | ({"archivedAt": milliseconds(at(number))} if archived else {})


class _Hubspot(ApiServer):
    """Return an account with 230 contacts and a few of everything else."""

    def __init__(self) -> None:
        super().__init__(
            {
                rf"GET /crm/v3/objects/({'|'.join(KINDS)})": self.objects,
                rf"GET /crm/v3/properties/({'|'.join(KINDS)})": lambda _: {
                    "results": [{"name": name, "type": "string"} for name in _PROPERTIES]
                },
                "GET /crm/v3/owners": lambda r: self.page(r, self.rows["owners"], 500),
                "GET /crm/v3/pipelines/(deal|ticket)s": lambda r: {
                    "results": self.rows[f"{r.parts[0]}_pipelines"]
                },
            }
        )
        self.before = self.authorised
        self.rows: dict[str, list[dict[str, Any]]] = {
            kind: [_object(n) for n in range(1, 231 if kind == "contacts" else 4)] for kind in KINDS
        }
        for kind in KINDS[:4]:
            self.rows[f"archived_{kind}"] = [_object(n, archived=True) for n in range(900, 903)]
        self.rows["contacts"][4]["associations"] = {
            "companies": {"results": [{"id": "7", "type": "contact_to_company"}]}
        }
        self.rows["owners"] = [
            {"id": str(n), "email": f"o{n}@x.de", "userId": n, "updatedAt": milliseconds(at(n))}
            for n in range(1, 103)
        ]
        stages = [{"id": "1", "label": "New", "displayOrder": 0, "metadata": {"isClosed": "false"}}]
        for kind in ("deal", "ticket"):
            self.rows[f"{kind}_pipelines"] = [{"id": "default", "label": "Sales", "stages": stages}]

    def page(self, request: ApiRequest, records: list[dict[str, Any]], largest: int) -> Any:
        limit = int(request.query.get("limit", "10"))
        if limit > largest:
            return _error(400, f"The limit must be at most {largest}", category="VALIDATION_ERROR")
        results, following = paged(records, int(request.query.get("after", "0")), limit)
        if following is None:
            return {"results": results}
        link = f"{self.url}{request.path}?after={following}"
        return {"results": results, "paging": {"next": {"after": str(following), "link": link}}}

    def objects(self, request: ApiRequest) -> Any:
        kind = request.parts[0]
        if unknown(request, _OBJECTS):
            return _error(400, f"Unknown parameter {unknown(request, _OBJECTS)}")
        is_archived = request.query.get("archived") == "true"
        wanted = (request.query.get("properties") or "createdate,hs_object_id").split(",")
        associated = (request.query.get("associations") or "").split(",")
        found = [
            {
                **row,
                "properties": {k: v for k, v in row["properties"].items() if k in wanted},
                "associations": {
                    k: v for k, v in row.get("associations", {}).items() if k in associated
                },
            }
            for row in self.rows[f"archived_{kind}" if is_archived else kind]
        ]
        for row in found:
            if not row["associations"]:
                del row["associations"]
        return self.page(request, found, 100)

    def authorised(self, request: ApiRequest) -> Reply | None:
        if request.headers["Authorization"] == f"Bearer {TOKEN}":
            return None
        return _error(
            401, "Authentication credentials not found.", category="INVALID_AUTHENTICATION"
        )


def hubspot() -> System:
    """Return an account with 230 contacts and a few of everything else."""
    server = _Hubspot()
    return System(
        "hubspot",
        server,
        lambda: {"token": TOKEN, "base_url": server.url},
        "token",
        "Authentication credentials not found",
        lambda: Reply(
            {"status": "error", "message": "secondly limit", "policyName": "SECONDLY"}, 429
        ),
        server.rows,
        changes={"contacts": Changes("updatedAt", lambda row: at(int(row["id"])))},
    )
