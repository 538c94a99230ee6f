"""Salesforce's REST API: developer.salesforce.com, resources query and sobject describe."""

from __future__ import annotations

import re
from typing import Any

from support.api_server import ApiRequest, ApiServer, Reply
from support.api_system import BIG, Changes, System, at, iso, unknown

SECRET = "sf-secret-abcdef"
OBJECTS = {
    "accounts": "Account",
    "contacts": "Contact",
    "leads": "Lead",
    "opportunities": "Opportunity",
    "opportunity_line_items": "OpportunityLineItem",
    "cases": "Case",
    "campaigns": "Campaign",
    "campaign_members": "CampaignMember",
    "tasks": "Task",
    "events": "Event",
    "products": "Product2",
    "users": "User",
}
_DATA = "/services/data/v62.0"
_PAGE = 100  # of a query: 2,000 at Salesforce, or fewer
_SOQL = r"SELECT (.+) FROM (\w+) WHERE SystemModstamp >= (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)"


def _error(status: int, code: str, message: str) -> Reply:
    return Reply([{"message": message, "errorCode": code}], status)


def _record(kind: str, number: int) -> dict[str, Any]:
    return {
        "attributes": {"type": kind, "url": f"{_DATA}/sobjects/{kind}/{number}"},
        "Id": f"001RO{number:013d}",
        "Name": f"Müller & Söhne {number}",
        "AnnualRevenue": BIG if number == 3 else None,
        "BillingAddress": {"city": "Köln", "postalCode": None},
        "SystemModstamp": at(number).strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
        "Own_Field__c": number % 2 == 0,
    }


def salesforce() -> System:
    """Return an organisation with 250 accounts."""
    rows = {
        table: [_record(kind, n) for n in range(1, 251 if kind == "Account" else 4)]
        for table, kind in OBJECTS.items()
    }
    tables = {kind: table for table, kind in OBJECTS.items()}
    queries: dict[str, list[dict[str, Any]]] = {}

    def token(request: ApiRequest) -> Any:
        form = request.form
        grants = ({"grant_type": "client_credentials"}, {"grant_type": "refresh_token"})
        if {"grant_type": form.get("grant_type")} not in grants:
            return Reply({"error": "unsupported_grant_type"}, 400)
        if form.get("client_secret") != SECRET or form.get("client_id") != "key-1":
            return Reply(
                {"error": "invalid_client", "error_description": "invalid client credentials"}, 400
            )
        if form.get("refresh_token", "refresh-1") != "refresh-1":
            return Reply({"error": "invalid_grant", "error_description": "expired token"}, 400)
        return {"access_token": "00DS7!token", "token_type": "Bearer", "instance_url": server.url}

    def describe(request: ApiRequest) -> Any:
        names = [name for name in _record("X", 1) if name != "attributes"]
        fields = [{"name": name, "type": "string", "custom": "__c" in name} for name in names]
        return {"name": request.parts[0], "fields": fields, "queryable": True}

    def answer(name: str, start: int) -> dict[str, Any]:
        found = queries[name]
        end = start + _PAGE
        content = {"totalSize": len(found), "done": end >= len(found), "records": found[start:end]}
        return (
            content
            if end >= len(found)
            else content | {"nextRecordsUrl": f"{_DATA}/query/{name}-{end}"}
        )

    def query(request: ApiRequest) -> Any:
        match = re.fullmatch(_SOQL, request.query.get("q", ""))
        if match is None or unknown(request, {"q"}):
            return _error(400, "MALFORMED_QUERY", f"unexpected token: {request.query}")
        names = match[1].split(",")
        wrong = [name for name in names if name not in _record("X", 1)]
        if wrong:
            return _error(400, "INVALID_FIELD", f"No such column '{wrong[0]}'")
        name = f"01gRO{len(queries):09d}"
        queries[name] = [
            {key: row[key] for key in ("attributes", *names)}
            for row in rows[tables[match[2]]]
            if row["SystemModstamp"][:19] >= match[3][:19]
        ]
        return answer(name, 0)

    server = ApiServer(
        {
            "POST /services/oauth2/token": token,
            rf"GET {_DATA}/sobjects/(\w+)/describe": describe,
            rf"GET {_DATA}/query": query,
            rf"GET {_DATA}/query/(\w+)-(\d+)": lambda r: answer(r.parts[0], int(r.parts[1])),
        }
    )

    def authorised(request: ApiRequest) -> Reply | None:
        is_token = request.path == "/services/oauth2/token"
        if is_token or request.headers["Authorization"] == "Bearer 00DS7!token":
            return None
        return _error(401, "INVALID_SESSION_ID", "Session expired or invalid")

    server.before = authorised
    return System(
        "salesforce",
        server,
        lambda: {"url": server.url, "client_id": "key-1", "client_secret": SECRET},
        "client_secret",
        "invalid client credentials",
        lambda: _error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
        rows,
        keys=dict.fromkeys(OBJECTS, ("Id",)),
        changes={
            "accounts": Changes(
                "SystemModstamp",
                lambda row: at(int(row["Id"][5:])),
                lambda request: request.query.get("q", "")[-20:],
                iso,
            )
        },
        limit_passes=False,
    )
