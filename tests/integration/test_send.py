"""`cdpsync send`: the changes of a lake's table reach a real receiver, once, in order."""

from __future__ import annotations

import json
import re
import shlex
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from support.sending import Sending, sending

from cdpsync import project

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

DOCS = Path(__file__).resolve().parents[2] / "docs"
BODY = {"order": "{{ id }}", "status": "{{ status }}", "was": "{{ old.status }}"}


@contextmanager
def duckdb_of(shop: Sending) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the lake as a tool of somebody else does."""
    with project.catalog_of(project.load(shop.folder / "cdpsync.yml")).writer() as con:
        yield con


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
    assert shop.json("run")["destinations"][0]["held"] == 2
    assert len(shop.receiver.requests()) == 2  # it is too early
    (line,) = [row for row in shop.json("status") if row.get("destination")]
    assert (line["held"], line["behind_rows"], line["status"]) == (2, 3, "failed")
    shop.receiver.script(statuses=[200])
    shop.cdpsync("send", "hook")
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
    shop.cdpsync("send", "--backfill", "-y")
    assert sorted(body["who"] for body in shop.bodies()[4:]) == ["ada", "bob", "eve"]
    shop.cdpsync("send")
    assert len(shop.bodies()) == 7


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


def test_check_tells_what_is_wrong_and_sends_nothing(shop: Sending) -> None:
    """Each destination has a line; a wrong one its file, line and the nearest column."""
    good = {"type": "webhook", "from": "shop.orders", "url": shop.receiver.url}
    query = {"sql": "select custmer from shop.orders", "key": "customer"}
    shop.configure(
        {
            "good": good,
            "typo": good | {"body": {"a": "{{ costumer }}"}},
            "condition": good | {"where": "totl > 3"},
            "key": good | {"key": "nubmer"},
            "table": good | {"from": "shop.ordrs"},
            "gone": good | {"from": "shp.orders"},
            "query": {name: value for name, value in (good | query).items() if name != "from"},
        }
    )
    done = shop.run("check", "-o", "json")
    lines = {line["name"]: line for line in json.loads(done.stdout)}
    wrong = {name for name, line in lines.items() if not line["ok"]}
    assert wrong == {"typo", "condition", "key", "gone", "query"}
    assert lines["good"]["kind"] == "webhook"
    assert "cdpsync.yml:" in lines["typo"]["error"]["message"]
    assert "customer" in lines["typo"]["error"]["message"]
    assert "total" in lines["condition"]["error"]["message"]
    assert "no column" in lines["key"]["error"]["message"]
    assert shop.receiver.requests() == []


def test_a_destination_that_is_switched_off_is_left_out(shop: Sending) -> None:
    """`enabled: false` is no failure: the others are sent to, and the exit code is 0."""
    shop.configure(body=BODY, enabled=False)
    shop.put((1, "ada", "paid", "10.10"))
    shop.cdpsync("run")
    result = shop.json("send")["destinations"][0]
    assert (result["status"], result["state"]) == ("skipped", None)
    assert shop.json("destinations", "list")[0]["status"] == "disabled"
    shop.configure(body=BODY)
    shop.cdpsync("send")
    assert [body["order"] for body in shop.bodies()] == [1]


def test_an_error_is_in_the_history_until_it_is_mended(shop: Sending) -> None:
    """`status` is not green while nothing is sent, and is green again afterwards."""
    shop.configure(body={"a": "{{ custmer }}"})
    shop.put((1, "ada", "paid", "10.10"))
    shop.cdpsync("run", code=3)
    (line,) = shop.json("destinations", "list")
    assert line["status"] == "failed"
    assert "custmer" in line["error"]["message"]
    assert shop.query("select status from cdpsync.deliveries order by started_at desc limit 1") == [
        {"status": "failed"}
    ]
    shop.configure(body=BODY)
    shop.cdpsync("send", "--from", "now")
    shop.configure(url="ftp://example.com/x")
    shop.put((1, "ada", "sent", "10.10"))
    shop.cdpsync("run", code=3)
    shop.configure(body=BODY)
    shop.cdpsync("send")
    assert shop.json("destinations", "list")[0]["error"] is None


def test_a_typo_is_told_when_the_destination_starts(shop: Sending) -> None:
    """Not at the first change, which may come in a week."""
    good = {"type": "webhook", "from": "shop.orders", "url": shop.receiver.url}
    shop.configure({"new": good | {"body": {"a": "{{ custmer }}"}}})
    failed = shop.run("run")
    assert failed.returncode == 3
    assert "customer" in failed.stderr
    assert shop.json("destinations", "list")[0]["last_delivery_at"] is None


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


def test_an_expired_position_is_told_with_both_ways_on(shop: Sending) -> None:
    """It is stale until a person says where to go on; nothing is sent meanwhile."""
    shop.put((2, "bob", "paid", "20.00"))
    shop.cdpsync("run", "--no-send")
    with duckdb_of(shop) as con:
        con.execute("call ducklake_expire_snapshots('lake', older_than => now() + interval 1 hour)")
    failed = shop.run("send")
    assert failed.returncode == 1
    assert "cdpsync send hook --from now" in failed.stderr
    assert "--backfill" in failed.stderr
    assert shop.json("destinations", "list")[0]["state"] == "stale"
    assert shop.bodies() == []
    shop.cdpsync("send", "hook", "--from", "now")
    assert shop.json("destinations", "list")[0]["state"] == "healthy"
    shop.put((3, "eve", "sent", "5"))
    shop.cdpsync("run")
    assert [body["order"] for body in shop.bodies()] == [3]


def test_first_send_of_many_rows_is_confirmed(shop: Sending) -> None:
    """More than 10,000 rows are not sent for the first time unless somebody says so."""
    shop.put(*((i, "x", "new", "1") for i in range(1, 10_002)))
    shop.cdpsync("run", "--no-send")
    refused = shop.run("send", "--backfill")
    assert refused.returncode == 1
    assert "10,001 rows for the first time" in refused.stderr
    assert shop.bodies() == []


def test_limit_holds_the_rest(shop: Sending) -> None:
    """`--limit` sends so many changes; the next send has the others."""
    shop.put((1, "ada", "paid", "1"), (2, "bob", "paid", "2"), (3, "eve", "paid", "3"))
    shop.cdpsync("run", "--no-send")
    result = shop.json("send", "--limit", "1")["destinations"][0]
    assert (result["succeeded"], result["held"], result["status"]) == (1, 2, "ok")
    shop.cdpsync("send")
    assert sorted(body["order"] for body in shop.bodies()) == [1, 2, 3]


def test_a_changed_source_asks_where_to_go_on(shop: Sending) -> None:
    """Another table, query or key is told; another body or URL goes on from the position."""
    shop.configure(body={"only": "{{ id }}"})
    shop.put((1, "ada", "paid", "1"))
    shop.cdpsync("run")
    assert shop.bodies() == [{"only": 1}]
    shop.configure(body={"only": "{{ id }}"}, key="customer")
    shop.put((1, "ada", "sent", "1"))
    run = shop.run("run")
    assert run.returncode == 3
    assert "its table, query or key is another one than before" in run.stderr


def test_what_was_left_is_rendered_anew_if_the_project_file_has_changed(shop: Sending) -> None:
    """A wrong URL is corrected: what could not be sent goes to the right one."""
    shop.configure(body=BODY, url="http://127.0.0.1:9/nobody", retry={"attempts": 1})
    shop.put((1, "ada", "paid", "1"))
    shop.cdpsync("run", code=3)
    shop.configure(body={"now": "{{ status }}"})
    shop.cdpsync("send", "hook")
    assert shop.bodies() == [{"now": "paid"}]


def test_json_of_a_send_has_fixed_keys(shop: Sending) -> None:
    """As docs/json.md has them."""
    result = shop.json("send")
    assert list(result) == ["run_id", "status", "started_at", "finished_at", "destinations"]
    (line,) = shop.json("destinations", "list")
    documented = (DOCS / "json.md").read_text()
    for keys in (result["destinations"][0], line, shop.json("send", "hook", "--dry-run")[0]):
        assert [key for key in keys if f"`{key}`" not in documented] == []


def test_a_query_starts_at_a_time(shop: Sending) -> None:
    """What changed in its rows since then is sent; what was there before is not."""
    time.sleep(0.01)
    moment = datetime.now(UTC).isoformat()
    shop.put((2, "bob", "paid", "20.00"))
    shop.cdpsync("run", "--no-send")
    query = {"type": "webhook", "sql": "select id, status from shop.orders", "key": "id"}
    query |= {"url": shop.receiver.url, "body": {"id": "{{ id }}", "was": "{{ old.status }}"}}
    shop.configure({"query": query | {"start": moment}})
    shop.cdpsync("send")
    assert shop.bodies() == [{"id": 2, "was": "new"}]
    shop.cdpsync("send")
    assert len(shop.bodies()) == 1


def test_every_command_of_the_page_works(shop: Sending) -> None:
    """What docs/destinations.md types, one after the other, with its first destination."""
    page = (DOCS / "destinations.md").read_text()
    ops = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])["destinations"]["ops"]
    shop.put((5, "max", "paid", "1"))
    shop.environment = {"OPS_TOKEN": "sesame-seeds-123"}
    shop.configure({"ops": ops | {"url": f"{shop.receiver.url}/orders"}})
    shop.cdpsync("run", "--no-send")
    commands = re.findall(r"^\$ cdpsync (.*)$", page, re.MULTILINE)
    assert len(commands) >= 10
    for command in commands:
        shop.cdpsync(*shlex.split(command))
    assert sorted(body["order"] for body in shop.bodies()) == [3, 5, 5]


def test_secrets_are_in_no_file_and_no_output(shop: Sending) -> None:
    """Not in outbox, events, held changes, dead letters, the catalog, log lines or reports."""
    secret = "sesame-seeds-123"
    shop.environment = {"HOOK_TOKEN": secret}
    shop.configure(
        url=f"{shop.receiver.url}/orders?token=${{HOOK_TOKEN}}",
        headers={"Authorization": "Bearer ${HOOK_TOKEN}"},
        body={"key": "${HOOK_TOKEN}", "order": "{{ id }}"},
        retry={"attempts": 1},
    )
    said = []
    for status in (503, 400, 200):
        shop.receiver.script(statuses=[status], body=json.dumps({"you sent": secret}))
        shop.put((1, "ada", f"after {status}", "1"), (2, "bob", f"after {status}", "1"))
        done = shop.run("run", "-v", "--log-format", "json")
        said += [done.stdout, done.stderr]
        said += [shop.run(*command).stdout for command in (
            ("dead", "show", "-o", "json"), ("status", "-o", "json"),
            ("send", "hook", "--test", "--row", "id = 1"), ("send", "hook", "--dry-run"),
            ("query", "from cdpsync.dead_letters"),
        )]  # fmt: skip
    assert [text for text in said if secret in text] == []
    files = [path for path in shop.folder.rglob("*") if path.is_file()]
    files = [path for path in files if "receiver" not in path.parts]
    assert len(files) > 3
    assert [path for path in files if secret.encode() in path.read_bytes()] == []
    taken = [request for request in shop.receiver.requests() if request["status"] == 200]
    assert taken
    assert all(secret in request["path"] and secret in request["body"] for request in taken)
