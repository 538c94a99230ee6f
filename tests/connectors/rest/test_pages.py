"""Each way of paging gives each record once, ends where the API does, and never for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.api_reading import notices_of, read, rest_source
from support.api_server import ApiRequest, ApiServer, Reply, serving

from cdpsync.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COUNT, SIZE = 23, 5
ROWS = [{"id": number, "name": f"row {number}"} for number in range(COUNT)]


def slice_at(start: int) -> list[dict[str, Any]]:
    return ROWS[start : start + SIZE]


def by_page(request: ApiRequest) -> Any:
    return {"items": slice_at((int(request.query["page"]) - 1) * SIZE)}


def by_page_from_0_with_pages(request: ApiRequest) -> Any:
    page = int(request.query["p"])
    assert request.query["size"] == "5"
    return {"items": slice_at(page * SIZE), "meta": {"pages": 5, "total": COUNT}}


def by_offset(request: ApiRequest) -> Any:
    assert request.query["limit"] == "100"  # capped by the API, as many do
    return {"items": slice_at(int(request.query["offset"]))}


def by_offset_with_total(request: ApiRequest) -> Any:
    return {"items": slice_at(int(request.query["offset"])), "total": COUNT}


def by_token(request: ApiRequest) -> Any:
    start = int(request.query.get("after", "0"))
    following = str(start + SIZE) if start + SIZE < COUNT else None
    return {"items": slice_at(start), "paging": {"next": {"after": following}}}


def by_token_and_has_more(request: ApiRequest) -> Any:
    start = int(request.json.get("page", {}).get("after", "0"))
    return {
        "items": slice_at(start),
        "end": str(start + SIZE),
        "more": start + SIZE < COUNT,
    }


def by_token_until_end(request: ApiRequest) -> Any:
    start = int(request.query.get("cursor", "0"))
    is_end = start + SIZE >= COUNT
    return {"items": slice_at(start), "after": str(start + SIZE), "end_of_stream": is_end}


def by_link_until_end(request: ApiRequest) -> Any:
    answer = by_token_until_end(request)
    return {**answer, "next_page": f"/rows?cursor={answer['after']}"}


def by_link_and_has_more(request: ApiRequest) -> Any:
    answer = by_link_until_end(request)
    links = {"next": answer["next_page"]}
    return {**answer, "next_page": None, "links": links, "more": not answer["end_of_stream"]}


def by_scroll() -> Callable[[ApiRequest], Any]:
    """Return a scroll: its token stays the same, and the server knows where it is."""
    state = {"at": 0}

    def scroll(request: ApiRequest) -> Any:
        state["at"] = state["at"] + SIZE if request.query.get("scroll") == "abc" else 0
        return {"items": slice_at(state["at"]), "scroll_param": "abc"}

    return scroll


def by_last_record(request: ApiRequest) -> Any:
    start = int(request.query.get("starting_after", "-1")) + 1
    return {"items": slice_at(start), "has_more": start + SIZE < COUNT}


def by_link_in_json(request: ApiRequest) -> Any:
    start = int(request.query.get("start", "0"))
    link = f"/rows?start={start + SIZE}&x=a%2Bb" if start + SIZE < COUNT else None
    return {"items": slice_at(start), "links": {"next": link}}


def by_link_on_each_page(request: ApiRequest) -> Any:
    start = int(request.query.get("start", "0"))
    link = f"/rows?start={start + SIZE}"  # on the last page, too
    paging = {"next": link, "has_more": start + SIZE < COUNT}
    return {"items": slice_at(start), "meta": paging}


def by_header(request: ApiRequest) -> Any:
    start = int(request.query.get("start", "0"))
    link = f'</rows?start={start + SIZE}>; rel="next", </rows>; rel="first"'
    headers = {"Link": link} if start + SIZE < COUNT else {"Link": '</rows>; rel="first"'}
    return Reply({"items": slice_at(start)}, headers=headers)


KINDS: dict[str, tuple[Callable[[ApiRequest], Any], dict[str, Any]]] = {
    "page": (by_page, {"paginator": "page_number"}),
    "pages": (
        by_page_from_0_with_pages,
        {
            "paginator": {
                "type": "page_number",
                "param": "p",
                "start": 0,
                "size_param": "size",
                "size": 5,
                "pages": "meta.pages",
                "count": "meta.total",
            }
        },
    ),
    "offset": (by_offset, {"paginator": "offset"}),
    "offset and total": (by_offset_with_total, {"paginator": {"type": "offset", "count": "total"}}),
    "token": (
        by_token,
        {"paginator": {"type": "cursor", "next": "paging.next.after", "param": "after"}},
    ),
    "token in the body": (
        by_token_and_has_more,
        {
            "method": "POST",
            "body": {"page": {"size": 5}},
            "paginator": {
                "type": "cursor",
                "next": "end",
                "param": "page.after",
                "in": "body",
                "has_more": "more",
            },
        },
    ),
    "token until an end": (
        by_token_until_end,
        {
            "paginator": {
                "type": "cursor",
                "next": "after",
                "param": "cursor",
                "end": "end_of_stream",
            }
        },
    ),
    "link until an end": (
        by_link_until_end,
        {"paginator": {"type": "json_link", "next": "next_page", "end": "end_of_stream"}},
    ),
    "link and has_more": (
        by_link_and_has_more,
        {"paginator": {"type": "json_link", "next": "links.next", "has_more": "more"}},
    ),
    "scroll": (
        by_scroll(),
        {
            "paginator": {
                "type": "cursor",
                "next": "scroll_param",
                "param": "scroll",
                "until_empty": True,
            }
        },
    ),
    "last record": (
        by_last_record,
        {"paginator": {"type": "last_record", "param": "starting_after", "has_more": "has_more"}},
    ),
    "link in the answer": (
        by_link_in_json,
        {"paginator": {"type": "json_link", "next": "links.next"}},
    ),
    "link in the answer and has_more": (
        by_link_on_each_page,
        {"paginator": {"type": "json_link", "next": "meta.next", "has_more": "meta.has_more"}},
    ),
    "link in the header": (by_header, {"paginator": "header_link"}),
    "link in the header, found": (by_header, {}),
}


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with serving(ApiServer({})) as server:
        yield server


def resource(**keys: Any) -> dict[str, Any]:
    return {"rows": {"path": "rows", "records": "items", "primary_key": "id", **keys}}


@pytest.mark.parametrize("kind", KINDS)
def test_each_record_comes_once(api: ApiServer, kind: str) -> None:
    handler, keys = KINDS[kind]
    api.routes |= {"GET /rows": handler, "POST /rows": handler}
    source = rest_source(api, resource(**keys))
    assert read(source, "rows") == ROWS


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_ends_the_paging(api: ApiServer, kind: str) -> None:
    handler, keys = KINDS[kind]
    api.routes |= {"GET /rows": handler, "POST /rows": handler}
    read(rest_source(api, resource(**keys)), "rows", limit=7)
    assert len(api.requests) == 2


def refusal(api: ApiServer, handler: Callable[[ApiRequest], Any], **keys: Any) -> str:
    api.routes["GET /rows"] = handler
    with pytest.raises(ReadError) as raised:
        read(rest_source(api, resource(**keys)), "rows")
    return raised.value.message


def test_an_api_that_ignores_the_page_is_not_read_for_ever(api: ApiServer) -> None:
    message = refusal(api, lambda _: {"items": slice_at(0)}, paginator="page_number")
    assert "page 2 is the same as the page before it" in message
    assert len(api.requests) == 2


def test_pages_that_come_round_are_not_read_for_ever(api: ApiServer) -> None:
    def round_and_round(request: ApiRequest) -> Any:
        return {"items": slice_at((int(request.query["page"]) - 1) % 3 * SIZE), "now": request.path}

    message = refusal(api, round_and_round, paginator="page_number")
    assert "each record of page 4 came before" in message


def test_a_token_that_stays_is_told(api: ApiServer) -> None:
    def stays(request: ApiRequest) -> Any:
        return {"items": slice_at(len(api.requests)), "next": "x"}

    message = refusal(api, stays, paginator={"type": "cursor", "next": "next", "param": "after"})
    assert "names itself as the next page" in message


def test_more_pages_without_a_paginator_are_refused(api: ApiServer) -> None:
    message = refusal(api, lambda _: {"items": slice_at(0), "meta": {"next_cursor": "abc"}})
    assert "says that more follow (meta.next_cursor)" in message
    assert "Set a paginator" in message


def test_a_paginator_that_looks_in_the_wrong_place_is_refused(api: ApiServer) -> None:
    message = refusal(
        api,
        lambda _: {"items": slice_at(0), "has_more": True, "next_page": 2},
        paginator={"type": "cursor", "next": "nxt_page", "param": "page"},
    )
    assert "says that more follow (next_page)" in message


def test_a_has_more_that_is_nowhere_does_not_end_the_list(api: ApiServer) -> None:
    paginator = {"type": "json_link", "next": "meta.next", "has_more": "meta.hasMore"}
    message = refusal(api, by_link_on_each_page, paginator=paginator)
    assert "says that more follow (meta.next)" in message


def test_a_link_that_is_missing_where_more_follow_is_told(api: ApiServer) -> None:
    paginator = {"type": "json_link", "next": "next", "has_more": "more"}
    message = refusal(api, lambda _: {"items": slice_at(0), "more": True}, paginator=paginator)
    assert "more records follow page 1, but its answer has no address at next" in message


def test_a_single_page_is_what_its_user_says(api: ApiServer) -> None:
    api.routes["GET /rows"] = lambda _: {"items": slice_at(0), "has_more": True}
    assert read(rest_source(api, resource(paginator="single_page")), "rows") == slice_at(0)


def test_a_list_that_is_shorter_than_its_count_is_not_taken(api: ApiServer) -> None:
    def short(request: ApiRequest) -> Any:
        rows = slice_at(int(request.query["offset"])) if len(api.requests) < 3 else []
        return {"items": rows, "total": COUNT}

    message = refusal(api, short, paginator={"type": "offset", "count": "total"})
    assert "there are 23 records, and 10 came" in message


def test_a_record_that_moved_to_the_next_page_is_kept_once(api: ApiServer) -> None:
    rows = list(ROWS)

    def growing(request: ApiRequest) -> Any:
        start = (int(request.query["page"]) - 1) * SIZE
        if start == 10:
            rows.insert(0, {"id": -1, "name": "new"})
        return {"items": rows[start : start + SIZE]}

    api.routes["GET /rows"] = growing
    source = rest_source(api, resource(paginator="page_number"))
    notices = notices_of(source, "rows")
    assert notices == [
        "1 records came twice, because the list changed while it was read; each was kept once."
    ]
    rows[:] = ROWS
    assert [row["id"] for row in read(source, "rows")] == [row["id"] for row in ROWS]


def test_a_next_page_at_another_server_is_refused(api: ApiServer) -> None:
    message = refusal(
        api,
        lambda _: {"items": slice_at(0), "next": "https://evil.example/rows"},
        paginator="json_link",
    )
    assert "https://evil.example, another server than" in message
    assert len(api.requests) == 1


def test_a_list_that_may_repeat_records_keeps_the_first(api: ApiServer) -> None:
    def overlapping(request: ApiRequest) -> Any:
        start = int(request.query.get("start", "0"))
        link = f"/rows?start={start + SIZE - 1}"
        return {"items": slice_at(start), "next": link, "end": start + SIZE >= COUNT}

    api.routes["GET /rows"] = overlapping
    paginator = {"type": "json_link", "next": "next", "end": "end"}
    source = rest_source(api, resource(paginator=paginator, may_repeat=True))
    assert read(source, "rows") == ROWS


@pytest.mark.parametrize("status", [500, 429])
def test_a_page_of_a_scroll_is_not_asked_for_twice(api: ApiServer, status: int) -> None:
    """A server that answered, and whose answer was lost, would give the page after it."""
    api.routes["GET /rows"] = by_scroll()
    api.before = lambda _: (
        Reply({}, status, {"Retry-After": "0"}) if len(api.requests) == 3 else None
    )
    paginator = {"type": "cursor", "next": "scroll_param", "param": "scroll", "until_empty": True}
    source = rest_source(api, resource(paginator=paginator))
    if status == 429:  # nothing was read
        assert read(source, "rows") == ROWS
        return
    with pytest.raises(ReadError) as raised:
        read(source, "rows")
    assert raised.value.retryable
    assert len(api.requests) == 3


@pytest.mark.parametrize(
    "keys",
    [
        {"type": "json_link", "next": "url", "end": "end"},
        {"type": "json_link", "next": "url", "has_more": "more"},
        {"type": "cursor", "next": "url", "param": "after", "end": "end"},
        {"type": "cursor", "next": "url", "param": "after", "has_more": "more"},
        {"type": "cursor", "next": "url", "param": "after", "until_empty": True},
    ],
)
def test_a_list_that_goes_on_nowhere_is_refused(api: ApiServer, keys: dict[str, Any]) -> None:
    answer = {"items": slice_at(0), "url": None, "end": False, "more": True}
    message = refusal(api, lambda _: answer, paginator=keys)
    assert "more records follow page 1, but its answer has no" in message


def test_a_missing_end_does_not_hide_that_more_follow(api: ApiServer) -> None:
    paginator = {"type": "cursor", "next": "x", "param": "after", "end": "nd"}
    message = refusal(
        api, lambda _: {"items": slice_at(0), "end": False, "has_more": True}, paginator=paginator
    )
    assert "says that more follow (has_more)" in message
