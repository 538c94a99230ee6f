"""Reads a stream of every account that is connected to a platform, with the account as a column.

https://docs.stripe.com/connect/authentication: a request is made for the account that its header
`Stripe-Account` names. Each account has its own lists and events.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cdpsync_connectors.stripe.changes import LATE_EVENTS
from cdpsync_connectors.stripe.pages import ListReader, parse_list, second_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cdpsync_connectors.stripe.client import Client

AT_ONCE = 8
"""Accounts that are read at once. Most have less than a page of a stream."""

_PATH = "/v1/accounts"


def read_accounts(
    lists: ListReader,
    low: int | None,
    read_one: Callable[[ListReader, str, bool], datetime | None],
) -> datetime:
    """Call `read_one` for each account; return the time from which the next read must begin.

    `lists` are those of the platform. `read_one` gets the account's own, its id, and whether it may
    have been connected since `low`: its objects are older then, so all of it must be read. The time
    is the earliest that any account needs.
    """
    start = _server_time(lists.client, lists) - LATE_EVENTS
    times = [start.replace(microsecond=0)]

    def read(account: tuple[str, int | None]) -> None:
        id_, connected_at = account
        is_new = low is not None and (connected_at is None or connected_at >= low)
        own = ListReader(
            lists.client.for_account(id_), lists.stream, lists.stop_requested, lists.failed
        )
        time = read_one(own, id_, is_new)
        if time is not None:
            times.append(time)

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="stripe-accounts") as pool:
        try:
            for _ in pool.map(read, _connected_accounts(lists)):
                pass
        except BaseException:
            lists.failed.set()
            raise
    return min(times)


def _connected_accounts(lists: ListReader) -> list[tuple[str, int | None]]:
    """Return each connected account, and the second when it was connected, if that is known."""
    where = lists.where(_PATH)
    return [
        (
            text_of(fields, "id", where),
            second_of(fields, "created", where) if "created" in fields else None,
        )
        for page in lists.pages(_PATH, {})
        for fields in page
    ]


def _server_time(client: Client, lists: ListReader) -> datetime:
    where = lists.where(_PATH)
    response = client.get(_PATH, {"limit": 1}, where=where, is_stopped=lists.is_stopped)
    parse_list(response.body, where)  # because a proxy has a clock, too
    return response.server_time(client.address).astimezone(UTC)
