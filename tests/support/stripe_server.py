"""A fake of Stripe's API: lists newest first, filters, events, limits and failures.

It follows https://docs.stripe.com/api on pagination, filters, expansion, errors, events and rate
limits. It refuses everything else, so that a connector cannot depend on undocumented behaviour.
It counts the requests and records the time of each.
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
from urllib.parse import parse_qsl, unquote, urlsplit

from support.stripe_lists import (
    CREATED_LISTS,
    EXPANDABLE,
    EXTRA,
    LISTS,
    OBJECTS,
    OF_CUSTOMERS,
    OPTIONAL,
    REQUIRED,
    WITH_STUBS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "sk_live_51TESTsecret"
VERSIONS = {"2026-10-28.endive", "2024-06-20"}
NOW = 1_790_000_000  # the server's clock stands still unless a test moves it

WITHOUT_TEST_CLOCKS = {"customers", "subscriptions", "quotes"}


@dataclass(frozen=True)
class Reply:
    """An answer in place of the usual one: status, body, headers, and a delay."""

    status: int = 200
    body: bytes | dict[str, Any] = b""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    is_cut: bool = False  # the connection breaks before the end


def refusal(status: int, message: str, code: str = "", param: str = "", **headers: str) -> Reply:
    """Return an error in the form of https://docs.stripe.com/api/errors."""
    kind = {401: "invalid_request_error", 429: "rate_limit_error"}.get(
        status, "api_error" if status >= 500 else "invalid_request_error"
    )
    error = {"type": kind, "message": message}
    error |= {name: value for name, value in (("code", code), ("param", param)) if value}
    return Reply(status, {"error": error}, {k.replace("_", "-"): v for k, v in headers.items()})


class FakeStripe:
    """The objects of one account, and the failures that a test wants."""

    def __init__(self) -> None:
        self.now = NOW
        self.account = "acct_1"
        self.key = KEY
        self.connected: dict[str, FakeStripe] = {}  # accounts, by their id
        self.seconds = 0.0  # of each answer
        self.objects: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        self.deleted: dict[str, set[str]] = defaultdict(set)
        self.events_hidden_after = 10**12  # late events: those created after it are not listed yet
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

    # Changes of the account by a test.

    def add(self, name: str, /, *, event: str | None = None, **fields: Any) -> dict[str, Any]:
        """Create an object; its time is now by default."""
        with self.guard:
            self._numbers[name] += 1
            id_ = fields.pop("id", f"{LISTS[name]}_{self._numbers[name]:08d}")
            clock = "date" if name == "invoiceitems" else "created"
            kind = OBJECTS.get(name, name.removesuffix("s"))
            object_ = {"id": id_, "object": kind, clock: self.now, "livemode": True, **fields}
            self.objects[name][id_] = object_
            self.deleted[name].discard(id_)
            self._sorted.pop(name, None)
            if event:
                self.event(event, object_)
            return object_

    def change(self, name: str, id_: str, event: str | None = None, /, **fields: Any) -> None:
        with self.guard:
            object_ = self.objects[name][id_] = {**self.objects[name][id_], **fields}
            self._sorted.pop(name, None)
            if event:
                self.event(event, object_)

    def delete(self, name: str, id_: str, event: str | None = None) -> None:
        with self.guard:
            object_ = self.objects[name].pop(id_)
            self.deleted[name].add(id_)
            self._sorted.pop(name, None)
            if event:
                self.event(event, object_)

    def event(
        self, type_: str, content: dict[str, Any], previous: dict[str, Any] | None = None
    ) -> None:
        data = {"object": dict(content)} | ({"previous_attributes": previous} if previous else {})
        self.add("events", type=type_, data=data, api_version="2024-06-20")

    def rows(self, name: str) -> dict[str, dict[str, Any]]:
        return dict(self.objects[name])

    def highest_rate(self, seconds: float = 1.0) -> int:
        """Return the highest number of requests that arrived within this time."""
        times, highest, start = sorted(self.arrivals), 0, 0
        for end, moment in enumerate(times):
            while times[start] <= moment - seconds:
                start += 1
            highest = max(highest, end - start + 1)
        return highest

    # The answers of the server.

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
                return self._refuse(headers) or self._of_account(headers)._find(path, params)
        finally:
            with self.guard:
                self._at_once -= 1

    def _of_account(self, headers: dict[str, str]) -> FakeStripe:
        """Return the account that a request is for: docs.stripe.com/connect/authentication."""
        account = self.connected.get(headers.get("stripe-account", ""), self)
        account.now = self.now
        return account

    def connect(self) -> FakeStripe:
        """Return an account that is connected to this one now."""
        account = FakeStripe()
        account.now = self.now
        self.connected[str(self.add("accounts")["id"])] = account
        return account

    def _refuse(self, headers: dict[str, str]) -> Reply | None:
        if headers.get("authorization") != f"Bearer {self.key}":
            key = headers.get("authorization", "").removeprefix("Bearer ")
            return refusal(401, f"Invalid API Key provided: {key[:8]}****{key[-4:]}")
        version = headers.get("stripe-version", "")
        if version not in VERSIONS:
            return refusal(400, f"Invalid Stripe API version: {version}. See the list of versions.")
        return None

    def _find(self, path: str, params: dict[str, str]) -> Reply:
        if path == "/v1/account":
            account = {"id": self.account, "object": "account", "created": 1, "email": "a@b"}
            return Reply(body=account)
        inner = re.fullmatch(r"/v1/customers/([^/]+)/(\w+)", path)
        if inner and inner[2] in OF_CUSTOMERS:
            return self._of_parent(
                OF_CUSTOMERS[inner[2]], "customer", "customers", unquote(inner[1]), params
            )
        match = re.fullmatch(r"/v1/([a-z]+/[a-z_]+|\w+)(?:/([^/]+))?(?:/(\w+))?", path)
        if match and match[1] not in LISTS:
            match = re.fullmatch(r"/v1/(\w+)(?:/([^/]+))?(?:/(\w+))?", path)
        if not match or match[1] not in LISTS:
            return refusal(404, f"Unrecognized request URL (GET: {path}).")
        name, id_, inner_list = match[1], unquote(match[2] or ""), match[3]
        if inner_list:
            if id_ not in self.objects[name]:
                return refusal(404, f"No such {name}: '{id_}'", "resource_missing", "id")
            return self._page(path, self.objects[name][id_][f"_{inner_list}"], params, set(), name)
        if id_:
            return self._object(name, id_, params)
        if name == "payment_methods":
            return refusal(400, "Missing required param: customer.", param="customer")
        if name == "tax_ids":  # without an owner, those of the account itself
            own = [o for o in self._list(name) if o.get("customer") is None]
            return self._page(path, own, params, set(), name)
        if name in REQUIRED or name in OPTIONAL:
            return self._by_parameters(name, path, params)
        return self._filter(name, path, params)

    def _by_parameters(self, name: str, path: str, params: dict[str, str]) -> Reply:
        """Return the objects of the parents that the parameters name."""
        allowed = set()
        objects = self._list(name)
        for known, is_required in ((REQUIRED, True), (OPTIONAL, False)):
            if name not in known:
                continue
            field, parents = known[name]
            parent = params.get(field)
            if parent is None and is_required:
                return refusal(400, f"Missing required param: {field}.", param=field)
            if parent is not None and parent not in self.objects[parents]:
                return refusal(404, f"No such {field}: '{parent}'", "resource_missing", field)
            if parent is not None:
                allowed.add(field)
                objects = [o for o in objects if o.get(f"_{field}", o.get(field)) == parent]
        if name in CREATED_LISTS and not allowed:
            return self._filter(name, path, params)
        return self._page(path, objects, params, allowed, name)

    def _of_parent(
        self, name: str, field: str, parents: str, parent: str, params: dict[str, str]
    ) -> Reply:
        if parent not in self.objects[parents]:
            message = f"No such {parents.removesuffix('s')}: '{parent}'"
            return refusal(404, message, "resource_missing", field)
        objects = [o for o in self._list(name) if o.get(f"_{field}", o.get(field)) == parent]
        return self._page("", objects, params, set(), name)

    def _object(self, name: str, id_: str, params: dict[str, str]) -> Reply:
        if id_ in self.objects[name]:
            return Reply(body=self._shown(name, self.objects[name][id_], params))
        if id_ in self.deleted[name] and name in WITH_STUBS:
            return Reply(body={"id": id_, "object": name.removesuffix("s"), "deleted": True})
        return refusal(404, f"No such {name}: '{id_}'", "resource_missing", "id")

    def _list(self, name: str) -> list[dict[str, Any]]:
        """Return the objects newest first; of one second, the last created first."""
        if name not in self._sorted:
            clock = "date" if name == "invoiceitems" else "created"
            objects = list(self.objects[name].values())
            objects.reverse()
            self._sorted[name] = sorted(objects, key=lambda o: -int(o.get(clock, 0)))
        return self._sorted[name]

    def _shown(self, name: str, object_: dict[str, Any], params: dict[str, str]) -> dict[str, Any]:
        """Return an object as a request asks for it: docs.stripe.com/api/expanding_objects."""
        asked = {value for key, value in params.items() if re.fullmatch(r"expand\[\d*\]", key)}
        fields = {value.removeprefix("data.") for value in asked}
        public = {key: value for key, value in object_.items() if not key.startswith("_")}
        for hidden in EXPANDABLE.get(name, set()) - fields:
            public.pop(hidden, None)
        if name == "customers" and "tax_ids" in fields:
            of_customer = [o for o in self._list("tax_ids") if o.get("customer") == object_["id"]]
            inner = {"object": "list", "data": of_customer[:10], "has_more": len(of_customer) > 10}
            public["tax_ids"] = inner | {"url": f"/v1/customers/{object_['id']}/tax_ids"}
        return public

    def _filter(self, name: str, path: str, params: dict[str, str]) -> Reply:
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
                objects = [o for o in objects if test(o[clock], int(bound))]
        if name == "events":
            types = {type_ for key, type_ in params.items() if re.fullmatch(r"types\[\d+\]", key)}
            if len(types) > 20:
                return refusal(400, "You may specify up to 20 types.", param="types")
            allowed |= {key for key in params if re.fullmatch(r"types\[\d+\]", key)}
            oldest = self.now - 30 * 86400
            objects = [
                event
                for event in objects
                if oldest <= event["created"] <= self.events_hidden_after
                and (not types or event["type"] in types)
            ]
        if name in WITHOUT_TEST_CLOCKS:
            objects = [o for o in objects if o.get("test_clock") is None]
        if name == "subscriptions" and params.get("status") != "all":
            objects = [o for o in objects if o.get("status") != "canceled"]
        return self._page(path, objects, params, allowed, name)

    def _page(
        self,
        path: str,
        objects: list[dict[str, Any]],
        params: dict[str, str],
        allowed: set[str],
        name: str,
    ) -> Reply:
        parameters = {"limit", "starting_after", "ending_before"} | allowed
        for key in params:
            if key not in parameters and not re.fullmatch(r"expand\[\d*\]", key):
                return refusal(400, f"Received unknown parameter: {key}", "parameter_unknown", key)
        limit = int(params.get("limit", 10))
        if not 1 <= limit <= 100:
            return refusal(400, f"Invalid limit: {limit}: 1 to 100.", param="limit")
        if "starting_after" in params and "ending_before" in params:
            return refusal(400, "You may only specify one of these parameters.")
        all_ids = {object_["id"] for object_ in (*self._list(name), *objects)}
        for side in ("starting_after", "ending_before"):
            if side in params and params[side] not in all_ids:
                message = f"No such object: '{params[side]}'"
                return refusal(400, message, "resource_missing", side)
        if "starting_after" in params:
            objects = _after(objects, params["starting_after"], self._list(name))
        if "ending_before" in params:
            ids = [object_["id"] for object_ in objects]
            objects = objects[: ids.index(params["ending_before"])]
            page, has_more = objects[-limit:], len(objects) > limit
        else:
            page, has_more = objects[:limit], len(objects) > limit
        data = [self._shown(name, object_, params) for object_ in page]
        return Reply(body={"object": "list", "data": data, "has_more": has_more, "url": path})


def _after(
    objects: list[dict[str, Any]], last_id: str, all_objects: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    ids = [object_["id"] for object_ in objects]
    if last_id in ids:
        return objects[ids.index(last_id) + 1 :]
    all_ids = [object_["id"] for object_ in all_objects]
    later_ids = set(all_ids[all_ids.index(last_id) + 1 :])
    return [object_ for object_ in objects if object_["id"] in later_ids]


def _handler(stripe: FakeStripe) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            params = dict(parse_qsl(address.query, keep_blank_values=True))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = stripe.answer(address.path, params, headers)
            body = reply.body
            if isinstance(body, dict):
                body = json.dumps(body, indent=2).encode()  # as Stripe writes it
            with contextlib.suppress(ConnectionError):
                self.send_response_only(reply.status)
                if stripe.sends_date:
                    self.send_header("Date", formatdate(stripe.now, usegmt=True))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body) + reply.is_cut))
                self.close_connection = self.close_connection or reply.is_cut
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write no log."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: object) -> None:
        """Ignore clients that disconnect."""


@contextlib.contextmanager
def fake_stripe(account: FakeStripe | None = None) -> Iterator[FakeStripe]:
    """Run a server; yield its account."""
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
