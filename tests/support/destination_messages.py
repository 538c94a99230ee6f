"""What chats and hooks accept, by their documentation."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from support.destination_wire import (
    Accepted,
    Answer,
    Request,
    age_seconds,
    answer,
    is_rfc3339,
    is_text,
    is_uuid,
    require,
    text,
)

SIGNING_KEY = b"0123456789abcdef01234567"
WHSEC = "whsec_" + base64.b64encode(SIGNING_KEY).decode()


def webhook(request: Request, accepted: Accepted) -> Answer:
    """A receiver of Standard Webhooks: it takes JSON that is signed, five minutes old at most."""
    require(request.path == "/hooks/orders", text(404, "no such hook"))
    id_ = request.headers.get("webhook-id", "")
    timestamp = request.headers.get("webhook-timestamp", "")
    require(
        is_uuid(id_) and timestamp.isdigit(),
        text(401, "webhook-id or webhook-timestamp is missing"),
    )
    require(abs(age_seconds(int(timestamp))) < 300, text(401, "webhook-timestamp is too old"))
    signed = f"{id_}.{timestamp}.".encode() + request.body
    digest = base64.b64encode(hmac.digest(SIGNING_KEY, signed, hashlib.sha256)).decode()
    require(
        f"v1,{digest}" in request.headers.get("webhook-signature", "").split(),
        text(401, "webhook-signature does not match"),
    )
    require(
        request.headers.get("idempotency-key") == id_, text(400, "Idempotency-Key is not the id")
    )
    body = request.json()
    require(isinstance(body, dict), text(400, "not an object"))
    accepted.add(body, id_)
    return 204, {}, b""


# ---- Slack: https://docs.slack.dev: sending-messages-using-incoming-webhooks, chat.postMessage


def slack(request: Request, accepted: Accepted) -> Answer:
    if request.path == "/api/chat.postMessage":
        return _slack_post(request, accepted)
    require(request.path == "/services/T00/B00/hook", text(404, "no_service"))
    require(request.method == "POST", text(405, ""))
    body = request.json()
    require(isinstance(body, dict), text(400, "invalid_payload"))
    require(is_text(body.get("text")) or body.get("blocks"), text(400, "no_text"))
    require(_are_blocks(body.get("blocks", [])), text(400, "invalid_blocks"))
    accepted.add(body)
    return text(200, "ok")


def _slack_post(request: Request, accepted: Accepted) -> Answer:
    def refusal(error: str) -> Answer:
        return answer(200, {"ok": False, "error": error})

    require(
        request.bearer() == "xoxb-token",
        refusal("invalid_auth" if request.bearer() else "not_authed"),
    )
    body = request.json()
    require(is_text(body.get("channel")), refusal("channel_not_found"))
    require(body["channel"] == "C0123456789", refusal("channel_not_found"))
    require(is_text(body.get("text")) or body.get("blocks"), refusal("no_text"))
    require(len(body.get("text") or "") <= 40_000, refusal("msg_too_long"))
    require(_are_blocks(body.get("blocks", [])), refusal("invalid_blocks"))
    accepted.add(body)
    return answer(
        200, {"ok": True, "channel": body["channel"], "ts": "1503435956.000247", "message": {}}
    )


def _are_blocks(blocks: Any) -> bool:
    return (
        isinstance(blocks, list) and len(blocks) <= 50 and all("type" in block for block in blocks)
    )


def slack_throttled() -> Answer:
    return answer(429, {"ok": False, "error": "ratelimited"}, Retry_After="1")


# ---- Discord: https://docs.discord.com/developers/resources/webhook#execute-webhook


def discord(request: Request, accepted: Accepted) -> Answer:
    unknown = {"message": "Unknown Webhook", "code": 10015}
    require(
        (request.method, request.path) == ("POST", "/api/webhooks/1/token"), answer(404, unknown)
    )
    body = request.json()
    content, embeds = body.get("content"), body.get("embeds", [])
    require(
        content or embeds, answer(400, {"message": "Cannot send an empty message", "code": 50006})
    )
    too_long = {
        "_errors": [{"code": "BASE_TYPE_MAX_LENGTH", "message": "Must be 2000 or fewer in length."}]
    }
    invalid = {"code": 50035, "errors": {"content": too_long}, "message": "Invalid Form Body"}
    require(isinstance(content or "", str) and len(content or "") <= 2000, answer(400, invalid))
    require(
        isinstance(embeds, list) and len(embeds) <= 10,
        answer(400, invalid | {"errors": {"embeds": {}}}),
    )
    mentions = body.get("allowed_mentions", {"parse": ["everyone"]})
    accepted.add({**body, "wakes": mentions.get("parse")})
    if request.query.get("wait") != "true":
        return answer(204)
    return answer(200, {"id": "1", "type": 0, "content": content, "channel_id": "2"})


def discord_throttled() -> Answer:
    body = {"message": "You are being rate limited.", "retry_after": 0.25, "global": False}
    return answer(
        429, body, Retry_After="1", X_RateLimit_Reset_After="0.25", X_RateLimit_Scope="user"
    )


# ---- Teams: https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/


def teams(request: Request, accepted: Accepted) -> Answer:
    error = {"error": {"code": "WorkflowTriggerIsNotEnabled", "message": "not found"}}
    require(
        (request.method, request.path) == ("POST", "/workflows/1/triggers/manual/paths/invoke"),
        answer(404, error),
    )
    denied = {"error": {"code": "DirectApiAuthorizationRequired", "message": "no signature"}}
    require(request.query.get("sig") == "signature", answer(401, denied))
    require(len(request.body) <= 28_000, answer(413, {"error": {"code": "RequestEntityTooLarge"}}))
    body = request.json()
    attachments = body.get("attachments") if isinstance(body, dict) else None
    invalid = {
        "error": {"code": "TriggerInputSchemaMismatch", "message": "the body does not match"}
    }
    require(
        body.get("type") == "message" and isinstance(attachments, list) and attachments,
        answer(400, invalid),
    )
    for attachment in attachments:
        card = attachment.get("content", {})
        require(
            attachment.get("contentType") == "application/vnd.microsoft.card.adaptive",
            answer(400, invalid),
        )
        require(
            card.get("type") == "AdaptiveCard" and is_text(card.get("version")),
            answer(400, invalid),
        )
        require(
            isinstance(card.get("body"), list) and all(_is_element(part) for part in card["body"]),
            answer(400, invalid),
        )
    accepted.add(body)
    return answer(202)


def _is_element(element: dict[str, Any]) -> bool:
    return element.get("type") != "TextBlock" or isinstance(element.get("text"), str)


# ---- Zapier: https://help.zapier.com/hc/en-us/articles/8496288690317


def zapier(request: Request, accepted: Accepted) -> Answer:
    require(request.path == "/hooks/catch/1/hook/", text(404, "please unsubscribe me!"))
    body = request.json()
    for run in body if isinstance(body, list) else [body]:
        accepted.add(run, run.get("event_id"))
        require(is_rfc3339(run.get("changed_at", "2026-01-01T00:00:00Z")), text(400, "changed_at"))
    return answer(200, {"attempt": "a", "id": "b", "request_id": "c", "status": "success"})
