"""Changes that an endpoint did not take, and newer ones of the same key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.sending import Sending, sending

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODY = {"id": "{{ id }}", "change": "{{ change }}", "status": "{{ status }}"}
ALL = ["insert", "update", "delete"]
DELETE = {"method": "DELETE"}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Sending]:
    """A project whose destination has started, and whose receiver is down."""
    with sending(tmp_path) as project:
        yield project


def start(shop: Sending, **keys: Any) -> None:
    """Start a destination with these keys, and let its endpoint fail from then on."""
    retry = {"attempts": 1}
    shop.configure(**{"on": ALL, "delete": DELETE, "body": BODY, "retry": retry} | keys)
    shop.cdpsync("run")
    shop.receiver.script(statuses=[503])


def recovered(shop: Sending) -> list[tuple[str, str, Any]]:
    """Send by hand to an endpoint that works; return what it took: method, kind, id."""
    shop.receiver.script(statuses=[200])
    seen = len(shop.receiver.requests())
    shop.cdpsync("run", "--no-send")
    shop.cdpsync("send", "hook")
    shop.cdpsync("send", "hook")
    new = shop.receiver.requests()[seen:]
    bodies = [(request["method"], json.loads(request["body"])) for request in new]
    return [(method, body["change"], body["id"]) for method, body in bodies]


def test_an_insert_that_may_have_arrived_is_deleted(shop: Sending) -> None:
    """With and without a condition: the first attempt may have been carried out."""
    start(shop, where="status = 'paid'")
    shop.put((7, "joe", "paid", "1"))
    shop.cdpsync("run", code=3)
    shop.remove(7)
    assert recovered(shop) == [("DELETE", "delete", 7)]


def test_an_insert_that_never_left_is_forgotten_with_its_row(shop: Sending) -> None:
    """Neither it nor its deletion is sent."""
    start(shop)
    shop.put((7, "joe", "new", "1"), (8, "joe", "new", "1"))
    shop.cdpsync("run", "--no-send")
    shop.receiver.script(statuses=[200])
    shop.cdpsync("send", "--limit", "1")
    left = ({7, 8} - {body["id"] for body in shop.bodies()}).pop()
    shop.remove(left)
    assert recovered(shop) == []


def test_an_insert_that_was_replaced_before_it_arrived_stays_one_that_may_have(
    shop: Sending,
) -> None:
    """The second version resets the attempts, and not what is known of the first."""
    start(shop)
    shop.put((7, "joe", "new", "1"))
    shop.cdpsync("run", code=3)
    shop.put((7, "joe", "paid", "1"))
    shop.receiver.script(statuses=[401])
    shop.put(*((i, "x", "new", "1") for i in range(20, 26)))
    shop.cdpsync("run", code=3)
    shop.remove(7, *range(20, 26))
    deleted = {id_ for method, _, id_ in recovered(shop) if method == "DELETE"}
    assert 7 in deleted


def test_a_row_that_leaves_before_it_arrived_is_removed(shop: Sending) -> None:
    """`on_exit: delete`: the audience may have it already."""
    start(shop, where="status = 'paid'", on=["insert", "update"], on_exit="delete")
    shop.put((7, "joe", "paid", "1"))
    shop.cdpsync("run", code=3)
    shop.put((7, "joe", "refunded", "1"))
    assert recovered(shop) == [("DELETE", "delete", 7)]


def test_on_exit_adds_leaving_and_deletion_and_nothing_else(shop: Sending) -> None:
    """With `on: insert`, a row that stays in the condition is not sent again."""
    start(shop, where="status = 'paid'", on=["insert"], on_exit="delete")
    shop.receiver.script(statuses=[200])
    shop.put((7, "joe", "paid", "1"), (8, "joe", "paid", "1"), (9, "joe", "paid", "1"))
    shop.cdpsync("run")
    shop.put((7, "joe", "paid", "2"), (8, "joe", "gone", "1"))
    shop.remove(9)
    assert sorted(recovered(shop)) == [("DELETE", "delete", 8), ("DELETE", "delete", 9)]


def test_a_mask_lets_through_what_takes_the_place_of_a_held_change(shop: Sending) -> None:
    """The held one has passed; the newer one of its key is not the second in the window."""
    start(shop, mask={"by": "{{ customer }}", "every": "1h"})
    shop.put((1, "ada", "paid", "1"))
    shop.cdpsync("run", code=3)
    shop.put((1, "ada", "sent", "1"))
    assert recovered(shop) == [("POST", "update", 1)]


def test_each_change_is_sent_once_after_a_backfill(shop: Sending) -> None:
    """`changes: each`: a held insert and the backfilled one are the same event."""
    start(shop, changes="each")
    shop.put((7, "joe", "new", "1"))
    shop.cdpsync("run", code=3)
    for _ in range(2):
        result = shop.json("send", "--backfill", "-y", code=1)["destinations"][0]
        assert result["held"] == 4
    assert sorted(id_ for _, _, id_ in recovered(shop)) == [1, 2, 3, 7]


def test_held_changes_of_another_table_are_left_out(shop: Sending) -> None:
    """The destination is about something else now; the notice says how many."""
    start(shop)
    shop.put((1, "ada", "paid", "1"), (2, "bob", "paid", "1"))
    shop.cdpsync("run", code=3)
    query = {"type": "webhook", "sql": "select id, status from shop.orders", "key": "id"}
    shop.configure({"hook": query | {"url": shop.receiver.url, "body": BODY}})
    shop.receiver.script(statuses=[200])
    done = shop.run("send", "--from", "now")
    assert "2 held changes of its earlier table or query left out" in done.stderr
    shop.cdpsync("send")
    assert shop.bodies() == []
    assert shop.json("destinations", "list")[0]["held"] == 0


def test_a_query_without_its_copy_asks_where_to_go_on(shop: Sending) -> None:
    """Somebody has removed the folder: nothing is sent, least of all every row."""
    query = {"type": "webhook", "sql": "select id, status from shop.orders", "key": "id"}
    shop.configure({"hook": query | {"url": shop.receiver.url, "body": BODY}})
    shop.cdpsync("run")
    for file in (shop.folder / ".cdpsync" / "outbox" / "hook").iterdir():
        file.unlink()
    shop.put((1, "ada", "paid", "1"))
    done = shop.run("run")
    assert done.returncode == 3
    assert "what was delivered of its query is not known" in done.stderr
    assert "--from now" in done.stderr
    assert shop.bodies() == []


def test_a_copy_may_be_kept_later(shop: Sending) -> None:
    """`keep: true` on a table that is sent already: what changed since then is sent, not all."""
    start(shop)
    shop.receiver.script(statuses=[200])
    shop.configure(body=BODY, keep=True)
    shop.put((1, "ada", "paid", "1"))
    shop.cdpsync("run")
    shop.put((2, "bob", "paid", "20.00"))
    shop.cdpsync("run")
    assert [body["id"] for body in shop.bodies()] == [1, 2]


def test_a_time_after_the_last_change_is_kept(shop: Sending) -> None:
    """`--from` a time since which nothing has changed: what was left out stays left out."""
    start(shop)
    shop.put((1, "ada", "paid", "1"))
    shop.cdpsync("run", "--no-send")
    shop.receiver.script(statuses=[200])
    shop.cdpsync("send", "--from", "2999-01-01T00:00:00Z")
    shop.put((2, "bob", "paid", "1"))
    shop.cdpsync("run")
    assert [body["id"] for body in shop.bodies()] == [2]


def test_a_dead_deletion_is_sent_again(shop: Sending) -> None:
    """Its row is gone, so no condition is asked."""
    start(shop, where="total > 0")
    shop.receiver.script(statuses=[400])
    shop.remove(3)
    shop.cdpsync("run")
    shop.receiver.script(statuses=[200])
    shop.cdpsync("dead", "replay", "hook")
    assert [request["method"] for request in shop.receiver.requests()][-1] == "DELETE"
    assert shop.json("dead", "show") == []


def test_a_table_that_is_loaded_later_needs_no_word(shop: Sending) -> None:
    """The destination starts before its table is there; its key is known afterwards."""
    shop.configure(body=BODY)
    project = yaml.safe_load((shop.folder / "cdpsync.yml").read_text())
    project["destinations"]["hook"]["from"] = "shop.later"
    project["sources"]["shop"]["tables"]["later"] = {"primary_key": ["id"]}
    (shop.folder / "cdpsync.yml").write_text(yaml.safe_dump(project))
    shop.cdpsync("run", code=3)  # the stream is not there
    (shop.folder / "files" / "later.csv").write_text("id,status\n1,new\n")
    shop.cdpsync("run")
    assert [body["id"] for body in shop.bodies()] == [1]
    assert shop.json("destinations", "list")[0]["error"] is None
