"""Access tokens: asked for when a send needs them, renewed while it sends, never written down."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.deliveries import FakeClock, destination, ids, outbox, send, shape
from support.destination_wire import answer, text
from support.oauth_server import CLIENT, REFRESH, SECRET, oauth_server
from support.sending import sending

from cdpsync.destinations.delivery.results import StopReason
from cdpsync.destinations.delivery.tokens import Tokens
from cdpsync.model.deliveries import Health, HealthState
from cdpsync.model.destinations import OAuth, Rate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.oauth_server import OAuthServer
    from support.sending import Sending

    from cdpsync.destinations.delivery.results import DispatchResult


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with oauth_server() as running:
        yield running


def grant(server: OAuthServer, refresh_token: str | None = REFRESH, **values: Any) -> OAuth:
    """Return a grant as the project file would have it."""
    kind = "refresh_token" if refresh_token else "client_credentials"
    keys = {"grant": kind, "token_url": server.token_url, "refresh_token": refresh_token}
    return OAuth(**{**keys, "client_id": CLIENT, "client_secret": SECRET, **values})


def deliver(
    folder: Path, server: OAuthServer, oauth: OAuth, rows: int = 40, **options: Any
) -> DispatchResult:
    """Send so many changes with this grant; tokens are kept beside the outbox."""
    to = options.pop("to", destination(connections=4))
    box = options.pop("box", None) or outbox(folder / "outbox", rows)
    tokens = options.pop("tokens", None) or Tokens(folder / "tokens", to.name)
    shaped = shape(f"{server.url}/in", oauth=oauth)
    return send(to, box, shaped, tokens=tokens, **options)


def assert_all_taken(server: OAuthServer, result: DispatchResult, rows: int = 40) -> None:
    """Each change arrived once, and no attempt was counted."""
    assert (result.delivered, result.held, result.dead, result.retried) == (rows, 0, 0, 0)
    assert sorted(item["id"] for item in server.taken) == list(range(1, rows + 1))
    assert result.stop is None


@pytest.mark.parametrize("in_header", [False, True])
def test_one_token_serves_a_send(tmp_path: Path, server: OAuthServer, in_header: bool) -> None:
    """It is asked for before the first request, by the rules of the standard."""
    oauth = grant(server, scope="contacts.write", in_header=in_header)
    assert_all_taken(server, deliver(tmp_path, server, oauth))
    (asked,) = server.token_requests
    client = {} if in_header else {"client_id": CLIENT, "client_secret": SECRET}
    fields = {"grant_type": "refresh_token", "refresh_token": REFRESH, "scope": "contacts.write"}
    assert asked == {**fields, **client}
    assert server.refused == 0
    assert list((tmp_path / "tokens").glob("*.json")) == []


def test_client_credentials(tmp_path: Path, server: OAuthServer) -> None:
    """The other grant has no refresh token, and leaves nothing on the disk."""
    assert_all_taken(server, deliver(tmp_path, server, grant(server, None)))
    assert server.token_requests[0]["grant_type"] == "client_credentials"
    assert not (tmp_path / "tokens").exists()


def test_token_that_ends_in_the_middle_of_a_send(tmp_path: Path, server: OAuthServer) -> None:
    """401 brings a new one; what was under way is sent again, and no attempt is lost for it."""
    server.uses = 15
    result = deliver(tmp_path, server, grant(server))
    assert_all_taken(server, result)
    assert len(server.token_requests) == 3
    assert server.refused >= 2
    assert result.health.state is HealthState.HEALTHY


@pytest.mark.parametrize("expires_in", [10, "10"])
def test_token_is_renewed_before_it_expires(
    tmp_path: Path, server: OAuthServer, expires_in: Any
) -> None:
    """At a request a second, every nine seconds of ten; no request is refused for it."""
    server.expires_in = expires_in
    to = destination(rate=(Rate(1, timedelta(seconds=1)),))
    assert_all_taken(server, deliver(tmp_path, server, grant(server), 25, to=to), 25)
    assert len(server.token_requests) == 3
    assert server.refused == 0


@pytest.mark.parametrize("expires_in", [0, -5, "soon", None, True, [3], "NaN"])
def test_odd_lives_of_tokens(tmp_path: Path, server: OAuthServer, expires_in: Any) -> None:
    """What is no time means that nobody knows: the token is used until it is refused."""
    server.expires_in = expires_in
    assert_all_taken(server, deliver(tmp_path, server, grant(server)))
    assert len(server.token_requests) == 1


def test_refused_refresh_token_holds_everything(tmp_path: Path, server: OAuthServer) -> None:
    """One line that names what to do; no request is made without a token."""
    result = deliver(tmp_path, server, grant(server, "refresh-secret-old"))
    assert (result.delivered, result.held, result.dead, result.requests) == (0, 40, 0, 0)
    assert result.stop is not None
    assert result.stop.reason is StopReason.CREDENTIALS
    assert result.stop.message == (
        "the credentials were refused: the token request was answered 400 invalid_grant (Token has "
        "been expired or revoked.). Get a new refresh_token and put it into the place of the old "
        "one; the changes are held, and the next send goes on with them"
    )
    assert result.health == Health()
    assert len(server.token_requests) == 1


@pytest.mark.parametrize(
    ("reply", "words", "advice"),
    [
        (answer(401, {"error": "invalid_client"}), "401 invalid_client", "Check client_id and"),
        (answer(400, {"error": "invalid_scope"}), "400 invalid_scope", "Check scope"),
        (text(404, "no such page"), "404 no such page", "Check token_url, client_id"),
        (
            text(302, "", Location="https://elsewhere"),
            "a redirect to https://els",
            "check token_url",
        ),
        (answer(200, {"token": "hush-hush"}), "200 without a token", "Check token_url"),
        (answer(200, {"error": "bad_code"}), "200 bad_code", "Check token_url"),
        (
            answer(200, {"access_token": "a\r\nX-Evil: b"}),
            "a token that is none",
            "Check token_url",
        ),
        (text(200, "<html>log in</html>"), "200 without a token", "Check token_url"),
    ],
)
def test_refusals_of_token_requests(
    tmp_path: Path, server: OAuthServer, reply: Any, words: str, advice: str
) -> None:
    """Whatever is not a token is told; a redirect is not followed; nothing is sent."""
    server.scripted.append(reply)
    result = deliver(tmp_path, server, grant(server, None))
    assert result.stop is not None
    assert words in result.stop.message
    assert advice in result.stop.message
    assert "hush-hush" not in result.stop.message
    assert (result.held, result.requests, len(server.token_requests)) == (40, 0, 1)


def test_failing_token_server_is_asked_again(tmp_path: Path, server: OAuthServer) -> None:
    """500, 503 with Retry-After, then a token: the send waits, and then goes on."""
    server.scripted += [text(500, "oops"), text(503, "", Retry_After="7")]
    clock = FakeClock()
    assert_all_taken(server, deliver(tmp_path, server, grant(server), clock=clock))
    assert len(server.token_requests) == 3
    assert 7 <= sum(clock.slept) < 10


def test_token_server_that_stays_down_holds_everything(tmp_path: Path, server: OAuthServer) -> None:
    """Three attempts, as of any request; the changes have none, and so are not given up."""
    server.scripted += [text(500, "oops")] * 3
    box = outbox(tmp_path / "outbox", 40)
    result = deliver(tmp_path, server, grant(server), box=box)
    assert result.stop is not None
    assert result.stop.reason is StopReason.TOKENLESS
    assert "after 3 attempts (the token request: 500 oops)" in result.stop.message
    assert (result.held, result.untried, result.requests) == (40, 40, 0)
    assert box.settlements().failures == {}
    assert result.health.tokens < Health().tokens


def test_token_server_that_is_not_there(tmp_path: Path, server: OAuthServer) -> None:
    """A broken connection is tried again, too."""
    oauth = grant(server, token_url="http://127.0.0.1:9/token")
    result = deliver(tmp_path, server, oauth)
    assert result.stop is not None
    assert result.stop.reason is StopReason.TOKENLESS
    assert result.held == 40


def test_new_token_that_is_refused_too(tmp_path: Path, server: OAuthServer) -> None:
    """Renewed once for each request, then the credentials count as refused; nothing is dead."""
    server.uses = 0
    result = deliver(tmp_path, server, grant(server), to=destination(connections=1))
    assert result.stop is not None
    assert result.stop.reason is StopReason.CREDENTIALS
    assert (result.delivered, result.dead, result.held) == (0, 0, 40)
    assert len(server.token_requests) <= 4


# ---- refresh tokens that a server gives in the place of others


def files_of(folder: Path) -> dict[str, Any]:
    """Return the kept refresh tokens, by the names of their destinations."""
    entries = [json.loads(file.read_text()) for file in (folder / "tokens").glob("*.json")]
    return {"+".join(entry["destinations"]): entry["refresh_token"] for entry in entries}


def test_rotated_refresh_token_is_used_the_next_time(tmp_path: Path, server: OAuthServer) -> None:
    """Each is good for one use. The newest is in a file of its owner alone, before it is needed."""
    server.rotates, server.uses = True, 15
    for number in range(3):
        result = deliver(tmp_path, server, grant(server), box=outbox(tmp_path / str(number), 40))
        assert (result.delivered, result.held) == (40, 0)
        assert files_of(tmp_path) == {"hook": server.refresh_token}
        (file,) = (tmp_path / "tokens").glob("*.json")
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
    assert len(server.token_requests) == 8


def test_another_configured_token_drops_the_kept_one(tmp_path: Path, server: OAuthServer) -> None:
    """Somebody has logged in anew: what came for the old token is worth nothing."""
    server.rotates = True
    deliver(tmp_path, server, grant(server), box=outbox(tmp_path / "1", 5))
    server.refresh_token = "refresh-secret-anew"
    result = deliver(
        tmp_path, server, grant(server, "refresh-secret-anew"), box=outbox(tmp_path / "2", 5)
    )
    assert result.delivered == 5
    assert server.token_requests[-1]["refresh_token"] == "refresh-secret-anew"
    assert files_of(tmp_path) == {"hook": server.refresh_token}


def test_destinations_share_a_grant(tmp_path: Path, server: OAuthServer) -> None:
    """Side by side, one after the other asks with the newest token. Its file goes with the last."""
    server.rotates, server.uses = True, 15
    results: dict[str, DispatchResult] = {}

    def one(name: str) -> None:
        box = outbox(tmp_path / name, 30)
        results[name] = deliver(tmp_path, server, grant(server), to=destination(name=name), box=box)

    threads = [threading.Thread(target=one, args=(name,)) for name in ("crm", "leads")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.stop for result in results.values()] == [None, None]
    assert {result.delivered for result in results.values()} == {30}
    assert len(server.token_requests) <= 6
    ((names, kept),) = files_of(tmp_path).items()
    assert kept == server.refresh_token
    assert set(names.split("+")) == {"crm", "leads"}
    Tokens(tmp_path / "tokens", "crm").leave_others([])
    assert files_of(tmp_path) == {"leads": kept}
    Tokens(tmp_path / "tokens", "leads").leave_others([])
    assert list((tmp_path / "tokens").iterdir()) == []


def test_ids_are_complete(tmp_path: Path, server: OAuthServer) -> None:
    """A probe waits for its token, too, and counts as one request."""
    quarantined = Health(HealthState.QUARANTINED, tokens=0, since=FakeClock().now())
    clock = FakeClock()
    clock.seconds += 601
    result = deliver(tmp_path, server, grant(server), health=quarantined, clock=clock)
    assert_all_taken(server, result)
    assert ids(json.dumps(item) for item in server.taken[:1]) == [1]


# ---- the real command


def configure(shop: Sending, server: OAuthServer, **keys: Any) -> None:
    """A destination at the server, with secrets from the environment."""
    shop.environment |= {"CRM_SECRET": SECRET, "CRM_REFRESH": REFRESH}
    oauth = {
        "token_url": server.token_url,
        "client_id": CLIENT,
        "client_secret": "${CRM_SECRET}",
        "refresh_token": "${CRM_REFRESH}",
    }
    body = {"id": "{{ id }}"}
    url = f"{server.url}/in"
    shop.configure(**{"url": url, "auth": {"oauth": oauth}, "body": body, "start": "all"} | keys)


def assert_no_secret(folder: Path, words: str, secrets: list[str]) -> None:
    """No word that was said and no file has a secret, but the file of refresh tokens."""
    for secret in secrets:
        assert secret not in words
        for path in (folder / ".cdpsync").rglob("*"):
            if path.is_file() and path.parent.name != "tokens":
                assert secret.encode() not in path.read_bytes(), path


def test_secrets_are_in_no_output(tmp_path: Path, server: OAuthServer) -> None:
    """Neither in what -v logs, nor in dead letters of a server that echoes what it was sent."""
    server.rotates = True
    with sending(tmp_path) as shop:
        configure(shop, server)
        words = [shop.run("-v", "run", "--no-send")]
        words.append(shop.run("send", "hook", "--dry-run"))
        assert server.token_requests == []
        words.append(shop.run("send", "hook", "--test"))
        assert [item["id"] for item in server.taken] == [1]
        echo = {"message": f"Bearer access-secret-2 {SECRET} refresh-secret-2"}
        server.resource += [answer(400, echo), answer(401, echo), answer(503, echo)]
        words.append(shop.run("-v", "send", "-o", "json"))
        words.append(shop.run("dead", "show", "-o", "json"))
        words.append(shop.run("status", "-o", "json"))
        assert json.loads(words[-2].stdout)[0]["response"] == '{"message": "Bearer *** *** ***"}'
        server.refresh_token = "refresh-secret-else"
        words.append(shop.run("-v", "send", "--backfill", "-y"))
        assert "Get a new refresh_token" in words[-1].stderr
        words.append(shop.run("destinations", "list", "-o", "json"))
        said = "".join(done.stdout + done.stderr for done in words)
        kept = [f"refresh-secret-{number}" for number in range(1, 6)]
        assert_no_secret(tmp_path, said, [SECRET, REFRESH, *kept, *server.access_tokens])
        assert "Authorization" in words[1].stdout
        assert "Bearer ***" in words[1].stdout


def test_test_names_what_is_wrong_with_the_credentials(tmp_path: Path, server: OAuthServer) -> None:
    """`send NAME --test` asks for a token, too."""
    server.refresh_token = "refresh-secret-else"
    with sending(tmp_path) as shop:
        configure(shop, server)
        shop.cdpsync("run", "--no-send")
        done = shop.run("send", "hook", "--test")
        assert done.returncode != 0
        assert (
            "hook: the credentials were refused: the token request was answered 400" in done.stderr
        )


def test_held_changes_go_out_once_the_credentials_are_right(
    tmp_path: Path, server: OAuthServer
) -> None:
    """Everything is held, nothing is a dead letter, and the next send has all of it."""
    server.refresh_token = "refresh-secret-anew"
    with sending(tmp_path) as shop:
        configure(shop, server)
        shop.cdpsync("run", code=3)
        assert shop.json("destinations", "list")[0]["held"] == 3
        shop.environment["CRM_REFRESH"] = "refresh-secret-anew"
        shop.cdpsync("send")
        assert sorted(item["id"] for item in server.taken) == [1, 2, 3]
        assert shop.json("dead", "show") == []
