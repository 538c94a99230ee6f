"""Answers that are not the API's own, as a proxy, another server or an outage gives them."""

from __future__ import annotations

from support.stripe_server import Reply, refusal

FOREIGN_ANSWERS = {
    "a proxy's 404": Reply(404, b"<html>Not Found</html>"),
    "an empty 404": Reply(404),
    "a 404 of another API": Reply(404, {"error": "not found"}),
    "a 404 for an unknown path": refusal(404, "Unrecognized request URL (GET: /v1/x)."),
    "a 404 with another code": refusal(404, "No", "account_invalid"),
    "another status with the code": refusal(402, "No", "resource_missing"),
    "a server error with the code": refusal(500, "No", "resource_missing"),
    "a proxy's 403": Reply(403, b"<html>Forbidden</html>"),
    "a 410": Reply(410, b"Gone"),
    "a redirect": Reply(301, b"", {"Location": "/v1/account"}),
    "a temporary redirect": Reply(307, b"<html>", {"Location": "/login"}),
    "a login page": Reply(200, b"<!doctype html><title>Sign in</title>"),
    "nothing": Reply(200),
    "no content": Reply(204),
    "an error inside": Reply(200, {"error": {"code": "resource_missing", "message": "No"}}),
    "an error beside a list": Reply(
        200, {"object": "list", "data": [], "has_more": False, "error": {"message": "No"}}
    ),
    "an error beside a stub": Reply(200, {"id": "x", "deleted": True, "error": {"message": "No"}}),
    "another object's stub": Reply(200, {"id": "x", "object": "customer", "deleted": True}),
    "a stub without a kind": Reply(200, {"id": "cus_00000001", "deleted": True}),
    "an empty object": Reply(200, b"{}"),
    "an empty array": Reply(200, b"[]"),
    "null": Reply(200, b"null"),
    "a list of no kind": Reply(200, {"data": [], "has_more": False}),
    "a list that does not say whether more follow": Reply(200, {"object": "list", "data": []}),
}
"""By what they are. None of them says anything about the objects of an account."""
