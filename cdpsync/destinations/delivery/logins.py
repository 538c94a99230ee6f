"""Gets the access tokens that requests need, and gives them to what composes the requests.

The token request is one of the dispatch's own connections, so what is under way goes on meanwhile.
https://datatracker.ietf.org/doc/html/rfc6749#section-4.4 and #section-6
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING
from urllib.parse import urlencode

from cdpsync.connector.http.grants import client_credentials, granted, renewal_after
from cdpsync.destinations.delivery import addresses
from cdpsync.destinations.delivery.answers import Judge, Outcome, Verdict, described
from cdpsync.destinations.delivery.connections import HttpRequest
from cdpsync.destinations.delivery.request_log import RequestLog
from cdpsync.destinations.delivery.supervisor import LONGEST_WAIT, Supervisor
from cdpsync.errors import ConfigError, DeliveryError
from cdpsync.model.deliveries import Health
from cdpsync.model.destinations import AnswerRules
from cdpsync.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from cdpsync.destinations.delivery.clock import Clock
    from cdpsync.destinations.delivery.connections import Connections, HttpAnswer
    from cdpsync.destinations.delivery.requests import Composer, Parcel
    from cdpsync.destinations.delivery.tokens import Tokens
    from cdpsync.model.destinations import Destination, OAuth

_LOOK_AGAIN = 0.1  # seconds until the next look at a lock that somebody else has
_LONGEST_WORDS = 200


@dataclass(frozen=True, slots=True)
class _Asked:
    """A token request that is under way, and the lock that it is asked under."""

    grant: OAuth
    turn: IO[str] | None


class Logins:
    """The grants of one dispatch. Without any, it does nothing."""

    def __init__(
        self,
        destination: Destination,
        composers: Iterable[Composer],
        tokens: Tokens | None,
        supervisor: Supervisor,
        *,
        clock: Clock,
        backoff: Callable[[int], float],
        log: RequestLog,
    ) -> None:
        """Look which grants there are; raise ConfigError for an address that is none."""
        self._composers: dict[OAuth, list[Composer]] = {}
        for composer in composers:
            if composer.oauth is not None:
                self._composers.setdefault(composer.oauth, []).append(composer)
        self._destination, self._supervisor = destination, supervisor
        self._clock, self._backoff, self._log = clock, backoff, log
        self._given = tokens
        self._judge = Judge(AnswerRules(), destination.location)
        self._asked: _Asked | None = None
        self._attempts, self._not_before = 0, 0.0
        for grant in self._composers:
            if fault := addresses.url_fault(grant.token_url, None, ("*",)):
                raise ConfigError(f"{grant.location}: token_url: {fault}. Correct it.")

    @property
    def _tokens(self) -> Tokens:
        assert self._given is not None  # noqa: S101 - whoever sends with a grant gives them
        return self._given

    def close(self) -> None:
        """Let others ask, where a request was still under way."""
        self._let_go()

    # ---- asking

    def waits_until(self, connections: Connections, now: float) -> float | None:
        """Return when to look again; None: each request has its token. Ask for one that lacks.

        While a token request is under way that is never: after an answer.
        """
        for grant, composers in self._composers.items():
            token = self._tokens.access(grant)
            if token is None or token.renew_at <= now:
                return self._ask(grant, connections, now)
            for composer in composers:
                composer.log_in(token.text, token.number)
        return None

    def _ask(self, grant: OAuth, connections: Connections, now: float) -> float:
        """Start a token request, unless one is under way or it is too early."""
        if self._asked is not None or connections.in_flight >= connections.count:
            return math.inf
        if now < self._not_before:
            return self._not_before
        turn = None
        if grant.refresh_token is not None:
            self._tokens.leave_others(self._composers)
            turn = self._tokens.turn(grant)
            if turn is None:
                return now + _LOOK_AGAIN
            token = self._tokens.access(grant)
            if token is not None and token.renew_at > now:  # somebody else has asked meanwhile
                turn.close()
                return now
        self._asked = _Asked(grant, turn)
        refresh = self._tokens.refresh(grant) if turn is not None else None
        connections.start(_token_request(grant, refresh), self._asked)
        return math.inf

    def settled(self, arrived: list[tuple[object, HttpAnswer]]) -> list[tuple[object, HttpAnswer]]:
        """Take the answer to a token request out of what has arrived; return the rest."""
        if self._asked is None:
            return arrived
        for tag, answer in arrived:
            if tag is self._asked:
                self._settle(self._asked.grant, answer)
                self._let_go()
                return [pair for pair in arrived if pair[0] is not tag]
        return arrived

    def _let_go(self) -> None:
        if self._asked is not None and self._asked.turn is not None:
            self._asked.turn.close()
        self._asked = None

    # ---- what came of it

    def _settle(self, grant: OAuth, answer: HttpAnswer) -> None:
        verdict = self._judge.judge([answer], self._clock.now())[0]
        if verdict.outcome is Outcome.TAKEN:
            self._take(grant, answer)
        elif verdict.outcome is Outcome.RETRY:
            self._try_again(answer, verdict)
        else:
            self._refuse(grant, answer, _words(answer))

    def _take(self, grant: OAuth, answer: HttpAnswer) -> None:
        """Keep the tokens of an answer; a new refresh token before anything else."""
        tokens = granted(answer.body)
        text, refresh = tokens.get("access_token"), tokens.get("refresh_token")
        is_refresh = grant.refresh_token is not None and isinstance(refresh, str)
        if is_refresh and refresh and refresh != self._tokens.refresh(grant):
            self._tokens.keep_refresh(grant, refresh)
        if not isinstance(text, str) or not text:
            # Without the text of the answer, which may have a secret of another name.
            words = _words(answer) if "error" in tokens else f"{answer.status} without a token"
            self._refuse(grant, answer, words)
        elif addresses.header_fault(text):
            self._refuse(grant, answer, f"{answer.status} with a token that is none")
        else:
            now = self._clock.monotonic()
            self._tokens.keep_access(grant, text, now + renewal_after(tokens.get("expires_in")))
            self._attempts, self._not_before = 0, 0.0

    def _try_again(self, answer: HttpAnswer, verdict: Verdict) -> None:
        """Ask again later; after the last attempt, or a failed probe, hold everything."""
        error = f"the token request: {redact(verdict.error)}"
        now = self._clock.now()
        self._log.note_token(answer, error)
        self._attempts += 1
        if self._supervisor.is_probe:
            self._supervisor.end_probe(error, now)
        elif verdict.is_fault:
            self._supervisor.charge(1, 0.0, now, error)
        if verdict.delay is not None and verdict.delay > LONGEST_WAIT:
            self._supervisor.wait_for_later_run(verdict.delay, now, error)
        elif self._attempts >= self._destination.retry.attempts:
            self._supervisor.lack_token(self._attempts, error)
        delay = self._backoff(self._attempts) if verdict.delay is None else verdict.delay
        self._not_before = self._clock.monotonic() + delay

    def _refuse(self, grant: OAuth, answer: HttpAnswer, words: str) -> None:
        self._log.note_token(answer, redact(words))
        self._supervisor.refuse_login(redact(words), _advice(grant, words))

    # ---- tokens that the destination refuses

    def renews(self, parcel: Parcel, composer: Composer, answer: HttpAnswer) -> bool:
        """Whether a request that was refused for its token is sent again, which is once.

        The token is asked for anew, unless that has happened since the request was sent.
        """
        grant = composer.oauth
        if grant is None or parcel.is_renewed or answer.status == 403:
            return False
        self._tokens.drop_access(grant, parcel.token)
        parcel.is_renewed = True
        return True


def log_in(
    destination: Destination,
    composers: Collection[Composer],
    tokens: Tokens,
    clock: Clock,
    connections: Connections,
) -> None:
    """Get the tokens of some requests at once. Raises DeliveryError where one is refused."""
    supervisor = Supervisor(destination.name, Health())
    log = RequestLog(destination.name, "")
    logins = Logins(destination, composers, tokens, supervisor, clock=clock, backoff=float, log=log)
    with closing(logins):
        while (at := logins.waits_until(connections, clock.monotonic())) is not None:
            if connections.in_flight:
                logins.settled(connections.wait(_LOOK_AGAIN))
            else:
                clock.sleep(max(at - clock.monotonic(), 0.0))
            if supervisor.stop is not None:
                raise DeliveryError(f"{destination.name}: {supervisor.stop.message}.")


def _token_request(grant: OAuth, refresh_token: str | None) -> HttpRequest:
    """Return the request of a grant; its answer is JSON."""
    fields = {"grant_type": grant.grant, "refresh_token": refresh_token, "scope": grant.scope}
    headers = [
        "Content-Type: application/x-www-form-urlencoded",
        "Accept: application/json",
        "User-Agent: cdpsync",
        "Expect:",
    ]
    if grant.in_header:
        client = client_credentials(grant.client_id, grant.client_secret or "")
        headers.append(f"Authorization: {client}")
    else:
        fields |= {"client_id": grant.client_id, "client_secret": grant.client_secret}
    body = urlencode({name: value for name, value in fields.items() if value is not None})
    return HttpRequest("POST", grant.token_url, headers, body.encode())


def _words(answer: HttpAnswer) -> str:
    """Return a refusal on one line, by the names that the standard has for its parts."""
    refusal = granted(answer.body)
    if not isinstance(refusal.get("error"), str):
        return described(answer).replace("check the url", "check token_url")
    described_as = refusal.get("error_description")
    detail = f" ({described_as})" if isinstance(described_as, str) and described_as else ""
    text = " ".join(f"{answer.status} {refusal['error']}{detail}".split())
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _LONGEST_WORDS else f"{text[:_LONGEST_WORDS]}…"


def _advice(grant: OAuth, words: str) -> str:
    """Return what to do about a refused token request."""
    if "invalid_grant" in words and grant.refresh_token is not None:
        return "Get a new refresh_token and put it into the place of the old one"
    if "invalid_client" in words or words.startswith("401"):
        return "Check client_id and client_secret"
    if "invalid_scope" in words:
        return "Check scope"
    token = ", refresh_token" if grant.refresh_token is not None else ""
    return f"Check token_url, client_id, client_secret{token}"
