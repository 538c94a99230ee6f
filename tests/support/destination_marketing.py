"""What systems of marketing and advertising accept, by their documentation."""

from __future__ import annotations

import hashlib
import re
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
    size,
    text,
)

# ---- Customer.io: https://docs.customer.io/api/track/ (v2 batch), journeys/invalid-api-requests


def customerio(request: Request, accepted: Accepted) -> Answer:
    require(
        request.basic() == ("site", "cio-key"),
        answer(401, {"meta": {"error": "Unauthorized request"}}),
    )
    require((request.method, request.path) == ("POST", "/api/v2/batch"), text(404, ""))
    require(len(request.body) <= 500_000, answer(413, {"meta": {"error": "payload too large"}}))
    batch = request.json().get("batch")
    require(
        isinstance(batch, list) and batch,
        answer(400, {"errors": [{"reason": "required", "field": "batch"}]}),
    )
    errors = []
    for index, item in enumerate(batch):
        if fault := _customerio_fault(item):
            field, message = fault
            errors.append(
                {"batch_index": index, "reason": "invalid", "field": field, "message": message}
            )
        else:
            accepted.add(item, item.get("id"))
    return answer(207, {"errors": errors}) if errors else answer(200, {})


def _customerio_fault(item: dict[str, Any]) -> tuple[str, str] | None:
    ids = item.get("identifiers")
    if item.get("type") != "person" or item.get("action") not in ("identify", "event", "delete"):
        return "type", "unknown type or action"
    if not isinstance(ids, dict) or len(ids) != 1 or not set(ids) <= {"id", "email", "cio_id"}:
        return "identifiers", "must have one of id, email, cio_id"
    if not all(is_text(id_, 150) for id_ in ids.values()):
        return "identifiers", "must be a string, and not empty"
    attributes = item.get("attributes", {})
    if not isinstance(attributes, dict) or len(attributes) > 300 or size(item) > 32_768:
        return "attributes", "cannot identify more than 300 attributes in one request"
    if any(isinstance(value, str) and len(value.encode()) > 1000 for value in attributes.values()):
        return "attributes", "value cannot be longer than 1000 bytes"
    if item["action"] == "event":
        if not is_text(item.get("name"), 100):
            return "name", "event name must not be blank"
        if not is_epoch_seconds(item.get("timestamp")):
            return "timestamp", "must be a unix timestamp"
        if not re.fullmatch("[0-7][0-9A-HJKMNP-TV-Z]{25}", str(item.get("id"))):
            return "id", "must be a valid ULID"
    return None


# ---- Mailchimp: https://mailchimp.com/developer/marketing/api/lists/batch-subscribe-or-unsubscribe/

_STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional")


def _mailchimp_problem(status: int, title: str, detail: str) -> Answer:
    kind = "https://mailchimp.com/developer/marketing/docs/errors/"
    return answer(
        status, {"type": kind, "title": title, "status": status, "detail": detail, "instance": "i"}
    )


def mailchimp(request: Request, accepted: Accepted) -> Answer:
    require(
        request.basic()[1] == "mailchimp-key",
        _mailchimp_problem(401, "API Key Invalid", "Your key is not valid"),
    )
    missing = _mailchimp_problem(
        404, "Resource Not Found", "The requested resource could not be found."
    )
    if request.path == "/3.0/lists/list1" and request.method == "POST":
        return _mailchimp_batch(request, accepted)
    match = re.fullmatch("/3.0/lists/list1/members/([0-9a-f]{32})", request.path)
    require(match and request.method in ("PUT", "DELETE"), missing)
    assert match is not None  # required above
    if request.method == "DELETE":
        require(
            match[1] != hashlib.md5(b"gone@example.com", usedforsecurity=False).hexdigest(), missing
        )
        accepted.add({"deleted": match[1]})
        return answer(204)
    member = request.json()
    email = str(member.get("email_address"))
    require(
        is_email(email),
        _mailchimp_problem(400, "Invalid Resource", f"{email} looks fake or invalid"),
    )
    require(
        match[1] == hashlib.md5(email.lower().encode(), usedforsecurity=False).hexdigest(), missing
    )
    wrong = _mailchimp_problem(400, "Invalid Resource", "status_if_new is needed")
    require(member.get("status_if_new") in _STATUSES and "status" not in member, wrong)
    accepted.add(member, email.lower())
    return answer(200, {"id": match[1], **member})


def _mailchimp_batch(request: Request, accepted: Accepted) -> Answer:
    body = request.json()
    members = body.get("members")
    many = _mailchimp_problem(400, "Invalid Resource", "members: 1 to 500")
    require(isinstance(members, list) and 1 <= len(members) <= 500, many)
    require(body.get("update_existing") is True, many)
    for member in members:
        unknown = set(member) - {"email_address", "status", "merge_fields", "tags", "language"}
        require(not unknown and member.get("status") in _STATUSES, many)
    errors = []
    for member in members:
        email = member.get("email_address")
        if is_email(email):
            accepted.add(member, email.lower())
        else:
            message = f"{email} looks fake or invalid, please enter a real email address."
            errors.append({"email_address": email, "error": message, "error_code": "ERROR_GENERIC"})
    counts = {
        "total_created": len(members) - len(errors),
        "total_updated": 0,
        "error_count": len(errors),
    }
    padding = [
        {"email_address": m["email_address"], "stats": "x" * 2000} for m in members
    ]  # as large as theirs
    return answer(200, {"new_members": padding, "updated_members": [], "errors": errors, **counts})


# ---- Klaviyo: github.com/klaviyo/openapi, revision 2026-07-15


def _klaviyo_errors(status: int, *errors: tuple[str, str]) -> Answer:
    rows = [
        {
            "id": "e",
            "status": status,
            "code": "invalid",
            "title": "Invalid input.",
            "detail": detail,
            "source": {"pointer": pointer},
        }
        for detail, pointer in errors
    ]
    return answer(status, {"errors": rows})


def klaviyo(request: Request, accepted: Accepted) -> Answer:
    key = request.headers.get("authorization")
    require(
        key == "Klaviyo-API-Key pk_key",
        _klaviyo_errors(401, ("Incorrect authentication credentials.", "/data/")),
    )
    revision = request.headers.get("revision", "")
    require(
        re.fullmatch(r"202\d-\d\d-15", revision),
        _klaviyo_errors(400, ("revision is needed", "/data")),
    )
    require(request.method == "POST", text(405, ""))
    require(len(request.body) <= 5_000_000, _klaviyo_errors(413, ("Request too large", "/data")))
    media = "application/vnd.api+json"
    body = (
        request.json(media=media)
        if media in request.headers.get("content-type", "")
        else request.json()
    )
    data = body.get("data", {})
    attributes = data.get("attributes", {})
    match request.path.rstrip("/"), data.get("type"):
        case "/api/profile-bulk-import-jobs", "profile-bulk-import-job":
            rows = attributes.get("profiles", {}).get("data")
            return _klaviyo_job(rows, 10_000, "profiles", _klaviyo_profile_fault, accepted)
        case "/api/event-bulk-create-jobs", "event-bulk-create-job":
            rows = attributes.get("events-bulk-create", {}).get("data")
            return _klaviyo_job(
                rows, 1_000, "events-bulk-create", _klaviyo_bulk_event_fault, accepted
            )
        case "/api/profile-import", "profile":
            fault = _klaviyo_profile_fault(data)
            require(not fault, _klaviyo_errors(400, (fault, "/data/attributes/email")))
            accepted.add(data)
            return answer(201, {"data": data})
        case "/api/events", "event":
            fault = _klaviyo_event_fault(attributes, attributes.get("profile"))
            require(not fault, _klaviyo_errors(400, (fault, "/data/attributes")))
            accepted.add(data, attributes["unique_id"])
            return answer(202)
    return _klaviyo_errors(404, ("not found", "/data"))


def _klaviyo_job(rows: Any, most: int, name: str, fault_of: Any, accepted: Accepted) -> Answer:
    """The faults of the form are told at once, by pointers; nothing is taken then."""
    many = _klaviyo_errors(400, (f"1 to {most} in a request", "/data/attributes"))
    require(isinstance(rows, list) and 1 <= len(rows) <= most, many)
    faults = [
        (fault, f"/data/attributes/{name}/data/{index}/attributes/email")
        for index, row in enumerate(rows)
        if (fault := fault_of(row))
    ]
    require(not faults, _klaviyo_errors(400, *faults))
    for row in rows:
        accepted.add(row)
    return answer(202, {"data": {"type": "job", "id": "j", "attributes": {"status": "queued"}}})


def _klaviyo_profile_fault(row: Any) -> str:
    attributes = row.get("attributes", {})
    ids = [attributes.get(name) for name in ("email", "phone_number", "external_id")]
    if row.get("type") != "profile" or not any(is_text(id_) for id_ in ids):
        return "A profile has an email, phone_number or external_id."
    if size(row) > 100_000:
        return "A profile has at most 100 kB."
    if not is_email(attributes.get("email", "a@b.cd")):
        return "Invalid email address"
    if not re.fullmatch(r"\+[1-9]\d{6,14}", attributes.get("phone_number", "+15005550006")):
        return "Invalid phone number format"
    return ""


def _klaviyo_event_fault(attributes: dict[str, Any], profile: Any) -> str:
    metric = attributes.get("metric", {}).get("data", {})
    if metric.get("type") != "metric" or not is_text(metric.get("attributes", {}).get("name")):
        return "metric is needed"
    if not isinstance(attributes.get("properties"), dict):
        return "properties is needed"
    if not is_rfc3339(attributes.get("time")) or not is_text(attributes.get("unique_id")):
        return "time or unique_id is invalid"
    if not isinstance(attributes.get("value", 0), int | float):
        return "value is a number"
    return _klaviyo_profile_fault((profile or {}).get("data", {}))


def _klaviyo_bulk_event_fault(row: Any) -> str:
    attributes = row.get("attributes", {})
    events = attributes.get("events", {}).get("data", [])
    if row.get("type") != "event-bulk-create" or not events:
        return "events are needed"
    faults = [
        _klaviyo_event_fault(event["attributes"], attributes.get("profile")) for event in events
    ]
    return next((fault for fault in faults if fault), "")


# ---- Braze: https://www.braze.com/docs/api/endpoints/user_data/post_user_track/, post_user_delete


def braze(request: Request, accepted: Accepted) -> Answer:
    require(request.bearer() == "braze-key", answer(401, {"message": "Invalid API Key"}))
    require(request.method == "POST", text(405, ""))
    body = request.json()
    if request.path == "/users/delete":
        ids = body.get("external_ids")
        require(
            isinstance(ids, list) and 1 <= len(ids) <= 50 and all(map(is_text, ids)),
            answer(400, {"message": "external_ids"}),
        )
        for id_ in ids:
            accepted.add({"deleted": id_})
        return answer(200, {"deleted": len(ids), "message": "success"})
    require(request.path == "/users/track", answer(404, {"message": "not found"}))
    lists = {name: body.get(name, []) for name in ("attributes", "events", "purchases")}
    total = sum(map(len, lists.values()))
    require(
        set(body) <= set(lists) and 1 <= total <= 75, answer(400, {"message": "1 to 75 objects"})
    )
    errors = []
    for name, items in lists.items():
        for index, item in enumerate(items):
            if fault := _braze_fault(name, item):
                errors.append({"type": fault, "input_array": name, "index": index})
            else:
                accepted.add(item)
    if errors and len(errors) == total:
        return answer(400, {"message": "Valid data must be provided", "errors": errors})
    body = {
        "message": "success",
        f"{next(n for n in lists if lists[n])}_processed": total - len(errors),
    }
    return answer(201, {**body, "errors": errors} if errors else body)


def _braze_fault(name: str, item: dict[str, Any]) -> str:
    if not is_text(item.get("external_id"), 997):
        return "'external_id', 'braze_id', 'user_alias', 'email' or 'phone' is required"
    if size(item) > 100_000:
        return "object too large"
    if name == "attributes":
        return "" if is_email(item.get("email", "a@b.cd")) else "'email' is not valid"
    if not is_rfc3339(item.get("time")):
        return "'time' is not a valid ISO 8601 time"
    if name == "events":
        return "" if is_text(item.get("name"), 255) else "'name' is required"
    price, quantity = item.get("price"), item.get("quantity", 1)
    if not is_text(item.get("product_id"), 255) or not re.fullmatch(
        "[A-Z]{3}", str(item.get("currency"))
    ):
        return "'product_id' and 'currency' are required"
    numbers = isinstance(price, int | float) and isinstance(quantity, int) and 1 <= quantity <= 100
    return "" if numbers else "'price' is not valid"


# ---- SendGrid: https://www.twilio.com/docs/sendgrid/api-reference/contacts/add-or-update-a-contact


def sendgrid(request: Request, accepted: Accepted) -> Answer:
    denied = {"errors": [{"field": None, "message": "authorization required"}]}
    require(request.bearer() == "SG.key", answer(401, denied))
    require((request.method, request.path) == ("PUT", "/v3/marketing/contacts"), text(404, ""))
    require(
        len(request.body) <= 6_000_000, answer(413, {"errors": [{"message": "payload too large"}]})
    )
    body = request.json()
    contacts = body.get("contacts")
    many = {"errors": [{"field": "contacts", "message": "1 to 30000 contacts"}]}
    require(isinstance(contacts, list) and 1 <= len(contacts) <= 30_000, answer(400, many))
    require(
        all(is_uuid(id_) for id_ in body.get("list_ids", [])),
        answer(400, {"errors": [{"field": "list_ids"}]}),
    )
    for index, contact in enumerate(contacts):
        invalid = {"errors": [{"field": f"contacts[{index}].email", "message": "email is invalid"}]}
        require(is_email(contact.get("email")), answer(400, invalid))
    for contact in contacts:
        accepted.add(contact, contact["email"].lower())
    return answer(202, {"job_id": "bd16aa68-37b7-4dbb-a8c5-9b2e65c1b3b0"})


# ---- Loops: https://loops.so/docs/api-reference/intro


def loops(request: Request, accepted: Accepted) -> Answer:
    def refusal(status: int, message: str) -> Answer:
        return answer(status, {"success": False, "message": message})

    require(request.bearer() == "loops-key", answer(401, {"error": "Invalid API key"}))
    body = request.json()
    long = [value for value in _texts(body) if len(value) > 498]
    require(not long, refusal(400, "Some body key or value is longer than allowable"))
    if request.path == "/api/v1/contacts/delete":
        require(
            request.method == "POST" and len(body) == 1, refusal(400, "one of email and userId")
        )
        require(body.get("email") != "gone@example.com", refusal(404, "Contact not found."))
        accepted.add({"deleted": body.get("email") or body.get("userId")})
        return answer(200, {"success": True, "message": "Contact deleted."})
    ids = [body.get("email"), body.get("userId")]
    require(any(is_text(id_) for id_ in ids), refusal(400, "email or userId is required"))
    require(is_email(body.get("email", "a@b.cd")), refusal(400, "Invalid email address"))
    if request.path == "/api/v1/contacts/update":
        require(request.method in ("PUT", "POST"), text(405, ""))
        require(not any(isinstance(v, dict | list) for v in body.values()), refusal(400, "nested"))
        accepted.add(body, body.get("email") or body.get("userId"))
        return answer(200, {"success": True, "id": "c"})
    require((request.method, request.path) == ("POST", "/api/v1/events/send"), text(404, ""))
    require(is_text(body.get("eventName")), refusal(400, "eventName is required"))
    key = request.headers.get("idempotency-key", "")
    require(is_text(key, 100), refusal(400, "no Idempotency-Key: a retry sends the mail again"))
    require(key not in accepted.items, refusal(409, "Idempotency key has been used"))
    accepted.add(body, key)
    return answer(200, {"success": True})


def _texts(tree: Any) -> list[str]:
    if isinstance(tree, dict):
        return [text_ for value in tree.values() for text_ in _texts(value)]
    return [tree] if isinstance(tree, str) else []
