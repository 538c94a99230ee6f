"""Which streams a restricted key may not read: each list is asked for one object.

https://docs.stripe.com/keys#limit-access: only restricted keys (`rk_…`) lack permissions.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cdpsync.errors import ReadError
from cdpsync_connectors.stripe.errors import ForbiddenError
from cdpsync_connectors.stripe.pages import parse_list
from cdpsync_connectors.stripe.streams import STREAMS

if TYPE_CHECKING:
    from cdpsync_connectors.stripe.client import Client
    from cdpsync_connectors.stripe.stream import StripeStream


def forbidden_streams(client: Client, threads: int) -> dict[str, str]:
    """Return the message of each stream that Stripe says the key may not read, by its name.

    A list of a parent's objects is forbidden where the parents are: itself it cannot be asked for.
    Any other error says nothing of the permission, so the read of the stream reports it.
    """

    def message_of(stream: StripeStream) -> str | None:
        where = f"stream {stream.name}: {stream.path}"
        try:
            answer = client.get(stream.path, {"limit": 1}, where=where, is_stopped=lambda: False)
            parse_list(answer.body, where)
        except ForbiddenError as error:
            return error.message
        except ReadError:
            return None
        return None

    lists = [s for s in STREAMS.values() if not (s.is_per_parent or s.is_single)]
    with ThreadPoolExecutor(threads, thread_name_prefix="stripe-permissions") as pool:
        messages = dict(zip((s.name for s in lists), pool.map(message_of, lists), strict=True))
    for stream in STREAMS.values():
        if stream.is_per_parent:
            messages[stream.name] = messages[stream.parent or ""]
    return {name: message for name, message in messages.items() if message is not None}
