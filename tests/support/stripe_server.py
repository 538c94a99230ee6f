"""A small Stripe: lists newest first, filters, events, limits and failures, as documented.

What it does is what https://docs.stripe.com/api says of pagination, filters, expansion, errors,
events and rate limits; it refuses whatever it does not know, so that a connector cannot lean on
something undocumented. It counts requests and remembers when each arrived.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "sk_live_51TESTsecret"
VERSIONS = {"2026-10-28.endive", "2024-06-20"}
NOW = 1_790_000_000  # the server's clock stands still unless a test moves it

CREATED_LISTS = {
    "balance_transactions": "txn",
    "charges": "ch",
    "checkout/sessions": "cs",
    "coupons": "co",
    "credit_notes": "cn",
    "customers": "cus",
    "disputes": "dp",
    "events": "evt",
    "invoices": "in",
    "payment_intents": "pi",
    "payouts": "po",
    "plans": "plan",
    "prices": "price",
    "products": "prod",
    "promotion_codes": "promo",
    "refunds": "re",
    "reviews": "prv",
    "setup_intents": "seti",
    "subscription_schedules": "sub_sched",
    "subscriptions": "sub",
    "tax_rates": "txr",
    "topups": "tu",
    "transfers": "tr",
    "application_fees": "fee",
    "invoiceitems": "ii",
}
LISTS = {**CREATED_LISTS, "quotes": "qt", "payment_methods": "pm", "subscription_items": "si"}
EXTRA = {"events": {"type", "types"}, "subscriptions": {"status"}}
OBJECTS = {"checkout/sessions": "checkout.session", "invoiceitems": "invoiceitem"}


@dataclass(frozen=True)
class Reply:
    """What is answered in place of the usual: a status, a body, headers, after a while."""

    status: int = 200
    body: bytes | dict[str, Any] = b""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    is_cut: bool = False  # the line breaks before the end


def refusal(status: int, message: str, code: str = "", param: str = "", **headers: str) -> Reply:
    """An error as https://docs.stripe.com/api/errors has it."""
    kind = {401: "invalid_request_error", 429: "rate_limit_error"}.get(
        status, "api_error" if status >= 500 else "invalid_request_error"
    )
    error = {"type": kind, "message": message}
    error |= {name: said for name, said in (("code", code), ("param", param)) if said}
    return Reply(status, {"error": error}, {k.replace("_", "-"): v for k, v in headers.items()})


class FakeStripe:
    """The state of one account, and what shall go wrong."""

    def __init__(self) -> None:
        self.now = NOW
        self.seconds = 0.0  # of each answer
        self.objects: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        self.deleted: dict[str, set[str]] = defaultdict(set)
        self.events_hidden_after = 10**12  # events are told late: those created later are not yet
        self.on_request: Callable[[str, dict[str, str]], Reply | None] = lambda *_: None
        self.sends_date = True
        self.requests: Counter[str] = Counter()
        self.queries: list[tuple[str, dict[str, str]]] = []
        self.headers: list[dict[str, str]] = []
        self.arrivals: list[float] = []
        self.most_at_once = 0
        self._at_once = 0
        self._numbers = Counter[str]()
        self._sorted: dict[str, list[dict[str, Any]]] = {}
        self.guard = threading.RLock()
        self.url = ""

    # What tests do to the account.

    def add(self, name: str, /, *, event: str | None = None, **fields: Any) -> dict[str, Any]:
        """Create an object; its time is now unless said."""
        with self.guard:
            self._numbers[name] += 1
            object_ = OBJECTS.get(name, name.removesuffix("s"))
            id_ = fields.pop("id", f"{LISTS[name]}_{self._numbers[name]:08d}")
            clock = "date" if name == "invoiceitems" else "created"
            one = {"id": id_, "object": object_, clock: self.now, "livemode": True, **fields}
            self.objects[name][id_] = one
            self.deleted[name].discard(id_)
            self._sorted.pop(name, None)
            if event:
                self.event(event, one)
            return one

    def change(self, name: str, id_: str, event: str | None = None, /, **fields: Any) -> None:
        with self.guard:
            one = self.objects[name][id_] = {**self.objects[name][id_], **fields}
            self._sorted.pop(name, None)
            if event:
                self.event(event, one)

    def delete(self, name: str, id_: str, event: str | None = None) -> None:
        with self.guard:
            one = self.objects[name].pop(id_)
            self.deleted[name].add(id_)
            self._sorted.pop(name, None)
            if event:
                self.event(event, one)

    def event(
        self, type_: str, content: dict[str, Any], previous: dict[str, Any] | None = None
    ) -> None:
        data = {"object": dict(content)} | ({"previous_attributes": previous} if previous else {})
        self.add("events", type=type_, data=data, api_version="2024-06-20")

    def rows(self, name: str) -> dict[str, dict[str, Any]]:
        return dict(self.objects[name])

    def highest_rate(self, seconds: float = 1.0) -> int:
        """The most requests that arrived within any such time."""
        times, most, start = sorted(self.arrivals), 0, 0
        for end, moment in enumerate(times):
            while times[start] <= moment - seconds:
                start += 1
            most = max(most, end - start + 1)
        return most

    # What the server answers.

    def answer(self, path: str, params: dict[str, str], headers: dict[str, str]) -> Reply:
        with self.guard:
            self.requests[path] += 1
            self.queries.append((path, params))
            self.headers.append(headers)
            self.arrivals.append(time.monotonic())
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            special = self.on_request(path, params)
            if self.seconds:
                time.sleep(self.seconds)
            if isinstance(special, Reply):
                time.sleep(special.seconds)
                return special
            with self.guard:
                return self._refused(headers) or self._found(path, params)
        finally:
            with self.guard:
                self._at_once -= 1

    def _refused(self, headers: dict[str, str]) -> Reply | None:
        if headers.get("authorization") != f"Bearer {KEY}":
            said = headers.get("authorization", "").removeprefix("Bearer ")
            return refusal(401, f"Invalid API Key provided: {said[:8]}****{said[-4:]}")
        version = headers.get("stripe-version", "")
        if version not in VERSIONS:
            return refusal(400, f"Invalid Stripe API version: {version}. See the list of versions.")
        return None

    def _found(self, path: str, params: dict[str, str]) -> Reply:
        if path == "/v1/account":
            return Reply(body={"id": "acct_1", "object": "account", "created": 1, "email": "a@b"})
        found = re.fullmatch(r"/v1/customers/(\w+)/payment_methods", path)
        if found:
            return self._of_customer(found[1], params)
        found = re.fullmatch(r"/v1/(checkout/sessions|\w+)(?:/(\w+))?(?:/(\w+))?", path)
        if not found or found[1] not in LISTS:
            return refusal(404, f"Unrecognized request URL (GET: {path}).")
        name, id_, inner = found.groups()
        if inner:
            return self._page(path, self.objects[name][id_][f"_{inner}"], params, set(), name)
        if id_:
            return self._object(name, id_)
        if name == "payment_methods":
            return refusal(400, "Missing required param: customer.", param="customer")
        if name == "subscription_items":
            subscription = params.pop("subscription", None)
            if subscription is None:
                return refusal(400, "Missing required param: subscription.", param="subscription")
            if subscription not in self.objects["subscriptions"]:
                return refusal(404, f"No such subscription: '{subscription}'", "resource_missing")
            items = [one for one in self._list(name) if one["subscription"] == subscription]
            return self._page(path, items, params, set(), name)
        return self._listed(name, path, params)

    def _of_customer(self, customer: str, params: dict[str, str]) -> Reply:
        if customer not in self.objects["customers"]:
            said = f"No such customer: '{customer}'"
            return refusal(404, said, "resource_missing", "customer")
        methods = [o for o in self._list("payment_methods") if o["customer"] == customer]
        return self._page("", methods, params, set(), "payment_methods")

    def _object(self, name: str, id_: str) -> Reply:
        if id_ in self.objects[name]:
            return Reply(body=_shown(self.objects[name][id_]))
        if id_ in self.deleted[name] and name in {"customers", "products", "coupons"}:
            return Reply(body={"id": id_, "object": name.removesuffix("s"), "deleted": True})
        return refusal(404, f"No such {name}: '{id_}'", "resource_missing", "id")

    def _list(self, name: str) -> list[dict[str, Any]]:
        """Newest first; of one second, the one that was created last."""
        if name not in self._sorted:
            clock = "date" if name == "invoiceitems" else "created"
            made = list(self.objects[name].values())
            made.reverse()
            self._sorted[name] = sorted(made, key=lambda one: -int(one.get(clock, 0)))
        return self._sorted[name]

    def _listed(self, name: str, path: str, params: dict[str, str]) -> Reply:
        objects = self._list(name)
        allowed = set(EXTRA.get(name, ()))
        if name in CREATED_LISTS:
            allowed |= {"created[gt]", "created[gte]", "created[lt]", "created[lte]"}
        clock = "date" if name == "invoiceitems" else "created"
        for sign, test in (
            ("gt", lambda a, b: a > b),
            ("gte", lambda a, b: a >= b),
            ("lt", lambda a, b: a < b),
            ("lte", lambda a, b: a <= b),
        ):
            bound = params.get(f"created[{sign}]")
            if bound is not None and name in CREATED_LISTS:
                objects = [one for one in objects if test(one[clock], int(bound))]
        if name == "events":
            types = {said for key, said in params.items() if re.fullmatch(r"types\[\d+\]", key)}
            if len(types) > 20:
                return refusal(400, "You may specify up to 20 types.", param="types")
            allowed |= {key for key in params if re.fullmatch(r"types\[\d+\]", key)}
            oldest = self.now - 30 * 86400
            objects = [
                one
                for one in objects
                if oldest <= one["created"] <= self.events_hidden_after
                and (not types or one["type"] in types)
            ]
        if name == "subscriptions" and params.get("status") != "all":
            objects = [one for one in objects if one.get("status") != "canceled"]
        return self._page(path, objects, params, allowed, name)

    def _page(
        self,
        path: str,
        objects: list[dict[str, Any]],
        params: dict[str, str],
        allowed: set[str],
        name: str,
    ) -> Reply:
        known = {"limit", "starting_after", "ending_before"} | allowed
        for key in params:
            if key not in known and not re.fullmatch(r"expand\[\d*\]", key):
                return refusal(400, f"Received unknown parameter: {key}", "parameter_unknown", key)
        limit = int(params.get("limit", 10))
        if not 1 <= limit <= 100:
            return refusal(400, f"Invalid limit: {limit}: 1 to 100.", param="limit")
        if "starting_after" in params and "ending_before" in params:
            return refusal(400, "You may only specify one of these parameters.")
        everything = {one["id"]: one for one in (*self._list(name), *objects)}
        for side in ("starting_after", "ending_before"):
            if side in params and params[side] not in everything:
                said = f"No such object: '{params[side]}'"
                return refusal(400, said, "resource_missing", side)
        if "starting_after" in params:
            objects = _behind(objects, params["starting_after"], self._list(name))
        if "ending_before" in params:
            whole = [one["id"] for one in objects]
            objects = objects[: whole.index(params["ending_before"])]
            page, more = objects[-limit:], len(objects) > limit
        else:
            page, more = objects[:limit], len(objects) > limit
        data = [_shown(one) for one in page]
        return Reply(body={"object": "list", "data": data, "has_more": more, "url": path})


def _behind(
    objects: list[dict[str, Any]], place: str, everything: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    ids = [one["id"] for one in objects]
    if place in ids:
        return objects[ids.index(place) + 1 :]
    later = {one["id"] for one in everything[[o["id"] for o in everything].index(place) + 1 :]}
    return [one for one in objects if one["id"] in later]


def _shown(one: dict[str, Any]) -> dict[str, Any]:
    """An object without the inner lists that the server keeps for itself."""
    return {name: value for name, value in one.items() if not name.startswith("_")}


def _handler(stripe: FakeStripe) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            params = dict(parse_qsl(address.query, keep_blank_values=True))
            headers = {name.lower(): said for name, said in self.headers.items()}
            reply = stripe.answer(address.path, params, headers)
            body = reply.body
            if isinstance(body, dict):
                body = json.dumps(body, indent=2).encode()  # as Stripe writes it
            with contextlib.suppress(ConnectionError):
                self.send_response_only(reply.status)
                if stripe.sends_date:
                    self.send_header("Date", formatdate(stripe.now, usegmt=True))
                for name, said in reply.headers.items():
                    self.send_header(name, said)
                self.send_header("Content-Length", str(len(body) + reply.is_cut))
                self.close_connection = self.close_connection or reply.is_cut
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


@contextlib.contextmanager
def fake_stripe(account: FakeStripe | None = None) -> Iterator[FakeStripe]:
    """A running server, and the account behind it."""
    stripe = account or FakeStripe()
    server = _Server(("127.0.0.1", 0), _handler(stripe))
    stripe.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield stripe
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
