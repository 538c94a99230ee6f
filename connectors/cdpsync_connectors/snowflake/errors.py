"""What Snowflake and its driver say when something fails, in words that help.

Numbers are those of the driver (network.py, errorcode.py of snowflake-connector-python 4.8.1), of
docs.snowflake.com/en/user-guide/key-pair-auth-troubleshooting (390144, 3943xx) and of Snowflake's
messages as its community pages show them. A login that fails may come under the driver's own
250001, so its words count too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.errors import ConnectError, ConnectorError, RateLimitError, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SESSION_GONE = {390104, 390110, 390111, 390112, 390113, 390114, 390115, 390195}


@dataclass(frozen=True, slots=True)
class _Case:
    """An error that is known: by its numbers or by its words."""

    codes: frozenset[int]
    words: str
    what: str
    advice: str
    retryable: bool = False


def _case(codes: set[int], words: str, what: str, advice: str, *, retryable: bool = False) -> _Case:
    return _Case(frozenset(codes), words, what, advice, retryable)


_LOGIN = (
    _case(
        {390422},
        r"IP/Token \S+ is not allowed|not allowed to access Snowflake",
        "a network policy does not let this machine's address in",
        "Ask an administrator to add it to the policy's allowed list, or connect from an address "
        "that is there.",
    ),
    _case(
        {390186, 390189},
        r"specified in the connect string|Requested role .* is not assigned",
        "the role does not exist, or is not granted to the user, or not any more",
        "Check role, or run there: GRANT ROLE … TO USER ….",
    ),
    _case(
        {390144, *range(394300, 394308)},
        r"JWT token is invalid",
        "the private key does not fit the user",
        "Check account and user, and that DESC USER shows this key's RSA_PUBLIC_KEY_FP; the "
        "machine's clock must be right. An administrator sees the reason with "
        "SYSTEM$GET_LOGIN_FAILURE_DETAILS.",
    ),
    _case(
        {390318},
        r"OAuth access token expired",
        "the OAuth token has expired",
        "Get a new one, or use a key pair, which does not expire.",
    ),
    _case(
        {390303},
        r"Invalid OAuth access token",
        "the OAuth token was refused",
        "Get a new one, and check that its integration and its role are enabled.",
    ),
    _case(
        {390102},
        r"temporarily locked",
        "the user is locked for some minutes after too many wrong passwords",
        "Check the password, then try again later.",
    ),
    _case(
        {390101},
        r"User access disabled",
        "the user is disabled",
        "Ask an administrator to enable it.",
    ),
    _case(
        {390197},
        r"Multi-factor authentication is required|MFA (?:authentication|enrollment)|Duo",
        "the user must log in with a second factor",
        "Use a key pair (private_key), which needs none.",
    ),
    _case(
        {390100},
        r"Incorrect username or password",
        "the user or the password was refused",
        "Check both, and the account.",
    ),
    _case(
        {290403, 290404, 403, 404},
        r"Verify the account name|404 Not Found: post",
        "no such account answers there",
        "Check account: SELECT CURRENT_ORGANIZATION_NAME() || '-' || CURRENT_ACCOUNT_NAME().",
    ),
    _case(
        set(),
        r"Failed to resolve|Name or service not known|nodename nor servname|getaddrinfo",
        "the host name is not known",
        "Check account (myorg-myaccount) and this machine's DNS.",
    ),
    _case(
        set(),
        r"certificate|SSLError|WRONG_VERSION_NUMBER|TLS",
        "no trusted TLS connection",
        "Check protocol and port, and that a proxy on the way has a certificate this machine "
        "trusts.",
    ),
    _case(
        set(),
        r"Connection refused",
        "nothing listens there",
        "Check account, or host and port in connect_options.",
        retryable=True,
    ),
    _case(
        {250001, 251011},
        r"Could not connect to Snowflake backend|timed out",
        "no answer in time",
        "Check account and firewall, or raise connect_timeout.",
        retryable=True,
    ),
)

_READING = (
    _case(
        {606},
        r"No active warehouse selected",
        "no warehouse is there to run the query",
        "Set warehouse, and run there: GRANT USAGE ON WAREHOUSE … TO ROLE ….",
    ),
    _case(
        {90073},
        r"resource monitor|cannot be resumed",
        "the warehouse is suspended and cannot be resumed",
        "Its resource monitor may have used up its quota: raise that, or set another warehouse.",
    ),
    _case(
        {90064, 90072, 90106},
        r"Warehouse '[^']*' (?:is suspended|was suspended|cannot|is not)",
        "the warehouse is suspended",
        "Run there: ALTER WAREHOUSE … RESUME; or let it AUTO_RESUME.",
    ),
    _case(
        {630},
        r"reached its (?:statement|statement or warehouse) timeout",
        "Snowflake ended the statement, which took too long",
        "Raise statement_timeout (and the warehouse's own), read less with where or an "
        "incremental mode, or use a larger warehouse.",
    ),
    _case(
        {604, 625},
        r"SQL execution cancell?ed|statement was cancell?ed",
        "someone cancelled the statement",
        "Run again.",
    ),
)


def is_session_gone(error: Exception) -> bool:
    """Whether the session is over, so that only a new login helps."""
    return getattr(error, "errno", None) in _SESSION_GONE


def translate_connecting(error: Exception, place: str) -> ConnectorError:
    """Name what kept us from a session, and what to do."""
    busy = _busy(error, place)
    if busy:
        return busy
    text = " ".join(_chain(error))
    number = getattr(error, "errno", None)
    case = _by_number(_LOGIN[:10], number) or _by_words(_LOGIN, text) or _by_number(_LOGIN, number)
    if case:
        return ConnectError(f"{place}: {case.what}. {case.advice}", retryable=case.retryable)
    return ConnectError(f"{place}: no session: {said(error)}.")


def translate_reading(
    error: Exception, place: str, where: str | None = None
) -> ConnectorError | None:
    """Name what ended a question or a read; None when it is not of Snowflake or its driver.

    `where` is the user's own condition, which an error of syntax is likely to be in.
    """
    if isinstance(error, ConnectorError):
        return error
    module = type(error).__module__
    if module.startswith("pyarrow"):
        return ConnectError(
            f"{place}: a part of the answer cannot be read ({said(error)}). It may have been cut "
            "off on its way.",
            retryable=True,
        )
    if not module.startswith("snowflake.connector"):
        return None
    number, text = getattr(error, "errno", None), str(error)
    if is_session_gone(error):
        return ConnectError(f"{place}: the session has ended. Run again.", retryable=True)
    case = _by_number(_READING, number) or _by_words(_READING, text)
    if case:
        return ReadError(f"{place}: {case.what}. {case.advice}", retryable=case.retryable)
    return _busy(error, place) or _refused(error, place, where) or _lost(error, place)


def said(error: Exception) -> str:
    """Return Snowflake's own words, on one line, without numbers and query ids."""
    text = " ".join(str(getattr(error, "msg", None) or error).split())
    text = re.sub(r"^\d{6} \(\w{5}\): (?:[0-9a-f-]{36}: |None: )?", "", text)
    return text.rstrip(". ")


def _chain(error: BaseException | None) -> Iterator[str]:
    """Give what an error and those before it say; the driver puts the reason at the far end."""
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__


def _by_number(cases: tuple[_Case, ...], number: int | None) -> _Case | None:
    return next((case for case in cases if number in case.codes), None)


def _by_words(cases: tuple[_Case, ...], text: str) -> _Case | None:
    return next((case for case in cases if re.search(case.words, text, re.IGNORECASE)), None)


def _busy(error: Exception, place: str) -> ConnectorError | None:
    """Name an answer of the service itself: too many requests, or not there for the moment."""
    kind, number = type(error).__name__, getattr(error, "errno", None)
    if kind == "TooManyRequests" or number in {429, 290429}:
        return RateLimitError(f"{place}: Snowflake asks for fewer requests. Use fewer --threads.")
    if kind in {"ServiceUnavailableError", "BadGatewayError", "GatewayTimeoutError"}:
        return ConnectError(
            f"{place}: the service is not available for the moment. Run again.", retryable=True
        )
    return None


def _refused(error: Exception, place: str, where: str | None) -> ConnectorError | None:
    number, text = getattr(error, "errno", None), said(error)
    missing = re.search(r"(\w+ '[^']+') does not exist or not authorized", text, re.IGNORECASE)
    if number in {2003, 2043} or missing:
        what = f"{missing[1]} does not exist, or the role" if missing else f"{text}; or the role"
        return ReadError(
            f"{place}: {what} may not use it. See what there is with: cdpsync discover; or run "
            "there, as its owner: GRANT SELECT ON … TO ROLE …."
        )
    denied = re.search(r"Insufficient privileges to operate on (.+)", text)
    if number == 3001 or denied:
        on = denied[1].rstrip(". ") if denied else "it"
        return ReadError(
            f"{place}: the role has not the privilege for {on}. Run there, as its owner: GRANT "
            "SELECT ON … TO ROLE …."
        )
    if number in {904, 1003, 2028} and where:
        return ReadError(f"{place}: where: {' '.join(where.split())}: {text}.")
    return None


def _lost(error: Exception, place: str) -> ConnectorError:
    kind, number = type(error).__name__, getattr(error, "errno", None)
    if kind == "ForbiddenError" or number in {403, 290403}:
        return ReadError(
            f"{place}: the rows may not be downloaded: their addresses, which hold for some six "
            "hours, have expired, or a firewall keeps this machine from Snowflake's storage. Run "
            "again, with more --threads or fewer rows; SYSTEM$ALLOWLIST() names the hosts."
        )
    network = ".vendored." in type(error).__module__
    if network or number in {250001, 250003, 250005, 251011, 251012, 252010, 252013}:
        return ConnectError(f"{place}: the connection was lost while reading.", retryable=True)
    return ReadError(f"{place}: {said(error)}.")
