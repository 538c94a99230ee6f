"""What advertising systems accept, by their documentation."""

from __future__ import annotations

import re
from typing import Any

from support.destination_wire import (
    Accepted,
    Answer,
    Request,
    age_seconds,
    answer,
    is_epoch_seconds,
    is_sha256,
    is_text,
    require,
    text,
)

# ---- Google Ads: google/ads/googleads/v24 in github.com/googleapis/googleapis


def _google_token(request: Request) -> Answer:
    """Refresh an access token: https://developers.google.com/identity/protocols/oauth2/web-server."""
    fields = request.form() if request.method == "POST" else {}
    client = (fields.get("client_id"), fields.get("client_secret"))
    invalid = {"error": "invalid_client", "error_description": "The OAuth client was not found."}
    require(client == ("1-a.apps.googleusercontent.com", "GOCSPX-secret"), answer(401, invalid))
    unsupported = {"error": "unsupported_grant_type"}
    require(fields.get("grant_type") == "refresh_token", answer(400, unsupported))
    expired = "Token has been expired or revoked."
    revoked = {"error": "invalid_grant", "error_description": expired}
    require(fields.get("refresh_token") == "1//refresh", answer(400, revoked))
    scope = "https://www.googleapis.com/auth/adwords"
    token = {"access_token": "ya29.token", "expires_in": 3599, "scope": scope}
    return answer(200, {**token, "token_type": "Bearer"})


def google_ads(request: Request, accepted: Accepted) -> Answer:
    if request.path == "/token":
        return _google_token(request)
    denied = {
        "error": {
            "code": 401,
            "message": "invalid authentication credentials",
            "status": "UNAUTHENTICATED",
        }
    }
    require(request.bearer() == "ya29.token", answer(401, denied))
    headers = request.headers
    ours = (
        headers.get("developer-token") == "developer"
        and headers.get("login-customer-id", "1").isdigit()
    )
    require(ours, answer(403, {"error": {"code": 403, "status": "PERMISSION_DENIED"}}))
    path = "/v24/customers/1234567890:uploadClickConversions"
    require((request.method, request.path) == ("POST", path), text(404, ""))
    body = request.json()
    conversions = body.get("conversions")
    invalid = {
        "error": {
            "code": 400,
            "message": "Request contains an invalid argument.",
            "status": "INVALID_ARGUMENT",
        }
    }
    require(isinstance(conversions, list) and 1 <= len(conversions) <= 2000, answer(400, invalid))
    require(body.get("partialFailure") is True, answer(400, invalid))
    errors, results = [], []
    for index, conversion in enumerate(conversions):
        require(_is_click_conversion(conversion), answer(400, invalid))
        code, message = _google_fault(conversion, accepted)
        if code:
            path_ = [{"fieldName": "conversions", "index": index}, {"fieldName": "gclid"}]
            error = {"errorCode": {"conversionUploadError": code}, "message": message}
            errors.append({**error, "location": {"fieldPathElements": path_}})
            results.append({})
        else:
            accepted.add(conversion, conversion["orderId"])
            results.append({"conversionAction": conversion["conversionAction"]})
    if not errors:
        return answer(200, {"results": results, "jobId": "1"})
    failure = {
        "@type": "type.googleapis.com/google.ads.googleads.v24.errors.GoogleAdsFailure",
        "errors": errors,
    }
    status = {"code": 3, "message": errors[0]["message"], "details": [failure]}
    return answer(200, {"partialFailureError": status, "results": results, "jobId": "1"})


def _is_click_conversion(conversion: dict[str, Any]) -> bool:
    """Whether the JSON is the message ClickConversion; else the whole request is invalid."""
    known = {
        "gclid", "gbraid", "wbraid", "conversionAction", "conversionDateTime", "conversionValue",
        "currencyCode", "orderId", "userIdentifiers",
    }  # fmt: skip
    identifiers = conversion.get("userIdentifiers", [])
    names = all(set(one) & {"hashedEmail", "hashedPhoneNumber"} for one in identifiers)
    action = re.fullmatch(
        r"customers/\d+/conversionActions/\d+", str(conversion.get("conversionAction"))
    )
    texts = all(
        isinstance(conversion.get(name, ""), str)
        for name in known - {"conversionValue", "userIdentifiers"}
    )
    value = isinstance(conversion.get("conversionValue", 0), int | float)
    return (
        set(conversion) <= known
        and names
        and len(identifiers) <= 5
        and bool(action)
        and texts
        and value
    )


def _google_fault(conversion: dict[str, Any], accepted: Accepted) -> tuple[str, str]:
    time = str(conversion.get("conversionDateTime"))
    if not re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d", time):
        return "INVALID_CONVERSION_DATE_TIME", "The format is yyyy-mm-dd hh:mm:ss+|-hh:mm."
    identifiers = conversion.get("userIdentifiers", [])
    hashes = [value for one in identifiers for value in one.values() if value is not None]
    if not all(is_sha256(value) for value in hashes):
        return "UNPARSEABLE_USER_IDENTIFIER", "The user identifier is not a SHA-256 hash."
    if not any(conversion.get(name) for name in ("gclid", "gbraid", "wbraid")) and not hashes:
        return "MISSING_CLICK_ID", "The click id is missing."
    if conversion.get("gclid") == "expired":
        return "EXPIRED_EVENT", "The imported event occurred too long ago."
    if conversion.get("orderId") in accepted.items:
        return "ORDER_ID_ALREADY_IN_USE", "The order id is in use."
    return "", ""


# ---- Meta: https://developers.facebook.com/docs/marketing-api/conversions-api/using-the-api


def _meta_error(code: int, message: str, *, transient: bool = False) -> Answer:
    kind = "OAuthException"
    error = {
        "message": message,
        "type": kind,
        "code": code,
        "is_transient": transient,
        "fbtrace_id": "f",
    }
    return answer(400, {"error": error})


def meta(request: Request, accepted: Accepted) -> Answer:
    require(
        re.fullmatch(r"/v\d\d\.0/1234/events", request.path),
        _meta_error(100, "Unsupported post request."),
    )
    body = request.json()
    token = body.get("access_token") or request.query.get("access_token")
    require(token == "EAAG", _meta_error(190, "Invalid OAuth access token."))
    events = body.get("data")
    require(
        isinstance(events, list) and 1 <= len(events) <= 1000, _meta_error(100, "Invalid parameter")
    )
    for event in events:
        time = event.get("event_time")
        require(
            is_text(event.get("event_name")) and is_epoch_seconds(time),
            _meta_error(100, "Invalid parameter"),
        )
        require(age_seconds(time) < 7 * 86_400, _meta_error(100, "Event Timestamp Too Old"))
        require(is_text(event.get("action_source")), _meta_error(100, "action_source"))
        require(is_text(event.get("event_id")), _meta_error(100, "event_id"))
        user = event.get("user_data")
        require(
            isinstance(user, dict) and user,
            _meta_error(100, "You have not added sufficient customer information"),
        )
        hashed = [user[name] for name in ("em", "ph", "external_id") if name in user]
        require(
            all(is_sha256(value) for value in hashed), _meta_error(100, "user_data is not hashed")
        )
        custom = event.get("custom_data", {})
        purchase = event["event_name"] != "Purchase" or {"value", "currency"} <= set(custom)
        require(purchase, _meta_error(100, "Missing Currency For Purchase Event"))
    for event in events:
        accepted.add(event, f"{event['event_name']}/{event['event_id']}")
    return answer(200, {"events_received": len(events), "messages": [], "fbtrace_id": "f"})
