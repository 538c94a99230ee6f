"""Bad endpoints and bad rows: one clear line each, the rest goes on, and nothing is lost."""

from __future__ import annotations

import json
import resource
import sys
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from support.deliveries import NOW, FakeClock, changes, destination, ids, outbox, send, shape
from support.receiver import receiver
from support.tls import certificate

from cdpsync.destinations.delivery.journal import DEAD, DELIVERED, PENDING
from cdpsync.destinations.delivery.outbox import pending
from cdpsync.destinations.delivery.refusals import dead_letters
from cdpsync.destinations.delivery.results import StopReason
from cdpsync.errors import CatalogError, ConfigError
from cdpsync.model.deliveries import Health, HealthState
from cdpsync.model.destinations import AnswerRules, Batch, ChangeOrder, Retry
from cdpsync.redact import remember

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.receiver import Receiver

    from cdpsync.destinations.delivery.outbox import Outbox

QUICK = Retry(timeout=timedelta(seconds=0.5))
AROUND = ("[", "]")


@contextmanager
def disk_limit(size: int) -> Iterator[None]:
    """Let no file of this process become longer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Receiver]:
    with receiver(tmp_path / "receiver") as running:
        yield running


def settled(box: Outbox) -> tuple[int, int, int]:
    """Return how many changes are delivered, dead and pending, as the journal says."""
    settlements = box.settlements()
    return (
        settlements.count(DELIVERED),
        settlements.count(DEAD),
        settlements.count(PENDING),
    )


def test_endpoint_that_hangs(tmp_path: Path, server: Receiver) -> None:
    """A request without an answer is sent again; the others do not wait for it."""
    server.script(hangs=3)
    result = send(destination(retry=QUICK), outbox(tmp_path, 50), shape(server.url))
    assert (result.delivered, result.retried) == (50, 3)
    assert dict(result.faults) == {"no answer within 0.5 s": 3}


def test_endpoint_that_never_answers(tmp_path: Path, server: Receiver) -> None:
    """After the last attempt the changes are held, with the error of it."""
    server.script(hangs=10**9)
    box = outbox(tmp_path, 4)
    result = send(destination(retry=QUICK), box, shape(server.url))
    assert (result.delivered, result.held, result.dead, result.untried) == (0, 4, 0, 0)
    assert settled(box) == (0, 0, 4)
    failure = box.settlements().failures[1]
    assert (failure.error, failure.attempts, failure.status) == ("no answer within 0.5 s", 3, None)


def test_endpoint_that_resets(tmp_path: Path, server: Receiver) -> None:
    """A connection that breaks costs an attempt, not a change."""
    server.script(cut=0.2, seed=1)
    box = outbox(tmp_path, 200)
    result = send(destination(), box, shape(server.url))
    assert result.delivered + result.held == 200
    assert result.dead == 0
    assert result.retried > 0
    server.script()
    assert send(destination(), box, shape(server.url)).delivered == result.held
    assert set(ids(server.bodies())) == set(range(1, 201))


@pytest.mark.parametrize(
    ("raw", "held"),
    [
        ("", 2),
        ("garbage\r\n\r\n", 2),
        ("SSH-2.0-OpenSSH_9.2\r\n", 2),
        ("HTTP/1.1 abc\r\n\r\n", 2),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", 2),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 2),
        ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nno gzip", 2),
        (f"HTTP/1.1 200 OK\r\nX-Large: {'x' * 400_000}\r\n\r\n", 2),
        ("HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", 2),
        ("HTTP/1.1 204 None\r\n\r\n", 0),
        ("HTTP/1.1 200 \xff\xfe\r\nX-Odd: \xff\r\n\r\n\xff\xfe", 0),
        ("HTTP/1.0 200 OK\r\n\r\nuntil the end", 0),
    ],
)
def test_endpoint_that_does_not_speak_http(
    tmp_path: Path, server: Receiver, raw: str, held: int
) -> None:
    """An answer that is none costs an attempt; one in odd letters is an answer."""
    server.script(raw=raw)
    result = send(destination(), outbox(tmp_path, 2), shape(server.url))
    assert (result.held, result.delivered, result.dead) == (held, 2 - held, 0)
    assert all(message.isprintable() and message for message, _ in result.faults)


def test_endpoint_that_nobody_serves(tmp_path: Path) -> None:
    """Its health ends the run, before each change was tried three times."""
    box = outbox(tmp_path, 5_000)
    result = send(destination(), box, shape("http://127.0.0.1:9/x"))
    assert result.stop is not None
    assert result.stop.reason is StopReason.QUARANTINED
    assert "quarantined" in result.stop.message
    assert result.health.state is HealthState.QUARANTINED
    assert result.requests < 500
    assert settled(box) == (0, 0, 5_000)


def test_host_without_an_address(tmp_path: Path) -> None:
    """The message is curl's, which names the host."""
    result = send(destination(), outbox(tmp_path, 1), shape("http://nowhere.invalid/"))
    assert "nowhere.invalid" in result.faults[0][0]
    assert result.held == 1


@pytest.mark.parametrize("status", [502, 200])
def test_endpoint_that_answers_html(tmp_path: Path, server: Receiver, status: int) -> None:
    """A page of HTML is said to be one, and is no success where rules look into the answer."""
    server.script(statuses=[status], body="<html><b>Login</b></html>", content_type="text/html")
    rules = AnswerRules(ok="status = 200 and (response->>'ok') = 'true'")
    box = outbox(tmp_path, 2)
    result = send(destination(answers=rules), box, shape(server.url))
    assert result.delivered == 0
    ((message, _),) = result.faults
    assert message == f"{status} with a page of HTML, as a proxy or a login page answers"
    assert settled(box) == ((0, 0, 2) if status == 502 else (0, 2, 0))


def test_redirect_is_not_followed(tmp_path: Path, server: Receiver) -> None:
    """Its target is named, and no request goes there."""
    server.script(statuses=[302], headers={"Location": f"{server.url}/other"})
    result = send(destination(), outbox(tmp_path, 3), shape(f"{server.url}/in"))
    assert {r["path"] for r in server.requests()} == {"/in"}
    ((message, count),) = result.faults
    assert message.startswith(f"302, a redirect to {server.url}/other, which is not followed")
    assert count == result.dead == 3


def test_answer_of_two_gigabytes(tmp_path: Path, server: Receiver) -> None:
    """Its beginning is read, and its status counts."""
    server.script(statuses=[200], big=2 << 30)
    assert send(destination(), outbox(tmp_path, 3), shape(server.url)).delivered == 3


def test_refused_answer_of_two_gigabytes(tmp_path: Path, server: Receiver) -> None:
    """A dead letter has its first 4 kB."""
    server.script(statuses=[400], big=2 << 30)
    box = outbox(tmp_path, 2)
    assert send(destination(), box, shape(server.url)).dead == 2
    assert box.settlements().refusals[1].response == "x" * 4_096


def test_refused_batch_that_names_no_item(tmp_path: Path, server: Receiver) -> None:
    """It is cut in halves until the bad rows stand alone; all others arrive."""
    server.script(refuses={'"id":7,': 400, '"id":93,': 422}, body='{"error":"invalid"}')
    box = outbox(tmp_path, 100)
    result = send(destination(batch=Batch(50)), box, shape(server.url, around=AROUND))
    assert (result.delivered, result.dead, result.held) == (98, 2, 0)
    assert sorted(box.settlements().refusals) == [7, 93]
    assert box.settlements().refusals[7].error == '400 {"error":"invalid"}'
    assert sorted(ids(server.bodies())) == [i for i in range(1, 101) if i not in (7, 93)]
    assert result.requests < 40


@pytest.mark.parametrize("order", list(ChangeOrder))
def test_batches_that_are_too_long(tmp_path: Path, server: Receiver, order: ChangeOrder) -> None:
    """413 halves the batches, for good; in the order of the changes of a key."""
    server.script(most_bytes=1_000)
    box = outbox(tmp_path, changes(5_000, keys=9), order=order)
    result = send(
        destination(batch=Batch(100), connections=2), box, shape(server.url, around=AROUND)
    )
    assert (result.delivered, result.dead) == (5_000, 0)
    taken = ids(server.bodies())
    assert len(taken) == 5_000
    refused = [r for r in server.requests() if r["status"] == 413]
    assert len(refused) < len(server.requests()) / 3
    if order is ChangeOrder.EACH:
        for key in range(9):
            own = [i for i in taken if i % 9 == key]
            assert own == sorted(own)


def test_change_that_is_too_long_alone(tmp_path: Path, server: Receiver) -> None:
    """It is a dead letter."""
    server.script(most_bytes=5)
    box = outbox(tmp_path, 3)
    result = send(destination(batch=Batch(2)), box, shape(server.url, around=AROUND))
    assert (result.delivered, result.dead) == (0, 3)
    assert box.settlements().refusals[1].status == 413


def test_answer_that_names_the_items_by_index(tmp_path: Path, server: Receiver) -> None:
    """Those are dead letters with their own messages; the others are delivered."""
    server.script(
        statuses=[207],
        body='{"errors":[{"index":1,"message":"no e-mail"},{"index":3,"message":"too old"}]}',
    )
    rules = AnswerRules(
        partial="json_array_length(errors) > 0", failed="errors", failed_error="message"
    )
    box = outbox(tmp_path, 5)
    to = destination(batch=Batch(5), answers=rules)
    result = send(to, box, shape(server.url, around=AROUND))
    assert (result.delivered, result.dead, result.requests) == (3, 2, 1)
    refusals = box.settlements().refusals
    assert {seq: r.error for seq, r in refusals.items()} == {2: "no e-mail", 4: "too old"}


def test_answer_that_names_the_items_by_their_id(tmp_path: Path, server: Receiver) -> None:
    """As Mixpanel does: 400 is a partial success there."""
    server.script(
        statuses=[400],
        body='{"num_records_imported":4,"failed_records":[{"insert_id":"u3","message":"bad"}]}',
    )
    rules = AnswerRules(
        ok="status = 200",
        partial="status = 400 and num_records_imported >= 0",
        failed="failed_records",
        failed_by="insert_id",
        failed_error="message",
    )
    select = changes(5).replace("'}' as body", """',"insert_id":"u' || i || '"}' as body""")
    box = outbox(tmp_path, select)
    to = destination(batch=Batch(5), answers=rules)
    result = send(to, box, shape(server.url, around=AROUND))
    assert (result.delivered, result.dead) == (4, 1)
    assert box.settlements().refusals[3].error == "bad"


def test_success_that_is_none(tmp_path: Path, server: Receiver) -> None:
    """200 with `ok: false` is a failure at some, and may have to wait."""
    server.script(body='{"ok":false,"error":"ratelimited"}')
    rules = AnswerRules(ok="ok", retry="error = 'ratelimited'")
    box = outbox(tmp_path, 2)
    result = send(destination(answers=rules), box, shape(server.url))
    assert (result.delivered, result.held, result.requests) == (0, 2, 6)
    server.script(body='{"ok":false,"error":"no_text"}')
    assert send(destination(answers=rules), box, shape(server.url)).dead == 2


def test_control_character_in_a_header(tmp_path: Path, server: Receiver) -> None:
    """curl sends a line end as it is, so the row is refused here; the others go on."""
    select = changes(
        4,
        more=""", '{"X-Name":"' || if(i = 2, 'a\\r\\nX-Evil: 1', 'b') || '"}' as headers""",
    )
    box = outbox(tmp_path, select)
    result = send(destination(), box, shape(server.url))
    assert (result.delivered, result.dead) == (3, 1)
    assert box.settlements().refusals[2].error == "the header 'X-Name' has a control character"
    assert not any("x-evil" in r["headers"] for r in server.requests())


def test_control_character_in_a_secret(tmp_path: Path, server: Receiver) -> None:
    """The line of the project file is named, and the value is not."""
    with pytest.raises(ConfigError, match=r"^cdpsync.yml:4: .*control character") as caught:
        send(
            destination(),
            outbox(tmp_path, 1),
            shape(server.url, headers={"Authorization": "Bearer «n0nce:0»"}),
            marks={"«n0nce:0»": "to\nken"},
        )
    assert "ken" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "allowed", "message"),
    [
        ("http://evil.example/x", (), "the host evil.example is not under allow_hosts"),
        ("http://127.0.0.1:1/x", ("127.0.0.1",), "127.0.0.1, which is not a public address"),
        ("http://localhost:1/x", ("localhost",), "which is not a public address"),
        ("http://2130706433:1/x", ("*",), "127.0.0.1, which is not a public address"),
        ("http://[::1]:1/x", ("*",), "::1, which is not a public address"),
        ("http://a.example@127.0.0.1/x", ("*",), "is not http:// or https:// with a plain host"),
        ("file:///etc/passwd", ("*",), "is not http:// or https:// with a plain host"),
        ("http://a.example\\@b.example/", ("a.example",), "with a plain host"),
        ("http://a.example/x\ny", ("*",), "the URL has a control character"),
    ],
)
def test_host_of_a_row(
    tmp_path: Path, server: Receiver, url: str, allowed: tuple[str, ...], message: str
) -> None:
    """It must be allowed, and may not lead into the own network; the others go on."""
    text = url.replace("\n", "' || chr(10) || '")
    select = changes(3, more=f", if(i = 2, '{text}', '{server.url}/') as url")
    box = outbox(tmp_path, select)
    result = send(destination(allow_hosts=allowed), box, shape(None, host=None))
    assert 2 in box.settlements().refusals
    assert message in box.settlements().refusals[2].error
    assert result.held == 0
    assert server.requests() == []


def test_row_that_changes_the_host(tmp_path: Path, server: Receiver) -> None:
    """Where the project file names the host, no row leads elsewhere."""
    select = changes(3, more=f", if(i = 2, 'http://localhost:1/', '{server.url}/' || i) as url")
    box = outbox(tmp_path, select)
    result = send(destination(), box, shape(None, host="127.0.0.1"))
    assert (result.delivered, result.dead) == (2, 1)
    assert "the row changes the host" in box.settlements().refusals[2].error


def test_refused_credentials_stop_the_run(tmp_path: Path, server: Receiver) -> None:
    """After three answers in a row everything is held, and nothing is a dead letter."""
    server.script(statuses=[401])
    box = outbox(tmp_path, 1_000)
    result = send(destination(connections=4), box, shape(server.url))
    assert result.stop is not None
    assert result.stop.reason is StopReason.CREDENTIALS
    assert result.requests <= 8
    assert settled(box) == (0, 0, 1_000)
    server.script()
    assert send(destination(), box, shape(server.url)).delivered == 1_000


def test_forbidden_row_is_no_refused_login(tmp_path: Path, server: Receiver) -> None:
    """403 for one row among others that are taken is that row's dead letter."""
    server.script(refuses={'"id":5,': 403})
    result = send(destination(connections=1), outbox(tmp_path, 60), shape(server.url))
    assert (result.delivered, result.dead, result.stop) == (59, 1, None)


def test_gone_endpoint_is_disabled(tmp_path: Path, server: Receiver) -> None:
    """410 holds everything, until a user enables the destination."""
    server.script(statuses=[410])
    box = outbox(tmp_path, 100)
    result = send(destination(), box, shape(server.url))
    assert result.stop is not None
    assert result.stop.reason is StopReason.GONE
    assert result.health.state is HealthState.DISABLED
    assert [t.after for t in result.transitions] == [HealthState.DISABLED]
    assert settled(box) == (0, 0, 100)
    after = send(destination(), box, shape(server.url), health=result.health)
    assert after.requests == 0


@pytest.mark.parametrize("status", [404, 410])
def test_deleted_record_that_is_not_there(tmp_path: Path, server: Receiver, status: int) -> None:
    """It was to be deleted, so nothing is missing, and the endpoint is not gone."""
    server.script(statuses=[status])
    select = changes(5, more=f", 'delete' as route, '{server.url}/' || i as url")
    routes = {"delete": shape(None, method="DELETE", host="127.0.0.1")}
    result = send(destination(), outbox(tmp_path, select), routes)
    assert (result.delivered, result.stop) == (5, None)


def test_gone_record_is_no_gone_endpoint(tmp_path: Path, server: Receiver) -> None:
    """410 for the URL of a row is about that row."""
    server.script(paths={"/3": 410})
    select = changes(5, more=f", '{server.url}/' || i as url")
    result = send(destination(), outbox(tmp_path, select), shape(None, host="127.0.0.1"))
    assert (result.delivered, result.dead, result.stop) == (4, 1, None)


def test_mostly_refused_stops_the_run(tmp_path: Path, server: Receiver) -> None:
    """Twenty dead letters and hardly a delivery: the configuration is wrong, not the rows."""
    server.script(statuses=[400], body='{"error":"unknown field"}')
    box = outbox(tmp_path, 10_000)
    result = send(destination(), box, shape(server.url))
    assert result.stop is not None
    assert result.stop.reason is StopReason.MOSTLY_DEAD
    assert "unknown field" in result.stop.message
    assert 20 <= result.dead <= 20 + 8
    assert result.held == 10_000 - result.dead


def test_mostly_unrenderable_rows_stop_the_run(tmp_path: Path, server: Receiver) -> None:
    """Then nothing is sent at all."""
    select = changes(100, more=", if(i % 4 = 0, null, 'x is NaN') as error")
    box = outbox(tmp_path, select)
    result = send(destination(), box, shape(server.url))
    assert result.stop is not None
    assert "x is NaN" in result.stop.message
    assert settled(box) == (0, 0, 100)
    assert server.requests() == []


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"Retry-After": "7"}, "{}", 7),
        ({"Retry-After": "Sat, 28 Nov 2026 12:00:09 GMT"}, "{}", 9),
        ({}, '{"retry_after": 3.5}', 3.5),
        ({"X-RateLimit-Reset": str(int(NOW.timestamp()) + 11)}, "{}", 11),
    ],
)
def test_retry_after_pauses_the_destination(
    tmp_path: Path, server: Receiver, headers: dict[str, str], body: str, seconds: float
) -> None:
    """All forms of it are kept to, by all changes."""
    server.script(statuses=[429, 200], headers=headers, body=body)
    clock = FakeClock()
    result = send(destination(connections=1), outbox(tmp_path, 5), shape(server.url), clock=clock)
    assert (result.delivered, result.requests) == (5, 6)
    assert sum(clock.slept) == pytest.approx(seconds, abs=1.0)


def test_too_many_requests_pause_the_destination(tmp_path: Path, server: Receiver) -> None:
    """Also where the answer does not say for how long."""
    server.script(statuses=[429, 200])
    clock = FakeClock()
    result = send(destination(connections=1), outbox(tmp_path, 5), shape(server.url), clock=clock)
    assert (result.delivered, result.requests) == (5, 6)
    assert sum(clock.slept) == pytest.approx(1.0, abs=0.3)
    assert [r["status"] for r in server.requests()] == [429, 200, 200, 200, 200, 200]


def test_long_retry_after_holds_everything(tmp_path: Path, server: Receiver) -> None:
    """Nobody waits for an hour in a run."""
    server.script(statuses=[429], headers={"Retry-After": "3600"})
    box = outbox(tmp_path, 500)
    result = send(destination(), box, shape(server.url))
    assert result.stop is not None
    assert result.stop.message.startswith("it asks to wait 3,600 s")
    assert result.requests <= 8
    assert settled(box) == (0, 0, 500)


def test_change_that_fails_for_too_long_is_given_up(tmp_path: Path, server: Receiver) -> None:
    """Held changes are tried by later runs, until `within` is over."""
    server.script(statuses=[503])
    box = outbox(tmp_path, 3)
    clock = FakeClock()
    assert send(destination(), box, shape(server.url), clock=clock).held == 3
    clock.seconds += 3 * 3600 + 60
    assert send(destination(), box, shape(server.url), clock=clock).dead == 3
    refusal = box.settlements().refusals[1]
    assert (refusal.status, refusal.attempts) == (503, 6)


def test_change_that_was_held_before_keeps_its_attempts(tmp_path: Path, server: Receiver) -> None:
    """Also when it moved into the outbox of a later run."""
    server.script(statuses=[503])
    long_ago = (NOW - timedelta(hours=4)).isoformat()
    select = changes(
        2, more=f", if(i = 1, 5, 0) as attempts, case when i = 1 then '{long_ago}' end as first_at"
    )
    box = outbox(tmp_path, select)
    result = send(destination(), box, shape(server.url))
    assert (result.dead, result.held) == (1, 1)
    assert box.settlements().refusals[1].attempts == 8


def test_quarantine_ends_with_a_probe(tmp_path: Path, server: Receiver) -> None:
    """One change is sent; where it is taken, the others follow."""
    health = Health(HealthState.QUARANTINED, -5.0, NOW, reason="503")
    box = outbox(tmp_path, 30)
    clock = FakeClock()
    waiting = send(destination(), box, shape(server.url), health=health, clock=clock)
    assert (waiting.requests, waiting.held) == (0, 30)
    clock.seconds += 601
    server.script(statuses=[503])
    failed = send(destination(), box, shape(server.url), health=health, clock=clock)
    assert (failed.requests, failed.health.probes) == (1, 1)
    clock.seconds += 1_201
    server.script()
    after = send(destination(), box, shape(server.url), health=failed.health, clock=clock)
    assert after.delivered == 30
    assert after.health.state is HealthState.DEGRADED


def test_probe_of_a_batch_has_one_change(tmp_path: Path, server: Receiver) -> None:
    """The others follow in batches."""
    health = Health(HealthState.QUARANTINED, -5.0, NOW - timedelta(hours=1))
    box = outbox(tmp_path, 30)
    to = destination(batch=Batch(30))
    assert send(to, box, shape(server.url, around=AROUND), health=health).delivered == 30
    assert [len(ids([body])) for body in server.bodies()] == [1, 29]


def test_certificate_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with a certificate of an unknown authority gets nothing; SSL_CERT_FILE names one."""
    (tmp_path / "tls").mkdir()
    files = certificate(tmp_path / "tls")
    with receiver(tmp_path / "receiver", tls=files) as server:
        box = outbox(tmp_path, 3)
        refused = send(destination(), box, shape(server.url))
        assert refused.held == 3
        assert "certificate" in refused.faults[0][0].lower()
        assert server.requests() == []
        monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
        assert send(destination(), box, shape(server.url)).delivered == 3


def test_full_disk_under_the_outbox(tmp_path: Path) -> None:
    """Nothing was sent then, and no part of it is taken for a whole."""
    with disk_limit(3_000), pytest.raises(CatalogError, match=r"20261128-1: .*size limit"):
        outbox(tmp_path, 20_000)
    assert pending(tmp_path) == []


def test_full_disk_under_the_journal(tmp_path: Path, server: Receiver) -> None:
    """The send ends with one line; what is not noted is sent again, and nothing is lost."""
    box = outbox(tmp_path, 2_000)
    with disk_limit(2_000), pytest.raises(CatalogError, match=r"journal.jsonl: .*size limit"):
        send(destination(), box, shape(server.url))
    noted, _, rest = settled(box)
    assert noted > 0
    assert send(destination(), box, shape(server.url)).delivered == rest
    taken = ids(server.bodies())
    assert set(taken) == set(range(1, 2_001))
    assert len(taken) <= 2_000 + destination().connections


def test_interrupt_keeps_what_was_answered(tmp_path: Path, server: Receiver) -> None:
    """Ctrl-C in a pause: the journal has all answers until then."""

    class Impatient(FakeClock):
        def sleep(self, _seconds: float) -> None:
            raise KeyboardInterrupt

    server.script(statuses=[200] * 20 + [429], headers={"Retry-After": "60"})
    box = outbox(tmp_path, 100)
    with pytest.raises(KeyboardInterrupt):
        send(destination(connections=1), box, shape(server.url), clock=Impatient())
    assert settled(box) == (20, 0, 80)


def test_answer_that_is_too_long_to_be_judged(tmp_path: Path, server: Receiver) -> None:
    """Where rules look into it, it is neither a success nor a refusal."""
    server.script(big=64 << 20)
    box = outbox(tmp_path, 1)
    result = send(destination(answers=AnswerRules(ok="ok")), box, shape(server.url))
    assert (result.held, result.faults[0][0]) == (1, "200 with more than 4 MB")


def test_log_has_a_line_for_each_failed_request(
    tmp_path: Path, server: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """As JSON, and one for each hundred that were taken."""
    caplog.set_level("DEBUG", "cdpsync.destinations.delivery")
    server.script(refuses={'"id":7,': 400}, body='{"error":"x"}')
    send(destination(), outbox(tmp_path, 300), shape(f"{server.url}/?key=secret"))
    lines = [record.fields for record in caplog.records]
    failed = [line for line in lines if line["outcome"] == "refused"]
    assert [(line["changes"], line["status"]) for line in failed] == [([7, 7], 400)]
    assert 2 <= sum(line["outcome"] == "taken" for line in lines) <= 3
    assert "secret" not in caplog.text


def test_one_that_only_asks_to_wait_ends_the_send(tmp_path: Path, server: Receiver) -> None:
    """It may do so for five minutes; what is left is held, and no request is made for it."""
    server.script(statuses=[429], headers={"Retry-After": "60"})
    clock = FakeClock()
    result = send(
        destination(connections=2), outbox(tmp_path, 1_000), shape(server.url), clock=clock
    )
    assert result.stop is not None
    assert result.stop.reason is StopReason.ASKED_TO_WAIT
    assert (result.delivered, result.held, result.dead) == (0, 1_000, 0)
    assert len(server.requests()) <= 12
    assert sum(clock.slept) <= 300


def test_pauses_with_deliveries_in_between_end_nothing(tmp_path: Path, server: Receiver) -> None:
    """An endpoint that takes one request a minute is slow, and nothing else."""
    server.script(statuses=[429, 200] * 9 + [200], headers={"Retry-After": "60"})
    clock = FakeClock()
    result = send(destination(connections=1), outbox(tmp_path, 9), shape(server.url), clock=clock)
    assert (result.delivered, result.stop) == (9, None)
    assert sum(clock.slept) > 300


def test_rule_may_call_an_answer_refused_credentials(tmp_path: Path, server: Receiver) -> None:
    """As Slack does with status 200: all is held, and nothing is a dead letter."""
    server.script(body='{"ok": false, "error": "invalid_auth"}')
    rules = AnswerRules(
        ok="(response->>'ok') = 'true'", unauthorized="(response->>'error') = 'invalid_auth'"
    )
    result = send(destination(answers=rules), outbox(tmp_path, 100), shape(server.url))
    assert result.stop is not None
    assert result.stop.reason is StopReason.CREDENTIALS
    assert (result.delivered, result.dead, result.held) == (0, 0, 100)


def test_torn_line_of_a_journal_counts_for_nothing(tmp_path: Path, server: Receiver) -> None:
    """The change is sent again, and the journal goes on behind it."""
    box = outbox(tmp_path, 10)
    box.journal_file.write_text('{"delivered":[[1,4]]}\n{"delivered":[[5,')
    assert send(destination(), box, shape(server.url)).delivered == 6
    assert sorted(ids(server.bodies())) == [5, 6, 7, 8, 9, 10]
    assert settled(box) == (10, 0, 0)


def test_dead_letters_have_no_secret(tmp_path: Path, server: Receiver) -> None:
    """Neither in URL or body, nor in what the endpoint echoes."""
    remember("s3cret-token")
    server.script(statuses=[400], body='{"error":"bad key s3cret-token"}')
    marks = {"«n0nce:0»": "s3cret-token"}
    box = outbox(tmp_path, changes(2).replace("'}' as body", """',"k":"«n0nce:0»"}' as body"""))
    routes = {"request": shape(f"{server.url}/x?key=«n0nce:0»")}
    send(destination(), box, routes, marks=marks)
    assert json.loads(server.requests()[0]["body"])["k"] == "s3cret-token"
    first, second = dead_letters(
        box, box.settlements(), destination=destination(), routes=routes, marks=marks
    )
    assert (first.id, second.id) == ("20261128-1-1", "20261128-1-2")
    assert first.url == f"{server.url}/x?key=***"
    assert first.body == '{"id":1,"key":1,"k":"***"}'
    assert first.response == '{"error":"bad key ***"}'
    assert (first.status, first.attempts, first.first_at) == (400, 1, NOW)
    for file in box.folder.iterdir():
        assert b"s3cret-token" not in file.read_bytes()


def test_missing_pycurl_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    monkeypatch.setitem(sys.modules, "pycurl", None)
    with pytest.raises(ConfigError, match=r"pip install 'cdpsync\[send\]'"):
        send(destination(), outbox(tmp_path, 1), shape("http://127.0.0.1:9/"))
