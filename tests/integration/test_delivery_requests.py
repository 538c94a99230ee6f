"""Requests arrive as they should: each change once, in its form, within its limits."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from support.deliveries import NOW, FakeClock, changes, destination, ids, outbox, send, shape
from support.receiver import receiver

from cdpsync.destinations.delivery.requests import FindShape
from cdpsync.model.deliveries import Health, HealthState
from cdpsync.model.destinations import AnswerRules, Batch, ChangeOrder, Rate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.receiver import Receiver


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Receiver]:
    with receiver(tmp_path / "receiver") as running:
        yield running


def test_each_change_arrives_once_with_its_idempotency_key(
    tmp_path: Path, server: Receiver
) -> None:
    """A change is one request, whose key is that of the change."""
    result = send(
        destination(idempotency="Idempotency-Key"),
        outbox(tmp_path, 300),
        shape(f"{server.url}/in"),
    )
    requests = server.requests()
    assert (result.delivered, result.held, result.dead, result.requests) == (300, 0, 0, 300)
    assert sorted(ids(r["body"] for r in requests)) == list(range(1, 301))
    assert len({r["headers"]["idempotency-key"] for r in requests}) == 300
    assert {r["headers"]["content-type"] for r in requests} == {"application/json"}
    assert not any("expect" in r["headers"] for r in requests)


def test_batches_have_at_most_so_many_changes(tmp_path: Path, server: Receiver) -> None:
    """A batch is one request; its text stands around the items."""
    result = send(
        destination(batch=Batch(100)),
        outbox(tmp_path, 250),
        shape(server.url, around=('{"items":[', "]}")),
    )
    bodies = server.bodies()
    assert sorted(len(json.loads(body)["items"]) for body in bodies) == [50, 100, 100]
    assert sorted(ids(bodies)) == list(range(1, 251))
    assert result.delivered == 250


def test_batches_have_at_most_so_many_bytes(tmp_path: Path, server: Receiver) -> None:
    """The limit is that of the whole body, also where the rows differ in size."""
    padded = changes(200).replace(
        "'}' as body", """',"x":"' || repeat('x', i::int) || '"}' as body"""
    )
    send(
        destination(batch=Batch(100, bytes=2_000)),
        outbox(tmp_path, padded),
        shape(server.url, around=("[", "]")),
    )
    assert max(r["size"] for r in server.requests()) <= 2_000
    assert sorted(ids(server.bodies())) == list(range(1, 201))


def test_body_over_the_limit_of_the_system_is_a_dead_letter(
    tmp_path: Path, server: Receiver
) -> None:
    """It is never sent, and the others go on."""
    padded = changes(9).replace(
        "'}' as body", """',"x":"' || repeat('x', if(i = 4, 500, 1)::int) || '"}' as body"""
    )
    box = outbox(tmp_path, padded, item_bytes=100)
    result = send(destination(batch=Batch(5)), box, shape(server.url, around=("[", "]")))
    assert (result.delivered, result.dead) == (8, 1)
    assert sorted(ids(server.bodies())) == [1, 2, 3, 5, 6, 7, 8, 9]
    assert "at most 100" in box.settlements().refusals[4].error


def test_values_from_outside_are_filled_in_at_sending(tmp_path: Path, server: Receiver) -> None:
    """The outbox has marks; URL, headers and body get the values, each escaped for its place."""
    marks = {"«n0nce:0»": 'se"cret', "«n0nce:1»": "a/b"}
    box = outbox(tmp_path, changes(1).replace("'}' as body", """',"k":"«n0nce:0»"}' as body"""))
    send(
        destination(),
        box,
        shape(
            f"{server.url}/x?key=«n0nce:1»",
            headers={"Authorization": "Bearer «n0nce:1»"},
            basic=None,
        ),
        marks=marks,
    )
    (request,) = server.requests()
    assert json.loads(request["body"])["k"] == 'se"cret'
    assert request["path"] == "/x?key=a%2Fb"
    assert request["headers"]["authorization"] == "Bearer a/b"
    for file in box.folder.iterdir():
        assert b'se"cret' not in file.read_bytes()
        assert b"a/b" not in file.read_bytes()


def test_letters_beyond_ascii(tmp_path: Path, server: Receiver) -> None:
    """In a body and in a header, of a row or a secret, they are UTF-8."""
    select = changes(1, more=""", '{"X-Name":"José"}' as headers""").replace(
        "'}' as body", """',"k":"Jürgen «n0nce:0»"}' as body"""
    )
    send(
        destination(),
        outbox(tmp_path, select),
        shape(server.url, headers={"X-Key": "«n0nce:0»"}),
        marks={"«n0nce:0»": "ключ"},
    )
    (request,) = server.requests()
    assert json.loads(request["body"])["k"] == "Jürgen ключ"
    assert request["headers"]["x-name"].encode("latin-1").decode() == "José"
    assert request["headers"]["x-key"].encode("latin-1").decode() == "ключ"


def test_signature_of_standard_webhooks(tmp_path: Path, server: Receiver) -> None:
    """The id is the change's, the time that of sending, the digest that of id, time and body."""
    send(destination(), outbox(tmp_path, 1), shape(server.url, sign=b"key"))
    (request,) = server.requests()
    headers = request["headers"]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{request['body']}"
    digest = base64.b64encode(hmac.new(b"key", signed.encode(), hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"
    assert headers["webhook-timestamp"] == str(int(NOW.timestamp()))


def test_gzip_and_basic(tmp_path: Path, server: Receiver) -> None:
    """The body is compressed, and the login is that of HTTP."""
    send(
        destination(),
        outbox(tmp_path, 1),
        shape(server.url, gzip=True, basic=("user", "pass:word")),
    )
    (request,) = server.requests()
    assert json.loads(request["body"]) == {"id": 1, "key": 1}
    assert base64.b64decode(request["headers"]["authorization"][6:]) == b"user:pass:word"


def test_deletes_have_a_request_of_their_own(tmp_path: Path, server: Receiver) -> None:
    """A route of single requests stands beside one of batches."""
    select = changes(
        30,
        more=", if(i % 3 = 0, 'delete', 'request') as route,"
        f" if(i % 3 = 0, '{server.url}/gone/' || i, null) as url",
    )
    routes = {
        "request": shape(f"{server.url}/in", around=("[", "]")),
        "delete": shape(None, method="DELETE", host="127.0.0.1"),
    }
    result = send(destination(batch=Batch(7)), outbox(tmp_path, select), routes)
    requests = server.requests()
    gone = {int(r["path"].split("/")[-1]) for r in requests if r["method"] == "DELETE"}
    assert gone == set(range(3, 31, 3))
    assert sorted(ids(r["body"] for r in requests if r["method"] == "POST")) == [
        i for i in range(1, 31) if i % 3
    ]
    assert result.delivered == 30


@pytest.mark.parametrize("batch", [None, Batch(10)], ids=["single", "batch"])
def test_changes_of_a_key_arrive_in_order(
    tmp_path: Path, server: Receiver, batch: Batch | None
) -> None:
    """With `changes: each`, also where requests fail now and then."""
    server.script(errors=0.2, seed=5)
    box = outbox(tmp_path, changes(400, keys=23), order=ChangeOrder.EACH)
    result = send(
        destination(batch=batch, connections=16),
        box,
        shape(server.url, around=batch and ("[", "]")),
    )
    taken = ids(server.bodies())
    for key in range(23):
        own = [i for i in taken if i % 23 == key]
        assert own == sorted(own)
    assert len(taken) == result.delivered
    assert result.delivered + result.held == 400


@pytest.mark.parametrize(("state", "most"), [(HealthState.HEALTHY, 6), (HealthState.DEGRADED, 3)])
def test_requests_at_once(tmp_path: Path, server: Receiver, state: HealthState, most: int) -> None:
    """As many as there are connections; half of them where the destination is degraded."""
    server.script(seconds=0.05)
    health = Health(state, 5_000.0, NOW)
    box = outbox(tmp_path, 60)
    result = send(destination(connections=6), box, shape(server.url), health=health)
    assert result.delivered == 60
    assert server.count()[2] == most


def test_rate_is_kept(tmp_path: Path, server: Receiver) -> None:
    """In any interval, and the time for it is only waited for."""
    clock = FakeClock()
    send(
        destination(rate=(Rate(10, timedelta(seconds=1)),)),
        outbox(tmp_path, 45),
        shape(server.url),
        clock=clock,
    )
    assert 4.0 <= sum(clock.slept) <= 4.5
    assert len(server.requests()) == 45


def test_find_then_create_or_update(tmp_path: Path, server: Receiver) -> None:
    """The id of a record that was found stands in the second request."""
    server.script(
        bodies={"/find/1": '{"total":1,"id":"u 7"}', "/find/2": '{"total":0}'},
        paths={"/find/3": 404},
    )
    select = changes(3, more=f", '{server.url}/find/' || i as find_url").replace(
        "as body", "as create_body"
    )
    select = select.replace(
        "as create_body", "as create_body, '{\"n\":' || i || '}' as update_body"
    )
    shapes = FindShape(
        find=shape(None, method="GET", host="127.0.0.1"),
        id="response->>'id'",
        create=shape(f"{server.url}/create"),
        update=shape(f"{server.url}/update/@found@", method="PUT", host="127.0.0.1"),
        mark="@found@",
    )
    result = send(destination(answers=AnswerRules()), outbox(tmp_path, select), shapes)
    sent = {(r["method"], r["path"], r["body"]) for r in server.requests()}
    assert ("PUT", "/update/u%207", '{"n":1}') in sent
    assert ("POST", "/create", '{"id":2,"key":2}') in sent
    assert ("POST", "/create", '{"id":3,"key":3}') in sent
    assert (result.delivered, result.requests) == (3, 6)
