"""Requests are authorised, limited and repeated as the API asks; each refusal is one clear line."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
from support.api_reading import read, rest_source, since
from support.api_server import ApiRequest, ApiServer, Number, Reply, serving

from cdpsync.connector import ReadRequest, SourcePlace
from cdpsync.connector.http import retries
from cdpsync.errors import ConnectError, ConnectorError, RateLimitError, ReadError
from cdpsync.model import Cursor, CursorType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROWS = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with serving(ApiServer({"GET /rows": lambda _: ROWS, "POST /rows": lambda _: ROWS})) as server:
        yield server


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_FIRST_PAUSE", 0.001)


def source(api: ApiServer, resource: dict[str, Any] | None = None, **client: Any) -> Any:
    return rest_source(api, {"rows": {"path": "rows", **(resource or {})}}, **client)


def refusal(
    api: ApiServer, resource: dict[str, Any] | None = None, **client: Any
) -> ConnectorError:
    with pytest.raises(ConnectorError) as raised:
        read(source(api, resource, **client), "rows")
    assert "\n" not in raised.value.message
    return raised.value


# ---- authentication


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"type": "bearer", "token": "abc123"}, "Authorization", "Bearer abc123"),
        (
            {"type": "bearer", "token": "abc123", "prefix": "Token"},
            "Authorization",
            "Token abc123",
        ),
        (
            {"type": "basic", "username": "me", "password": "pä:ss"},
            "Authorization",
            "Basic " + base64.b64encode("me:pä:ss".encode()).decode(),
        ),
        ({"type": "api_key", "key": "k-1", "name": "X-Key"}, "X-Key", "k-1"),
    ],
)
def test_credentials_are_headers(api: ApiServer, auth: Any, header: str, value: str) -> None:
    read(source(api, auth=auth), "rows")
    assert api.requests[0].headers[header] == value


def test_a_key_may_be_in_the_query_on_every_page(api: ApiServer) -> None:
    def paged(request: ApiRequest) -> Any:
        assert request.query["key"] == "k-1"
        if "n" in request.query:
            return ROWS[:1]
        return Reply(ROWS, headers={"Link": '<?n=2>; rel="next"'})

    api.routes["GET /rows"] = paged
    auth = {"type": "api_key", "key": "k-1", "name": "key", "in": "query"}
    assert len(read(source(api, auth=auth), "rows")) == 3


class TokenServer:
    """A token endpoint, and an API that takes only the last token it gave."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api
        self.given = 0
        self.refresh_token = "refresh-0"
        self.life: Any = 3600
        api.routes["POST /token"] = self.token
        api.before = self.guard

    def token(self, request: ApiRequest) -> Any:
        form = request.form
        if form.get("refresh_token", self.refresh_token) != self.refresh_token:
            return Reply({"error": "invalid_grant", "error_description": "used up"}, 400)
        self.given += 1
        self.last_form = form
        return {"access_token": f"access-{self.given}", "expires_in": self.life}

    def guard(self, request: ApiRequest) -> Reply | None:
        if request.path == "/token":
            return None
        if request.headers["Authorization"] == f"Bearer access-{self.given}":
            return None
        return Reply({"message": "token expired"}, 401)

    def auth(self, type_: str = "oauth_client_credentials", **keys: Any) -> dict[str, Any]:
        ids = {"client_id": "id-1", "client_secret": "hush-1"}
        return {"type": type_, "token_url": f"{self.api.url}/token", **ids, **keys}


def test_client_credentials_are_exchanged_once(api: ApiServer) -> None:
    tokens = TokenServer(api)
    own = source(api, auth=tokens.auth(scope="read", fields={"audience": "api"}))
    assert read(own, "rows") == read(own, "rows") == ROWS
    assert tokens.given == 1
    assert tokens.last_form == {
        "grant_type": "client_credentials",
        "client_id": "id-1",
        "client_secret": "hush-1",
        "scope": "read",
        "audience": "api",
    }


def test_a_token_is_renewed_when_the_api_ends_it_early(api: ApiServer) -> None:
    tokens = TokenServer(api)
    own = source(
        api, auth=tokens.auth("oauth_refresh_token", refresh_token="refresh-0", client_auth="basic")
    )
    read(own, "rows")
    tokens.given += 1  # so that the first token is void
    assert read(own, "rows") == ROWS
    assert tokens.last_form == {"grant_type": "refresh_token", "refresh_token": "refresh-0"}


def test_a_token_is_renewed_before_its_end(api: ApiServer) -> None:
    tokens = TokenServer(api)
    tokens.life = "1"
    own = source(api, auth=tokens.auth())
    read(own, "rows")
    time.sleep(1.1)
    read(own, "rows")
    assert tokens.given == 2
    assert all(request.path == "/token" or request.path == "/rows" for request in api.requests)


def test_an_exchanged_refresh_token_is_kept(api: ApiServer, tmp_path: Path) -> None:
    """The next run uses it; a new one in the project file wins. Only its owner can read it."""
    tokens = TokenServer(api)
    exchange = tokens.token

    def rotating(request: ApiRequest) -> Any:
        answer = exchange(request)
        if isinstance(answer, dict):
            tokens.refresh_token = f"refresh-{tokens.given}"
            answer["refresh_token"] = tokens.refresh_token
        return answer

    api.routes["POST /token"] = rotating

    def one_run(given: str) -> Any:
        own = source(api, auth=tokens.auth("oauth_refresh_token", refresh_token=given))
        own.place = SourcePlace("shop", tmp_path, tmp_path / "state", tmp_path / "shared")
        return read(own, "rows")

    assert one_run("refresh-0") == one_run("refresh-0") == ROWS
    (kept,) = (tmp_path / "state").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    assert '"token": "refresh-2"' in kept.read_text()
    tokens.refresh_token = "given-anew"
    assert one_run("given-anew") == ROWS


def test_a_refused_refresh_token_is_told(api: ApiServer) -> None:
    tokens = TokenServer(api)
    error = refusal(api, auth=tokens.auth("oauth_refresh_token", refresh_token="old-secret"))
    assert isinstance(error, ConnectError)
    assert "/token gave no access token (status 400): used up" in error.message
    assert "Authorise the client again" in error.message
    assert "old-secret" not in error.message
    assert not error.retryable


# ---- limits and faults


@pytest.mark.parametrize(
    "asked",
    [
        lambda: Reply(b"slow down", 429, {"Retry-After": "0"}),
        lambda: Reply({}, 429, {"X-RateLimit-Reset": str(int(time.time()))}),
        lambda: Reply({}, 429, {"Retry-After": format_datetime(datetime.now(UTC), usegmt=True)}),
        lambda: Reply({}, 403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "0"}),
        lambda: Reply({"errors": [{"extensions": {"code": "RATELIMITED"}}]}, 400),
        lambda: Reply(b"<html>oops", 502),
        lambda: Reply({"error": "later"}, 503),
    ],
)
def test_what_passes_is_waited_for(api: ApiServer, asked: Callable[[], Reply]) -> None:
    api.before = lambda _: asked() if len(api.requests) < 3 else None
    assert read(source(api), "rows") == ROWS
    assert len(api.requests) == 3


def test_a_limit_that_lasts_too_long_is_told(api: ApiServer) -> None:
    day = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)
    api.before = lambda _: Reply({"message": "daily quota"}, 429, {"Retry-After": day})
    error = refusal(api)
    assert isinstance(error, RateLimitError)
    assert "limits the rate of requests for 86" in error.message
    assert "daily quota" in error.message
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply({"message": "Bad credentials"}, 401), "refused the credentials (status 401): Bad"),
        (Reply({"errors": [{"detail": "no scope"}]}, 403), "does not permit this (status 403): no"),
        (
            Reply({"error": {"message": "gone"}}, 410),
            "there is nothing at /rows (status 410): gone",
        ),
        (Reply(b"<html><h1>Not found", 404), "there is nothing at /rows (status 404): it says"),
        (Reply({"ErrorInfo": "", "ErrorMessage": "no list"}, 400), "request (status 400): no list"),
        (Reply({"meta": {"error": "no page"}}, 400), "refused the request (status 400): no page"),
        (Reply({"title": "bad filter"}, 400), "refused the request (status 400): bad filter"),
        (Reply(b"", 500), "kept failing with status 500: it says nothing"),
        (Reply(b"", 302, {"Location": "https://login.example/"}), "leads to https://login.example"),
        (Reply(b"<html>Login", 200), "the answer is not JSON with the records"),
        (Reply(b"", 200), "the answer is not JSON with the records"),
        (Reply({"error": "quota"}, 200), "the answer reports an error: quota"),
        (Reply({"errors": [{"message": "bad field"}], "data": None}, 200), "an error: bad field"),
        (Reply({"rows": [{"id": 1}]}, 200), "set records: rows"),
        (Reply({"message": "empty"}, 409), "refused the request (status 409): empty"),
        (Reply([1, 2], 200), "a record is not a JSON object: b'1'"),
        (Reply(b'[{"id": 1}, {"id": ', 200), "the answer is not JSON with the records"),
    ],
)
def test_an_answer_that_is_not_the_list_is_one_line(
    api: ApiServer, reply: Reply, message: str
) -> None:
    api.before = lambda _: reply
    assert message in refusal(api).message


def test_a_path_that_is_not_there_names_what_is(api: ApiServer) -> None:
    api.routes["GET /rows"] = lambda _: {"itmes": ROWS, "count": 2}
    error = refusal(api, {"records": "items"})
    assert "the answer has nothing at items; it has: itmes, count." in error.message


@pytest.mark.parametrize("answer", [{"items": []}, {"list": [{"b": {"id": 1}}]}])
def test_wrapped_records_that_are_not_there_are_no_empty_list(api: ApiServer, answer: Any) -> None:
    api.routes["GET /rows"] = lambda _: answer
    assert (
        "the answer has nothing at list[*].a; it has:"
        in refusal(api, {"records": "list[*].a"}).message
    )
    api.routes["GET /rows"] = lambda _: {"list": []}
    keys = {"records": "list[*].a", "primary_key": "id"}
    assert read(source(api, keys), "rows") == []


def test_an_answer_that_breaks_off_is_asked_for_again(api: ApiServer) -> None:
    def cut(request: ApiRequest) -> Any:
        if len(api.requests) < 2:
            return Reply(b"[{", headers={"Content-Length": "500", "Connection": "close"})
        return ROWS

    api.routes["GET /rows"] = cut
    assert read(source(api, timeout=1), "rows") == ROWS


def test_nobody_answers() -> None:
    server = ApiServer({})
    server.url = "http://127.0.0.1:9"
    error = refusal(server)
    assert error.message == (
        "http://127.0.0.1:9: nothing listens there. Check base_url and this machine's network; "
        "then run again."
    )


# ---- what is asked for


def test_a_cursor_is_a_parameter_and_rows_below_it_are_left_out(api: ApiServer) -> None:
    rows = [{"id": n, "at": f"2026-01-0{n}T12:00:00.5Z"} for n in range(1, 6)]
    api.routes["GET /rows"] = lambda _: [*rows, {"id": 9, "at": None}]
    keys = {"cursor_field": "at", "cursor_param": "since", "primary_key": "id"}
    moment = datetime(2026, 1, 3, 12, 0, 0, 500_000, tzinfo=UTC)
    assert [r["id"] for r in read(source(api, keys), "rows", **since("at", moment))] == [3, 4, 5, 9]
    assert api.requests[0].query == {"since": "2026-01-03T12:00:00Z"}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ({}, "2026-01-03T12:00:00Z"),
        ({"cursor_exclusive": True}, "2026-01-03T11:59:59Z"),
        ({"cursor_earlier": "48h"}, "2026-01-01T12:00:00Z"),
        ({"cursor_format": "date"}, "2026-01-03"),
        ({"cursor_format": "epoch"}, "1767441600"),
        ({"cursor_format": "epoch_ms"}, "1767441600000"),
        ({"cursor_format": "%d.%m.%Y %H:%M"}, "03.01.2026 12:00"),
    ],
)
def test_a_cursor_has_the_form_that_the_api_wants(api: ApiServer, keys: Any, value: str) -> None:
    keys = {"cursor_field": "at", "cursor_param": "since", **keys}
    moment = datetime(2026, 1, 3, 12, 0, 0, 700_000, tzinfo=UTC)
    read(source(api, keys), "rows", **since("at", moment))
    assert api.requests[0].query == {"since": value}


def test_a_cursor_may_be_anywhere_in_parameters_and_body(api: ApiServer) -> None:
    body = {
        "filters": [{"field": "at", "op": ">=", "value": "{cursor}"}, {"field": "open"}],
        "limit": 5,
    }
    keys = {"body": body, "params": {"q": "at>{cursor}", "n": 1}, "cursor_field": "at"}
    own = source(api, keys)
    read(own, "rows")
    assert api.requests[0].json == {"filters": [{"field": "open"}], "limit": 5}
    assert api.requests[0].query == {"n": "1"}
    read(own, "rows", **since("at", datetime(2026, 1, 3, tzinfo=UTC)))
    assert api.requests[1].json["filters"][0]["value"] == "2026-01-03T00:00:00Z"
    assert api.requests[1].query == {"n": "1", "q": "at>2026-01-03T00:00:00Z"}


def test_an_initial_cursor_is_sent_for_a_first_load(api: ApiServer) -> None:
    keys = {"cursor_field": "at", "cursor_param": "since", "cursor_initial": 0}
    assert read(source(api, keys), "rows") != []
    assert api.requests[0].query == {"since": "0"}


def test_parameters_may_belong_to_a_read_from_a_cursor_only(api: ApiServer) -> None:
    keys = {"cursor_field": "at", "params": {"sort": "created"}, "cursor_params": {"sort": "at"}}
    own = source(api, keys)
    read(own, "rows")
    read(own, "rows", **since("at", datetime(2026, 1, 3, tzinfo=UTC)))
    assert [request.query for request in api.requests] == [{"sort": "created"}, {"sort": "at"}]


def test_a_key_may_stand_inside_an_object(api: ApiServer) -> None:
    inner = [{"id": {"row": n, "of": "a"}, "n": n} for n in range(3)]
    api.routes["GET /rows"] = lambda r: inner if r.query["offset"] == "0" else []
    keys = {"primary_key": "row_id", "fields": {"row_id": "id.row"}, "paginator": "offset"}
    rows = read(source(api, keys), "rows")
    assert rows == [{"row_id": n, "id": f'{{"row":{n},"of":"a"}}', "n": n} for n in range(3)]


def test_newest_first_ends_below_the_cursor(api: ApiServer) -> None:
    def newest_first(request: ApiRequest) -> Any:
        start = 20 - 5 * int(request.query["page"])
        return [{"id": n, "at": 1767225600 + n} for n in range(start + 5, start, -1)]

    api.routes["GET /rows"] = newest_first
    keys = {
        "cursor_field": "at",
        "types": {"at": "epoch"},
        "order": "newest_first",
        "paginator": "page_number",
        "primary_key": "id",
    }
    moment = datetime.fromtimestamp(1767225600 + 12, UTC)
    rows = read(source(api, keys), "rows", **since("at", moment))
    assert sorted(row["id"] for row in rows) == list(range(12, 21))
    assert len(api.requests) == 2


def test_values_are_exact(api: ApiServer) -> None:
    numbers = ["12345678901234567890.123456", "0.10", "18446744073709551617", "-7", "1e2"]
    api.routes["GET /rows"] = lambda _: (
        [
            {"id": n, "v": Number(text), "o": {"deep": [Number("1.10")]}}
            for n, text in enumerate(numbers[:2])
        ]
        + [{"id": 3, "big": Number(numbers[2]), "at_ms": 1767225600123}]
    )
    rows = read(source(api, {"types": {"at_ms": "epoch_ms"}}), "rows")
    assert [str(row["v"]) for row in rows[:2]] == ["12345678901234567890.123456", "0.100000"]
    assert str(rows[2]["big"]) == "18446744073709551617"
    assert rows[0]["o"] == '{"deep":[1.10]}'
    assert rows[2]["at_ms"] == datetime(2026, 1, 1, 0, 0, 0, 123_000, tzinfo=UTC)


def test_a_graphql_query_has_its_own_braces(api: ApiServer) -> None:
    def connection(request: ApiRequest) -> Any:
        after = request.json["variables"].get("after")
        assert request.json["query"] == "query($after:String){rows{nodes{id}pageInfo{cursor}}}"
        page = {"hasNextPage": after is None, "endCursor": "c1"}
        return {"data": {"rows": {"nodes": [{"id": 1 if after is None else 2}], "pageInfo": page}}}

    api.routes["POST /graphql"] = connection
    keys = {
        "path": "graphql",
        "graphql": "query($after:String){rows{nodes{id}pageInfo{cursor}}}",
        "records": "data.rows.nodes",
        "paginator": {
            "type": "cursor",
            "next": "data.rows.pageInfo.endCursor",
            "has_more": "data.rows.pageInfo.hasNextPage",
            "param": "variables.after",
            "in": "body",
        },
    }
    assert read(source(api, keys), "rows") == [{"id": 1}, {"id": 2}]


def test_children_are_read_for_each_parent(api: ApiServer) -> None:
    api.routes |= {
        "GET /teams": lambda r: [{"id": "a/b"}, {"id": "ü"}] if r.query["page"] == "1" else [],
        r"GET /teams/([^/]+)/users": lambda r: [{"id": 1, "of": r.parts[0]}],
        r"GET /teams/([^/]+)/users/(\d+)/keys": lambda r: (
            Reply({}, 404) if r.parts[0] == "ü" else [{"key": f"{r.parts[0]}-{r.parts[1]}"}]
        ),
    }
    resources = {
        "teams": {"path": "teams", "paginator": "page_number"},
        "users": {
            "path": "teams/{parent.id}/users",
            "parent": {"resource": "teams", "fields": {"team": "id"}},
        },
        "keys": {
            "path": "teams/{parent.of}/users/{parent.id}/keys",
            "parent": {"resource": "users", "fields": {"user": "id"}, "empty_on": [404]},
        },
    }
    own = rest_source(api, resources)
    users = sorted(read(own, "users"), key=lambda row: row["team"])
    assert users == [{"id": 1, "of": team, "team": team} for team in ("a/b", "ü")]
    assert read(own, "keys") == [{"key": "a/b-1", "user": 1}]


def test_seconds_since_1970_are_a_number_in_a_body(api: ApiServer) -> None:
    keys = {
        "body": {"query": {"field": "at", "operator": ">", "value": "{cursor}"}},
        "cursor_field": "at",
        "cursor_format": "epoch",
        "cursor_initial": 0,
    }
    own = source(api, keys)
    read(own, "rows")
    read(own, "rows", **since("at", datetime(2026, 1, 3, tzinfo=UTC)))
    assert [r.json["query"]["value"] for r in api.requests] == [0, 1767398400]


def test_a_joined_parent_is_one_list_of_all_its_values(api: ApiServer) -> None:
    api.routes |= {
        "GET /fields": lambda r: [{"name": "a"}, {"name": "b"}] if r.query["page"] == "1" else [],
        "GET /people": lambda r: [{"id": 1, "asked": r.query["fields"]}],
    }
    resources = {
        "fields": {"path": "fields", "paginator": "page_number", "hidden": True},
        "people": {
            "path": "people",
            "params": {"fields": "{parent.name}"},
            "parent": {"resource": "fields", "join": True},
        },
    }
    own = rest_source(api, resources)
    assert [stream.name for stream in own.discover()] == ["people"]
    assert read(own, "people") == [{"id": 1, "asked": "a,b"}]


def test_a_path_keeps_the_slashes_that_it_is_to_keep(api: ApiServer) -> None:
    api.routes[r"GET /(orgs/a%20b)/rows"] = lambda r: [{"id": 1, "of": r.parts[0]}]
    resources = {
        "roots": {"items": ["orgs/a b"]},
        "rows": {"path": "{+parent.value}/rows", "parent": "roots"},
    }
    own = rest_source(api, resources)
    own.check()
    assert read(own, "rows") == [{"id": 1, "of": "orgs/a b"}]


def test_a_source_whose_lists_all_have_parents_is_checked(api: ApiServer) -> None:
    api.before = lambda _: Reply({"message": "Bad credentials"}, 401)
    resources = {"roots": {"items": ["a"]}, "rows": {"path": "{parent.value}", "parent": "roots"}}
    with pytest.raises(ConnectError, match="Bad credentials"):
        rest_source(api, resources).check()


def test_a_cursor_goes_no_further_than_the_beginning_of_the_read(api: ApiServer) -> None:
    """A record that is changed behind the reader's back has a time after that."""
    own = source(api, {"cursor_field": "at"})
    stream = own.discover()[0]
    before = datetime.now(UTC)
    request = ReadRequest(stream, stream.columns, cursor_field="at")
    with own.read(request) as chunks:
        later = Cursor(CursorType.TIMESTAMPTZ, before + timedelta(minutes=5))
        earlier = Cursor(CursorType.TIMESTAMPTZ, before - timedelta(minutes=5))
        safe = chunks.safe_cursor(later).value
        assert before - timedelta(seconds=5) < safe <= datetime.now(UTC)
        assert chunks.safe_cursor(earlier) == earlier
        assert chunks.safe_cursor(None) is None


def test_a_field_may_come_from_within_the_record(api: ApiServer) -> None:
    api.routes["GET /rows"] = lambda _: [{"user": {"id": 7}}, {"user": None}]
    rows = read(source(api, {"fields": {"user_id": "user.id"}}), "rows")
    assert [row["user_id"] for row in rows] == [7, None]


def test_a_resource_has_a_rate_of_its_own(api: ApiServer) -> None:
    api.routes["GET /rows"] = lambda r: [{"n": r.query["page"]}] if r.query["page"] != "3" else []
    started = time.monotonic()
    read(source(api, {"paginator": {"type": "page_number"}, "rate": "2/s"}), "rows")
    assert time.monotonic() - started > 0.9


def test_a_page_of_a_proxy_does_not_say_that_a_parent_is_empty(api: ApiServer) -> None:
    """Rows would leave the lake: only the API's own answer says that there are none."""
    api.routes |= {"GET /teams": lambda _: [{"id": 1}], "GET /teams/1/users": lambda _: gone}
    users = {"path": "teams/{parent.id}/users", "parent": {"resource": "teams", "empty_on": [404]}}
    own = rest_source(api, {"teams": {"path": "teams"}, "users": {**users, "primary_key": "id"}})
    gone = Reply({"message": "Not Found"}, 404)
    assert read(own, "users") == []
    gone = Reply(b"<html><h1>404 Not Found</h1>", 404, {"Content-Type": "text/html"})
    with pytest.raises(ReadError, match=r"there is nothing at /teams/1/users \(status 404\)"):
        read(own, "users")


def test_a_token_server_that_is_not_there_is_named(api: ApiServer) -> None:
    ids = {"client_id": "id-1", "client_secret": "hush-1"}
    url = "http://127.0.0.1:9/token"
    error = refusal(api, auth={"type": "oauth_client_credentials", "token_url": url, **ids})
    assert error.message.startswith("http://127.0.0.1:9: nothing listens there. Check token_url")


def test_a_clients_secret_is_encoded_in_a_header(api: ApiServer) -> None:
    """RFC 6749, section 2.3.1."""
    tokens = TokenServer(api)
    auth = {**tokens.auth(client_auth="basic"), "client_secret": "a+b:%"}
    read(source(api, auth=auth), "rows")
    pair = base64.b64encode(b"id-1:a%2Bb%3A%25").decode()
    assert api.requests[0].headers["Authorization"] == f"Basic {pair}"


def test_the_rate_is_kept(api: ApiServer) -> None:
    api.routes["GET /rows"] = lambda r: [{"n": r.query["page"]}] if r.query["page"] != "12" else []
    started = time.monotonic()
    read(source(api, {"paginator": {"type": "page_number", "size": 1}}, rate="10/s"), "rows")
    assert time.monotonic() - started > 1.0
