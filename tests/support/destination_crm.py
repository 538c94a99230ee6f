"""What CRMs and help desks accept, by their documentation."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from support.destination_wire import (
    Accepted,
    Answer,
    Request,
    answer,
    is_email,
    is_epoch_seconds,
    is_rfc3339,
    is_text,
    is_uuid,
    require,
    text,
)

# ---- HubSpot: https://developers.hubspot.com/docs/api-reference: error-handling, crm-contacts-v3


def hubspot(request: Request, accepted: Accepted) -> Answer:
    denied = _hubspot_error("INVALID_AUTHENTICATION", "Authentication credentials not found.")
    require(request.bearer() == "pat-token", answer(401, denied))
    require(request.method == "POST", text(405, ""))
    if request.path == "/events/v3/send/batch":
        return _hubspot_events(request, accepted)
    match = re.fullmatch(r"/crm/v3/objects/(contacts|companies|2-\d+)/batch/upsert", request.path)
    require(match, text(404, ""))
    inputs = _hubspot_inputs(request, 100)
    ids = [record.get("id") for record in inputs]
    require(len(set(ids)) == len(ids), _hubspot_invalid("Duplicate IDs found in batch input"))
    for record in inputs:
        unknown = set(record) - {"id", "idProperty", "properties", "objectWriteTraceId"}
        is_whole = is_text(record.get("id")) and is_text(record.get("idProperty"))
        require(
            not unknown and is_whole and isinstance(record.get("properties"), dict),
            _hubspot_invalid("Invalid input JSON: Some required fields were not set"),
        )
    faults = {
        index: fault for index, record in enumerate(inputs) if (fault := _hubspot_fault(record))
    }
    traced = all(is_text(record.get("objectWriteTraceId")) for record in inputs)
    require(not faults or traced, _hubspot_invalid(next(iter(faults.values()), "")))
    results = []
    for index, record in enumerate(inputs):
        if index not in faults:
            accepted.add(record, f"{record['idProperty']}={record['id']}")
            results.append(
                {"id": str(500 + index), "new": True, "properties": record["properties"]}
            )
    errors = [_hubspot_traced(inputs[index], fault) for index, fault in faults.items()]
    body: dict[str, Any] = {
        "status": "COMPLETE",
        "results": results,
        "startedAt": "",
        "completedAt": "",
    }
    if errors:
        body |= {"numErrors": len(errors), "errors": errors}
    return answer(207 if errors else 200, body)


def _hubspot_inputs(request: Request, most: int) -> list[dict[str, Any]]:
    body = request.json()
    inputs = body.get("inputs") if isinstance(body, dict) else None
    require(isinstance(inputs, list) and inputs, _hubspot_invalid("Invalid input JSON: inputs"))
    too_many = f"The maximum number of items in a batch request is {most}."
    require(len(inputs) <= most, _hubspot_invalid(too_many))
    return inputs  # type: ignore[no-any-return]  # JSON


def _hubspot_fault(record: dict[str, Any]) -> str:
    properties = record["properties"]
    email = record["id"] if record["idProperty"] == "email" else properties.get("email", "a@b.cd")
    if not is_email(email):
        return f"Property values were not valid: email address {email} is invalid"
    if any(isinstance(value, dict | list) for value in properties.values()):
        return "Property values were not valid: an object is no value"
    return ""


def _hubspot_error(category: str, message: str) -> dict[str, Any]:
    return {"status": "error", "message": message, "correlationId": "c-1", "category": category}


def _hubspot_invalid(message: str) -> Answer:
    return answer(400, _hubspot_error("VALIDATION_ERROR", message))


def _hubspot_traced(record: dict[str, Any], message: str) -> dict[str, Any]:
    context = {"objectWriteTraceId": [record["objectWriteTraceId"]]}
    return {
        "status": "error",
        "category": "VALIDATION_ERROR",
        "message": message,
        "context": context,
    }


def _hubspot_events(request: Request, accepted: Accepted) -> Answer:
    inputs = _hubspot_inputs(request, 500)
    for event in inputs:
        require(
            re.fullmatch(r"pe\d+_[a-z0-9_]+", str(event.get("eventName"))),
            _hubspot_invalid(f"Event type {event.get('eventName')} does not exist"),
        )
        ids = [event.get(name) for name in ("email", "objectId", "utk")]
        require(any(is_text(id_) for id_ in ids), _hubspot_invalid("No email, objectId or utk"))
        require(is_email(event.get("email", "a@b.cd")), _hubspot_invalid("email is invalid"))
        require(is_rfc3339(event.get("occurredAt")), _hubspot_invalid("occurredAt"))
        require(isinstance(event.get("properties"), dict), _hubspot_invalid("properties"))
        require(is_uuid(event.get("uuid")), _hubspot_invalid("uuid"))
    for event in inputs:
        accepted.add(event, event["uuid"])
    return answer(204)


# ---- Salesforce: atlas.en-us.api_rest, sObject Collections (upsert), sObject Rows by External ID


def _salesforce_token(request: Request) -> Answer:
    """Both flows; neither answer says when the session ends:

    help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_client_credentials_flow.htm and
    remoteaccess_oauth_refresh_token_flow.htm
    """
    fields = request.form() if request.method == "POST" else {}
    client = (fields.get("client_id"), fields.get("client_secret"))
    invalid = {"error": "invalid_client", "error_description": "invalid client credentials"}
    require(client == ("3MVG9consumer", "CONSUMERSECRET"), answer(400, invalid))
    grants = {"client_credentials": None, "refresh_token": "5Aep861refresh"}
    unsupported = {
        "error": "unsupported_grant_type",
        "error_description": "grant type not supported",
    }
    require(fields.get("grant_type") in grants, answer(400, unsupported))
    expired = {"error": "invalid_grant", "error_description": "expired access/refresh token"}
    require(fields.get("refresh_token") == grants[fields["grant_type"]], answer(400, expired))
    instance = f"http://{request.headers['host']}"
    more = {"instance_url": instance, "id": f"{instance}/id/00D/005", "issued_at": "1790000000000"}
    return answer(200, {"access_token": "session", "token_type": "Bearer", "scope": "api", **more})


def salesforce(request: Request, accepted: Accepted) -> Answer:
    if request.path == "/services/oauth2/token":
        return _salesforce_token(request)
    expired = [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]
    require(request.bearer() == "session", answer(401, expired))
    base = r"/services/data/v\d\d\.0"
    if match := re.fullmatch(base + r"/sobjects/Contact/Ext__c/([^/]+)", request.path):
        return _salesforce_delete(request, accepted, match[1])
    missing = [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}]
    require(
        re.fullmatch(base + "/composite/sobjects/Contact/Ext__c", request.path),
        answer(404, missing),
    )
    not_allowed = [{"errorCode": "METHOD_NOT_ALLOWED", "message": "HTTP Method not allowed"}]
    require(request.method == "PATCH", answer(405, not_allowed))
    body = request.json()
    records = body.get("records")
    parser = [{"message": "JSON parser error", "errorCode": "JSON_PARSER_ERROR"}]
    require(
        set(body) <= {"allOrNone", "records"} and isinstance(records, list), answer(400, parser)
    )
    limit = "record limit reached. cannot submit more than 200 records in this call"
    require(
        1 <= len(records) <= 200,
        answer(400, [{"errorCode": "EXCEEDED_ID_LIMIT", "message": limit}]),
    )
    for record in records:
        require(record.get("attributes") == {"type": "Contact"}, answer(400, parser))
    seen: set[str] = set()
    results = [_salesforce_result(record, seen, accepted) for record in records]
    if body.get("allOrNone"):
        require(all(result["success"] for result in results), answer(200, results))
    return answer(200, results)


def _salesforce_result(
    record: dict[str, Any], seen: set[str], accepted: Accepted
) -> dict[str, Any]:
    id_ = record.get("Ext__c")
    code, message = "", ""
    if "Id" in record or "id" in record:
        code, message = "INVALID_FIELD", "cannot specify Id in an insert call"
    elif not is_text(id_, 255):
        code, message = "MISSING_ARGUMENT", "Ext__c not specified"
    elif id_ in seen:
        code, message = "DUPLICATE_VALUE", "Duplicate external id specified"
    elif not is_text(record.get("LastName"), 80):
        code, message = "REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]"
    elif not is_email(record.get("Email", "a@b.cd")):
        code, message = "INVALID_EMAIL_ADDRESS", "Email: invalid email address"
    if code:
        return {
            "success": False,
            "errors": [{"statusCode": code, "message": message, "fields": []}],
        }
    seen.add(str(id_))
    accepted.add(record, id_)
    return {"id": f"003{id_:0>15}", "success": True, "errors": [], "created": True}


def _salesforce_delete(request: Request, accepted: Accepted, id_: str) -> Answer:
    not_allowed = [{"errorCode": "METHOD_NOT_ALLOWED", "message": "HTTP Method not allowed"}]
    require(request.method == "DELETE", answer(405, not_allowed))
    gone = [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}]
    require(id_ != "gone", answer(404, gone))
    accepted.add({"deleted": id_})
    return answer(204)


def salesforce_throttled() -> Answer:
    error = {"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}
    return answer(403, [error])


# ---- Intercom: descriptions/2.11 in github.com/intercom/Intercom-OpenAPI


def _intercom_error(code: str, message: str) -> dict[str, Any]:
    return {"type": "error.list", "request_id": "r", "errors": [{"code": code, "message": message}]}


def intercom(request: Request, accepted: Accepted) -> Answer:
    """Contacts that were accepted are found by external_id from then on; `there` was one before."""
    denied = _intercom_error("unauthorized", "Access Token Invalid")
    require(request.bearer() == "intercom-token", answer(401, denied))
    version = _intercom_error("intercom_version_invalid", "unknown version")
    require(request.headers.get("intercom-version") == "2.11", answer(400, version))
    match request.method, request.path:
        case "POST", "/contacts/search":
            return _intercom_search(request, accepted)
        case "POST", "/contacts":
            return _intercom_create(request, accepted)
        case "POST", "/events":
            return _intercom_event(request, accepted)
    match = re.fullmatch("/contacts/(id-.+)", request.path)
    missing = _intercom_error("not_found", "User Not Found")
    require(match and request.method in ("PUT", "DELETE"), answer(404, missing))
    assert match is not None  # required above
    if request.method == "DELETE":
        accepted.add({"deleted": match[1]})
        return answer(200, {"id": match[1], "type": "contact", "deleted": True})
    body = _intercom_contact(request)
    accepted.add(body, match[1].removeprefix("id-"))
    return answer(200, {"type": "contact", "id": match[1]})


def _intercom_search(request: Request, accepted: Accepted) -> Answer:
    query = request.json().get("query")
    invalid = _intercom_error("parameter_invalid", "query is invalid")
    require(
        isinstance(query, dict) and set(query) == {"field", "operator", "value"},
        answer(400, invalid),
    )
    require(
        query["operator"] == "=" and query["field"] in ("external_id", "email"),
        answer(400, invalid),
    )
    require(isinstance(query["value"], str), answer(400, invalid))
    known = {item["external_id"] for item in accepted.items.values() if "external_id" in item}
    found = query["field"] == "external_id" and query["value"] in {*known, "there"}
    data = [{"type": "contact", "id": f"id-{query['value']}"}] if found else []
    return answer(200, {"type": "list", "data": data, "total_count": len(data), "pages": {}})


def _intercom_contact(request: Request) -> dict[str, Any]:
    body = request.json()
    invalid = _intercom_error("parameter_invalid", "email is invalid")
    require(isinstance(body, dict) and is_email(body.get("email", "a@b.cd")), answer(422, invalid))
    for name in ("signed_up_at", "last_seen_at"):
        when = _intercom_error("parameter_invalid", f"{name} must be a unix timestamp")
        require(name not in body or is_epoch_seconds(body[name]), answer(400, when))
    return body  # type: ignore[no-any-return]  # JSON


def _intercom_create(request: Request, accepted: Accepted) -> Answer:
    body = _intercom_contact(request)
    needed = _intercom_error("parameter_not_found", "either role, external_id or email is needed")
    require(any(body.get(name) for name in ("role", "external_id", "email")), answer(400, needed))
    taken = _intercom_error(
        "conflict", "A contact matching those details already exists with id=id-1"
    )
    require(body.get("external_id") not in ("there", *accepted.items), answer(409, taken))
    accepted.add(body, body.get("external_id"))
    return answer(200, {"type": "contact", "id": f"id-{body.get('external_id')}"})


def _intercom_event(request: Request, accepted: Accepted) -> Answer:
    body = request.json()
    invalid = _intercom_error("parameter_invalid", "invalid event")
    require(is_text(body.get("event_name")), answer(400, invalid))
    require(is_epoch_seconds(body.get("created_at")), answer(400, invalid))
    metadata = body.get("metadata", {})
    flat = isinstance(metadata, dict) and not any(isinstance(v, list) for v in metadata.values())
    require(flat and len(metadata) <= 10, answer(400, invalid))
    ids = [body.get(name) for name in ("user_id", "id", "email")]
    require(any(is_text(id_) for id_ in ids), answer(400, invalid))
    missing = _intercom_error("not_found", "User Not Found")
    require(body.get("user_id") != "nobody", answer(404, missing))
    accepted.add(body)
    return answer(202)


# ---- Attio: https://docs.attio.com/rest-api/endpoint-reference/records/assert-a-record


def attio(request: Request, accepted: Accepted) -> Answer:
    denied = {
        "status_code": 401,
        "type": "auth_error",
        "code": "unauthorized",
        "message": "no token",
    }
    require(request.bearer() == "attio-token", answer(401, denied))
    unknown = {
        "status_code": 404,
        "type": "invalid_request_error",
        "code": "not_found",
        "message": "",
    }
    require(
        (request.method, request.path) == ("PUT", "/v2/objects/people/records"),
        answer(404, unknown),
    )
    invalid = {"status_code": 400, "type": "invalid_request_error", "code": "validation_type"}
    attribute = request.query.get("matching_attribute", "")
    body = request.json()
    values = body.get("data", {}).get("values")
    named = isinstance(values, dict) and values.get(attribute)
    require(named, answer(400, invalid | {"message": "The matching attribute has no value"}))
    emails = values.get("email_addresses", [])
    whole = isinstance(emails, list) and all(is_email(email) for email in emails)
    require(
        whole, answer(400, invalid | {"message": "An invalid value was passed to email_addresses"})
    )
    accepted.add(values, str(values[attribute]))
    return answer(200, {"data": {"id": {"record_id": "r"}, "values": {}}})


def attio_throttled() -> Answer:
    """Retry-After is a date, usually of the next second."""
    body = {
        "status_code": 429,
        "type": "rate_limit_error",
        "code": "rate_limit_exceeded",
        "message": "Rate limit exceeded, please try again later",
    }
    return answer(429, body, Retry_After=format_datetime(datetime.now(UTC), usegmt=True))


# ---- Zendesk: https://developer.zendesk.com/api-reference/ticketing/users/users/, tickets/tickets/


def zendesk(request: Request, accepted: Accepted) -> Answer:
    denied = {"error": "Couldn't authenticate you"}
    require(request.basic() == ("agent@example.com/token", "zendesk-key"), answer(401, denied))
    require(request.method == "POST", text(405, ""))
    body = request.json()
    match request.path.removesuffix(".json"):
        case "/api/v2/users/create_or_update":
            return _zendesk_user(body, accepted)
        case "/api/v2/users/create_or_update_many":
            return _zendesk_job(body, accepted)
        case "/api/v2/tickets":
            return _zendesk_ticket(request, body, accepted)
    return answer(404, {"error": "InvalidEndpoint", "description": "Not found"})


def _zendesk_invalid(**details: str) -> Answer:
    faults = {name: [{"description": text_}] for name, text_ in details.items()}
    return answer(
        422,
        {"error": "RecordInvalid", "description": "Record validation errors", "details": faults},
    )


def _zendesk_user(body: dict[str, Any], accepted: Accepted) -> Answer:
    user = body.get("user")
    missing = {"error": {"title": "Invalid attribute", "message": "You passed an invalid value"}}
    require(isinstance(user, dict), answer(400, missing))
    require(is_text(user.get("name")), _zendesk_invalid(name="Name: cannot be blank"))
    require(is_email(user.get("email", "a@b.cd")), _zendesk_invalid(email="Email is invalid"))
    key = user.get("external_id") or user.get("email")
    require(is_text(key), _zendesk_invalid(base="external_id or email is needed"))
    accepted.add(user, key)
    return answer(201, {"user": {"id": 1, **user}})


def _zendesk_job(body: dict[str, Any], accepted: Accepted) -> Answer:
    users = body.get("users")
    many = {"error": "TooManyItems", "description": "1 to 100 users"}
    require(isinstance(users, list) and 1 <= len(users) <= 100, answer(400, many))
    for user in users:
        require(isinstance(user, dict), answer(400, many))
        accepted.add(user, user.get("external_id") or user.get("email"))
    job = {"id": "8b726e606741012ffc2d782bcb7848fe", "status": "queued", "total": len(users)}
    return answer(200, {"job_status": {**job, "url": "", "progress": None, "results": None}})


def _zendesk_ticket(request: Request, body: dict[str, Any], accepted: Accepted) -> Answer:
    ticket = body.get("ticket")
    require(isinstance(ticket, dict), answer(400, {"error": "ticket is missing"}))
    comment = ticket.get("comment", {})
    require(is_text(comment.get("body")), _zendesk_invalid(base="Description: cannot be blank"))
    key = request.headers.get("idempotency-key", "")
    require(
        is_text(key), answer(400, {"error": "no Idempotency-Key: a retry makes a second ticket"})
    )
    lookup = "hit" if key in accepted.items else "miss"
    accepted.add(ticket, key)
    return answer(201, {"ticket": {"id": 35436, **ticket}}, X_Idempotency_Lookup=lookup)
