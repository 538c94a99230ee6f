"""`cdpsync send`: the changes of a lake's table reach a real receiver, once, in order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.sending import Sending, sending

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODY = {"order": "{{ id }}", "status": "{{ status }}", "was": "{{ old.status }}"}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Sending]:
    """A project whose orders have been loaded and whose destination has started."""
    with sending(tmp_path) as project:
        project.configure(body=BODY)
        project.cdpsync("run")
        yield project


def test_first_send_starts_here(shop: Sending) -> None:
    """The first send notes its position and says so; only what changes later is sent."""
    assert shop.bodies() == []
    (line,) = shop.json("destinations", "list")
    assert (line["status"], line["state"], line["behind_rows"]) == ("ok", "healthy", 0)
    assert "it starts here: nothing was sent" in line["notices"][0]


def test_changes_are_sent_once(shop: Sending) -> None:
    """`run` sends after its commits: what was inserted and updated since the last send."""
    shop.put((2, "bob", "paid", "20.00"), (4, "joe", "new", "1.00"))
    run = shop.json("run")
    assert run["status"] == "ok"
    (delivery,) = run["destinations"]
    assert (delivery["triggered"], delivery["succeeded"], delivery["sent"]) == (2, 2, 2)
    assert sorted(shop.bodies(), key=lambda body: body["order"]) == [
        {"order": 2, "status": "paid", "was": "new"},
        {"order": 4, "status": "new", "was": None},
    ]
    shop.cdpsync("run")
    shop.cdpsync("send")
    shop.cdpsync("maintain")
    shop.cdpsync("send")
    assert len(shop.bodies()) == 2


def test_no_send_leaves_the_changes_to_the_next_send(shop: Sending) -> None:
    """`run --no-send` sends nothing; `send` has it all, as one net change a key."""
    shop.put((1, "ada", "paid", "10.10"))
    assert "destinations" not in shop.json("run", "--no-send")
    shop.put((1, "ada", "sent", "10.10"))
    shop.cdpsync("run", "--no-send")
    (line,) = shop.json("destinations", "list")
    assert line["behind_rows"] > 0
    shop.cdpsync("send", "hook")
    assert shop.bodies() == [{"order": 1, "status": "sent", "was": "new"}]


def test_backfill_sends_every_row(shop: Sending) -> None:
    """Each row once, as an insert; afterwards changes go on as before."""
    result = shop.json("send", "hook", "--backfill", "-y")
    assert result["destinations"][0]["succeeded"] == 3
    assert [body["was"] for body in shop.bodies()] == [None] * 3
    shop.put((1, "ada", "paid", "10.10"))
    shop.cdpsync("run")
    assert shop.bodies()[3:] == [{"order": 1, "status": "paid", "was": "new"}]


def test_what_fails_is_held_and_sent_by_the_next_send(shop: Sending) -> None:
    """A receiver that is down costs nothing: the newest row of each key is sent once it is up."""
    shop.configure(body=BODY, retry={"attempts": 1})
    shop.receiver.script(statuses=[503])
    shop.put((1, "ada", "paid", "10.10"), (2, "bob", "paid", "20.00"))
    run = shop.run("run")
    assert run.returncode == 3
    assert "2 changes held (503" in run.stderr
    shop.put((1, "ada", "sent", "10.10"))
    assert shop.json("run", code=3)["destinations"][0]["held"] == 2
    (line,) = [row for row in shop.json("status") if row.get("destination")]
    assert (line["held"], line["behind_rows"], line["status"]) == (2, 2, "failed")
    shop.receiver.script(statuses=[200])
    shop.cdpsync("send")
    assert sorted(shop.bodies(), key=lambda body: body["order"]) == [
        {"order": 1, "status": "sent", "was": "new"},
        {"order": 2, "status": "paid", "was": "new"},
    ]
    assert shop.json("destinations", "list")[0]["held"] == 0


def test_a_refused_change_is_a_dead_letter(shop: Sending) -> None:
    """With the answer; it is shown, sent again, and dropped."""
    shop.receiver.script(refuses={'"order":2,': 400}, bodies={})
    shop.put((1, "ada", "paid", "10.10"), (2, "bob", "paid", "20.00"))
    run = shop.run("run")
    assert run.returncode == 0
    assert "1 dead letter: cdpsync dead show hook" in run.stderr
    (letter,) = shop.json("dead", "show", "hook")
    assert (letter["key"], letter["status"], letter["attempts"]) == (["2"], 400, 1)
    assert json.loads(letter["body"]) == {"order": 2, "status": "paid", "was": "new"}
    assert shop.query("select count(*) as n from cdpsync.dead_letters") == [{"n": 1}]
    shop.receiver.script(statuses=[200])
    shop.put((2, "bob", "sent", "20.00"))
    shop.cdpsync("run", "--no-send")
    shop.cdpsync("dead", "replay", "hook", "--where", "status = 400")
    assert shop.bodies()[-1]["status"] == "sent"
    assert shop.json("dead", "show") == []
    shop.receiver.script(refuses={"order": 400})
    shop.put((3, "eve", "sent", "5"))
    shop.cdpsync("run")
    shop.cdpsync("dead", "drop", "hook", code=2)
    shop.cdpsync("dead", "drop", "hook", "-y")
    assert shop.json("dead", "show") == []


def test_conditions_deletes_and_exits(shop: Sending) -> None:
    """`where` sees the old row; a delete has its own request; leaving `where` is one, if wanted."""
    url = f"{shop.receiver.url}/paid/{{{{ id }}}}"
    hook = {
        "type": "webhook",
        "from": "shop.orders",
        "url": url,
        "on": ["insert", "update", "delete"],
        "on_exit": "delete",
        "where": "status = 'paid'",
        "body": {"change": "{{ change }}"},
        "delete": {"method": "DELETE"},
    }
    shop.configure({"hook": hook})
    shop.cdpsync("send", "--from", "now")
    shop.put((1, "ada", "paid", "10.10"), (2, "bob", "open", "20.00"), (3, "eve", "refunded", "5"))
    shop.cdpsync("run")
    requests = {request["path"]: request["method"] for request in shop.receiver.requests()}
    assert requests == {"/paid/1": "POST", "/paid/3": "DELETE"}
    shop.remove(1, 2)
    shop.cdpsync("run")
    new = [(request["method"], request["path"]) for request in shop.receiver.requests()[2:]]
    assert new == [("DELETE", "/paid/1")]


def test_a_query_is_sent_where_its_rows_differ(shop: Sending) -> None:
    """Reverse ETL: rows of a query, told apart by their key, compared with what was delivered."""
    hook = {
        "type": "webhook",
        "sql": "select customer, sum(total) as total from shop.orders group by all",
        "key": "customer",
        "url": f"{shop.receiver.url}/customers",
        "body": {"who": "{{ customer }}", "total": "{{ total }}", "was": "{{ old.total }}"},
        "start": "all",
    }
    shop.configure({"value": hook})
    shop.cdpsync("send")
    assert sorted(body["who"] for body in shop.bodies()) == ["ada", "bob", "eve"]
    shop.put((9, "ada", "new", "1.01"))
    shop.cdpsync("run")
    shop.cdpsync("run")
    assert shop.bodies()[3:] == [{"who": "ada", "total": 11.11, "was": 10.1}]


def test_one_destination_does_not_stop_the_others(shop: Sending) -> None:
    """A typo in one is told with its line; a missing secret likewise; the third gets its change."""
    good = {"type": "webhook", "from": "shop.orders", "url": shop.receiver.url}
    shop.configure(
        {
            "typo": good | {"body": {"a": "{{ costumer }}"}},
            "secret": good | {"headers": {"X-Key": "${NO_SUCH_KEY}"}},
            "good": good | {"body": {"a": "{{ customer }}"}},
        }
    )
    shop.cdpsync("send", "--from", "now", code=3)
    shop.put((1, "ada", "paid", "10.10"))
    run = shop.run("run")
    assert run.returncode == 3
    assert shop.bodies() == [{"a": "ada"}]
    assert "NO_SUCH_KEY is not set" in run.stderr
    assert "cdpsync.yml:" in run.stderr
    assert "customer" in run.stderr


def test_exit_codes_and_selection(shop: Sending) -> None:
    """1: all failed; 2: no such destination, or flags that exclude each other."""
    assert 'Did you mean "hook"?' in shop.run("send", "hok").stderr
    shop.cdpsync("send", "hok", code=2)
    shop.cdpsync("send", "--dry-run", "--test", code=2)
    shop.receiver.script(statuses=[401])
    shop.put(*((i, "x", "paid", "1") for i in range(1, 9)))
    shop.cdpsync("run", "--no-send")
    failed = shop.run("send")
    assert failed.returncode == 1
    assert "credentials were refused" in failed.stderr
    assert shop.json("destinations", "list")[0]["held"] == 8


def test_requests_are_shown_and_tried(shop: Sending) -> None:
    """`--dry-run` renders and `--test` sends one real row; neither moves the position."""
    shop.environment = {"HOOK_TOKEN": "sesame-seeds-123"}
    shop.configure(body=BODY, headers={"Authorization": "Bearer ${HOOK_TOKEN}"})
    shop.put((2, "bob", "paid", "20.00"))
    shop.cdpsync("run", "--no-send")
    (request,) = shop.json("send", "hook", "--dry-run")
    assert json.loads(request["body"]) == {"order": 2, "status": "paid", "was": "new"}
    assert request["headers"]["Authorization"] == "Bearer ***"
    assert shop.bodies() == []
    tried = shop.json("send", "hook", "--test", "--row", "id = 3")[0]
    assert (tried["status"], tried["error"]) == (200, None)
    assert shop.bodies()[0]["order"] == 3
    assert shop.receiver.requests()[0]["headers"]["authorization"] == "Bearer sesame-seeds-123"
    shop.cdpsync("send")
    assert [body["order"] for body in shop.bodies()] == [3, 2]
    assert "sesame" not in shop.cdpsync("send", "hook", "--test", "--row", "id = 3")


def test_a_destination_can_be_disabled(shop: Sending) -> None:
    """By hand; its changes are kept, and are sent when it is enabled."""
    shop.cdpsync("destinations", "disable", "hook")
    shop.put((2, "bob", "paid", "20.00"))
    assert shop.run("run").returncode == 3
    assert shop.json("destinations", "list")[0]["status"] == "disabled"
    shop.cdpsync("destinations", "enable", "hook")
    shop.cdpsync("send")
    assert [body["order"] for body in shop.bodies()] == [2]
