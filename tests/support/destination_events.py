"""What systems of product analytics accept, by their documentation and public source."""

from __future__ import annotations

from typing import Any

from support.destination_wire import (
    Accepted,
    Answer,
    RefusedError,
    Request,
    answer,
    is_epoch_ms,
    is_epoch_seconds,
    is_rfc3339,
    is_text,
    is_uuid,
    require,
    size,
    text,
)

# ---- PostHog: answers by rust/capture/src/api.rs, events by https://posthog.com/docs/api/capture


def posthog(request: Request, accepted: Accepted) -> Answer:
    require(request.method == "POST", text(405, ""))
    require(request.path in ("/batch", "/batch/"), text(404, ""))
    require(
        len(request.plain(takes_gzip=True)) <= 20 * 1024 * 1024, text(413, "length limit exceeded")
    )
    body = request.json(takes_gzip=True)
    require(
        isinstance(body, dict) and is_text(body.get("api_key")),
        text(401, "event submitted without an api_key"),
    )
    require(body["api_key"] == "phc_key", text(401, "API key is not valid: invalid"))
    events = body.get("batch")
    require(isinstance(events, list) and events, text(400, "request holds no event"))
    for event in events:
        _posthog_event(event)
    for event in events:
        if _posthog_has_effect(event):
            accepted.add(event, event["uuid"])
    return answer(200, {"status": "Ok"})


def _posthog_event(event: dict[str, Any]) -> None:
    require(is_text(event.get("event")), text(400, "event submitted with an empty event name"))
    require(
        is_text(event.get("distinct_id"), 200),
        text(400, "event submitted without a distinct_id"),
    )
    require(
        isinstance(event.get("properties", {}), dict) and is_uuid(event.get("uuid")),
        text(400, "failed to hydrate events from request: invalid type"),
    )
    require(is_rfc3339(event.get("timestamp")), text(400, "event submitted with invalid timestamp"))
    require(size(event) <= 983_040, text(413, "maximum event size exceeded: message"))


def _posthog_has_effect(event: dict[str, Any]) -> bool:
    """Whether ingestion does something with the event. It drops the others without a word."""
    properties = event.get("properties", {})
    match event["event"]:
        case "$identify" | "$set":
            return isinstance(properties.get("$set"), dict)
        case "$create_alias":
            return is_text(properties.get("alias")) and is_text(properties.get("distinct_id"))
        case "$groupidentify":
            names = is_text(properties.get("$group_type")) and is_text(properties.get("$group_key"))
            return names and isinstance(properties.get("$group_set"), dict)
    return True


# ---- Segment and RudderStack: /v1/batch of the common spec


_NEEDS = {
    "track": ("event",),
    "identify": (),
    "group": ("groupId",),
    "page": (),
    "screen": (),
    "alias": ("previousId",),
}


def segment(request: Request, accepted: Accepted) -> Answer:
    """https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/"""
    _spec_batch(
        request, accepted, 500_000, answer(400, {"success": False, "message": "malformed JSON"})
    )
    return answer(200, {"success": True})


def rudderstack(request: Request, accepted: Accepted) -> Answer:
    """https://www.rudderstack.com/docs/api/http-api/"""
    _spec_batch(request, accepted, 4_000_000, text(413, "Request size too large"))
    return text(200, "OK")


def _spec_batch(request: Request, accepted: Accepted, most: int, too_large: Answer) -> None:
    require(request.method == "POST", text(405, ""))
    require(request.path == "/v1/batch", text(404, ""))
    require(request.basic() == ("write-key", ""), text(401, "Failed to read writeKey from header"))
    require(len(request.plain(takes_gzip=True)) <= most, too_large)
    body = request.json(takes_gzip=True)
    calls = body.get("batch") if isinstance(body, dict) else None
    require(isinstance(calls, list) and calls, text(400, "Empty batch payload"))
    for call in calls:
        if _is_call(call):  # a bad one is dropped later, under a 200
            accepted.add(call, call["messageId"])


def _is_call(call: dict[str, Any]) -> bool:
    ids = [call.get("userId"), call.get("anonymousId")]
    names = [call.get(name) for name in _NEEDS.get(call.get("type", ""), ("type!",))]
    return (
        size(call) <= 32_000
        and any(is_text(id_) for id_ in ids)
        and all(id_ is None or isinstance(id_, str) for id_ in ids)
        and all(is_text(name) for name in names)
        and is_rfc3339(call.get("timestamp"))
        and is_text(call.get("messageId"), 100)
        and all(
            isinstance(call.get(part, {}), dict) for part in ("properties", "traits", "context")
        )
    )


# ---- Mixpanel: openapi/ingestion.openapi.yaml, reference/import-events of github.com/mixpanel/docs


_NOBODY = {
    "00000000-0000-0000-0000-000000000000", "anon", "anonymous", "nil", "none", "null", "n/a", "na",
    "undefined", "unknown", "<nil>", "0", "-1", "true", "false", "[]", "{}",
}  # fmt: skip


def mixpanel(request: Request, accepted: Accepted) -> Answer:
    require(request.method == "POST", text(405, ""))
    if request.path == "/engage":
        return _mixpanel_profiles(request, accepted)
    require(request.path == "/import", text(404, ""))
    require(
        request.basic() == ("service", "account") and request.query.get("project_id") == "7",
        answer(401, {"code": 401, "error": "Invalid credentials", "status": "Unauthorized"}),
    )
    require(request.query.get("strict") == "1", text(400, "strict=1 is needed for errors by event"))
    events = _mixpanel_batch(request)
    return _mixpanel_result(events, _mixpanel_event_fault, accepted, "properties", "$insert_id")


def _mixpanel_batch(request: Request) -> list[dict[str, Any]]:
    too_large = {
        "code": 413,
        "error": "request exceeds max limit",
        "status": "Request Entity Too Large",
    }
    require(len(request.plain(takes_gzip=True)) <= 10_000_000, answer(413, too_large))
    batch = request.json(takes_gzip=True)
    bad = {"code": 400, "error": "batch is not a list of 1 to 2000", "status": "Bad Request"}
    require(isinstance(batch, list) and 1 <= len(batch) <= 2000, answer(400, bad))
    return batch  # type: ignore[no-any-return]  # JSON


def _mixpanel_result(
    records: list[dict[str, Any]], fault: Any, accepted: Accepted, part: str, id_name: str
) -> Answer:
    failed = []
    for index, record in enumerate(records):
        field_name, message = fault(record)
        id_ = (record.get(part) or {}).get(id_name) if part else record.get(id_name)
        if message:
            failed.append(
                {"index": index, "insert_id": id_, "field": field_name, "message": message}
            )
        else:
            accepted.add(record, id_)
    taken = len(records) - len(failed)
    if not failed:
        return answer(200, {"code": 200, "num_records_imported": taken, "status": "OK"})
    return answer(
        400,
        {
            "code": 400,
            "error": "some data points in the request failed validation",
            "failed_records": failed,
            "num_records_imported": taken,
            "status": "Bad Request",
        },
    )


def _mixpanel_event_fault(event: dict[str, Any]) -> tuple[str, str]:
    properties = event.get("properties")
    if set(event) != {"event", "properties"} or not isinstance(properties, dict):
        return "event", "event has other keys than event and properties"
    insert_id, time = properties.get("$insert_id"), properties.get("time")
    if not is_text(event["event"]):
        return "event", "'event' is invalid: must not be missing"
    if not (is_epoch_seconds(time) or is_epoch_ms(time)):
        return (
            "properties.time",
            "'properties.time' is invalid: must be specified as seconds since epoch",
        )
    if not (is_text(insert_id, 36) and all(c.isalnum() or c == "-" for c in insert_id)):
        return "properties.$insert_id", "'properties.$insert_id' is invalid"
    distinct_id = properties.get("distinct_id")
    if not isinstance(distinct_id, str) or distinct_id.lower() in _NOBODY:
        return "properties.distinct_id", "'properties.distinct_id' is invalid: is not allowed"
    if len(properties) > 255 or size(event) > 1_000_000:
        return "properties", "'properties' is too large"
    return "", ""


def _mixpanel_profiles(request: Request, accepted: Accepted) -> Answer:
    """A 200 even if all was refused: the body says so."""
    profiles = _mixpanel_batch(request)
    status, headers, body = _mixpanel_result(
        profiles, _mixpanel_profile_fault, accepted, "", "$distinct_id"
    )
    return (200 if status == 400 else status), headers, body


def _mixpanel_profile_fault(profile: dict[str, Any]) -> tuple[str, str]:
    operations = [
        name for name in profile if name in ("$set", "$set_once", "$unset", "$delete", "$add")
    ]
    if profile.get("$token") != "project-token":
        return "$token", "'$token' is invalid"
    if not is_text(profile.get("$distinct_id")) or profile["$distinct_id"].lower() in _NOBODY:
        return "$distinct_id", "'$distinct_id' is invalid"
    if len(operations) != 1 or not isinstance(profile.get("$set", {}), dict):
        return "$set", "a profile update has one operation"
    return "", ""


# ---- Amplitude: https://amplitude.com/docs/apis/analytics/batch-event-upload, and its SDKs


def amplitude(request: Request, accepted: Accepted) -> Answer:
    require((request.method, request.path) == ("POST", "/batch"), text(404, ""))
    require(
        len(request.plain()) <= 20_000_000, answer(413, {"code": 413, "error": "Payload too large"})
    )
    body = request.json()
    require(
        body.get("api_key") == "amplitude-key",
        answer(
            400,
            {
                "code": 400,
                "error": "Invalid API key: " + str(body.get("api_key")),
                "missing_field": None,
            },
        ),
    )
    events = body.get("events")
    require(
        isinstance(events, list) and 1 <= len(events) <= 2000,
        answer(
            400, {"code": 400, "error": "Request missing required field", "missing_field": "events"}
        ),
    )
    missing, invalid = _amplitude_faults(events)
    require(
        not missing and not invalid,
        answer(
            400,
            {
                "code": 400,
                "error": "Request missing required field"
                if missing
                else "Invalid field values on some events",
                "missing_field": None,
                "events_with_missing_fields": missing,
                "events_with_invalid_fields": invalid,
            },
        ),
    )
    for event in events:
        accepted.add(event, event["insert_id"])
    return answer(
        200, {"code": 200, "events_ingested": len(events), "payload_size_bytes": len(request.body)}
    )


def _amplitude_faults(
    events: list[dict[str, Any]],
) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    missing: dict[str, list[int]] = {}
    invalid: dict[str, list[int]] = {}
    for index, event in enumerate(events):
        ids = [event.get("user_id"), event.get("device_id")]
        if not is_text(event.get("event_type")):
            missing.setdefault("event_type", []).append(index)
        elif not any(isinstance(id_, str) and len(id_) >= 5 for id_ in ids):
            missing.setdefault("user_id", []).append(index)
        if not is_epoch_ms(event.get("time")):
            invalid.setdefault("time", []).append(index)
        if not is_text(event.get("insert_id")):
            invalid.setdefault("insert_id", []).append(index)
        for part in ("event_properties", "user_properties"):
            if not isinstance(event.get(part, {}), dict):
                invalid.setdefault(part, []).append(index)
    return missing, invalid


# ---- CleverTap: https://developer.clevertap.com/docs/upload-events-api, api-errors


def clevertap(request: Request, accepted: Accepted) -> Answer:
    headers = request.headers
    require(
        headers.get("x-clevertap-account-id") == "account"
        and headers.get("x-clevertap-passcode") == "passcode",
        answer(401, {"status": "fail", "error": "Account Id not valid", "code": 401}),
    )
    require(request.method == "POST", text(405, ""))
    body = request.json()
    if request.path == "/1/delete/profiles.json":
        return _clevertap_deletes(body, accepted)
    require(request.path == "/1/upload", text(404, ""))
    records = body.get("d")
    require(
        isinstance(records, list) and 1 <= len(records) <= 1000,
        answer(
            400,
            {
                "status": "fail",
                "error": "Payload is mandatory, and has at most 1000 records",
                "code": 400,
            },
        ),
    )
    refused = []
    for record in records:
        if fault := _clevertap_fault(record):
            code, error = fault
            refused.append({"status": "fail", "code": code, "error": error, "record": record})
        else:
            accepted.add(record)
    taken = len(records) - len(refused)
    status = "success" if not refused else "partial" if taken else "fail"
    return answer(200, {"status": status, "processed": taken, "unprocessed": refused})


def _clevertap_fault(record: dict[str, Any]) -> tuple[int, str] | None:
    if not is_text(record.get("identity")):
        return 523, "Missing identity"
    match record.get("type"):
        case "profile":
            if not isinstance(record.get("profileData"), dict):
                return 512, "Invalid profile structure"
            if "@" not in record["profileData"].get("Email", "@"):
                return 515, "Email invalid"
        case "event":
            if not is_text(record.get("evtName"), 512):
                return 509, "Event name is mandatory"
            if not is_epoch_seconds(record.get("ts")):
                return 525, "Timestamp not in UNIX epoch format"
            data = record.get("evtData", {})
            if not isinstance(data, dict) or len(data) > 256:
                return 522, "Event properties limit exceeded"
            if any(isinstance(value, dict | list) for value in data.values()):
                return 512, "Invalid event structure"
        case _:
            return 524, "Data neither event nor profile"
    return None


def _clevertap_deletes(body: dict[str, Any], accepted: Accepted) -> Answer:
    identities = body.get("identity")
    if not isinstance(identities, list) or not 1 <= len(identities) <= 100:
        raise RefusedError(
            answer(400, {"status": "fail", "error": "1 to 100 identities", "code": 400})
        )
    for identity in identities:
        require(
            is_text(identity), answer(400, {"status": "fail", "error": "identity", "code": 523})
        )
        accepted.add({"deleted": identity})
    return answer(200, {"status": "success"})
