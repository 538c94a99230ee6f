"""Errors of Snowflake and its driver, translated to ours with a next step.

The numbers are those of the driver (network.py, errorcode.py of snowflake-connector-python 4.8.1),
of docs.snowflake.com/en/user-guide/key-pair-auth-troubleshooting (390144, 3943xx), and of the
messages on Snowflake's community pages. A failed login may have the driver's own number 250001, so
the text of its message counts too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.errors import ConnectError, ConnectorError, RateLimitError, ReadError
from cdpsync_connectors._shared.relations import where_error

if TYPE_CHECKING:
    from collections.abc import Iterator

_SESSION_OVER = {390104, 390110, 390111, 390112, 390113, 390114, 390115, 390195}


@dataclass(frozen=True, slots=True)
class _Case:
    """A known error: it has one of the numbers, or its message matches the pattern."""

    codes: frozenset[int]
    pattern: str
    problem: str
    advice: str
    retryable: bool = False


def _case(
    codes: set[int], pattern: str, problem: str, advice: str, *, retryable: bool = False
) -> _Case:
    return _Case(frozenset(codes), pattern, problem, advice, retryable)


_LOGIN = (
    _case(
        {390422},
        r"IP/Token \S+ is not allowed|not allowed to access Snowflake",
        "a network policy refuses connections from this machine's address",
        "Ask an administrator to add it to the policy's allowed list, or connect from an address "
        "that is there.",
    ),
    _case(
        {390186, 390189},
        r"specified in the connect string|Requested role .* is not assigned",
        "the role does not exist, or is not granted to the user",
        "Check role, or run there: GRANT ROLE … TO USER ….",
    ),
    _case(
        {390144, *range(394300, 394308)},
        r"JWT token is invalid",
        "the private key is not the user's",
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
        set(),
        r"incorrect passcode|passcode (?:is|was) (?:invalid|incorrect)",
        "the passcode was refused",
        "Give a new one, because each is valid once and for a short time; or use a key pair.",
    ),
    _case(
        set(),
        r"programmatic access token",
        "the programmatic access token was refused",
        "Check that it has not expired, and that a network policy applies to its user; or make a "
        "new one: ALTER USER … ADD PROGRAMMATIC ACCESS TOKEN ….",
    ),
    _case(
        set(),
        r"Missing optional dependency: (?:boto|azure)",
        "workload_identity needs a library of its cloud",
        "Install it: pip install boto3 for aws, azure-identity for azure.",
    ),
    _case(
        {390197},
        r"Multi-factor authentication is required|MFA (?:authentication|enrollment)|Duo",
        "the user must log in with a second factor",
        "Use a key pair (private_key), which needs no second factor.",
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
        "there is no such account",
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
        "there is no warehouse to run the query",
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


def is_session_over(error: Exception) -> bool:
    """Whether the session has ended, so that only a new login helps."""
    return getattr(error, "errno", None) in _SESSION_OVER


def translate_connecting(error: Exception, location: str) -> ConnectorError:
    """Return the error of a failed login, with advice."""
    busy = _busy(error, location)
    if busy:
        return busy
    text = " ".join(_chain(error))
    number = getattr(error, "errno", None)
    case = _by_number(_LOGIN[:13], number) or _by_text(_LOGIN, text) or _by_number(_LOGIN, number)
    if case:
        return ConnectError(f"{location}: {case.problem}. {case.advice}", retryable=case.retryable)
    return ConnectError(f"{location}: no session: {server_message(error)}.")


def translate_reading(
    error: Exception, location: str, where: str | None = None
) -> ConnectorError | None:
    """Return the error of a failed query; None when it is not one of Snowflake or its driver.

    `where` is the user's condition, which is the likely place of a syntax error.
    """
    if isinstance(error, ConnectorError):
        return error
    module = type(error).__module__
    if module.startswith("pyarrow"):
        return ConnectError(
            f"{location}: a part of the result cannot be read ({server_message(error)}). It may "
            "have been cut off during the download.",
            retryable=True,
        )
    if not module.startswith("snowflake.connector"):
        return None
    number, text = getattr(error, "errno", None), str(error)
    if is_session_over(error):
        return ConnectError(f"{location}: the session has ended. Run again.", retryable=True)
    case = _by_number(_READING, number) or _by_text(_READING, text)
    if case:
        return ReadError(f"{location}: {case.problem}. {case.advice}", retryable=case.retryable)
    return (
        _busy(error, location)
        or _missing_or_denied(error, location, where)
        or _lost(error, location)
    )


def server_message(error: Exception) -> str:
    """Return Snowflake's own message on one line, without numbers and query ids."""
    text = " ".join(str(getattr(error, "msg", None) or error).split())
    text = re.sub(r"^\d{6} \(\w{5}\): (?:[0-9a-f-]{36}: |None: )?", "", text)
    return text.rstrip(". ")


def _chain(error: BaseException | None) -> Iterator[str]:
    """Return the messages of an error and its causes; the driver puts the reason last."""
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__


def _by_number(cases: tuple[_Case, ...], number: int | None) -> _Case | None:
    return next((case for case in cases if number in case.codes), None)


def _by_text(cases: tuple[_Case, ...], text: str) -> _Case | None:
    return next((case for case in cases if re.search(case.pattern, text, re.IGNORECASE)), None)


def _busy(error: Exception, location: str) -> ConnectorError | None:
    """Return the error of a busy service: too many requests, or temporarily unavailable."""
    kind, number = type(error).__name__, getattr(error, "errno", None)
    if kind == "TooManyRequests" or number in {429, 290429}:
        return RateLimitError(
            f"{location}: Snowflake received too many requests. Use fewer --threads."
        )
    if kind in {"ServiceUnavailableError", "BadGatewayError", "GatewayTimeoutError"}:
        return ConnectError(
            f"{location}: the service is temporarily unavailable. Run again.", retryable=True
        )
    return None


def _missing_or_denied(error: Exception, location: str, where: str | None) -> ConnectorError | None:
    number, text = getattr(error, "errno", None), server_message(error)
    missing = re.search(r"(\w+ '[^']+') does not exist or not authorized", text, re.IGNORECASE)
    if number in {2003, 2043} or missing:
        problem = f"{missing[1]} does not exist" if missing else text
        return ReadError(
            f"{location}: {problem}, or the role may not use it. List the tables with: cdpsync "
            "discover; or run there, as its owner: GRANT SELECT ON … TO ROLE …."
        )
    denied = re.search(r"Insufficient privileges to operate on (.+)", text)
    if number == 3001 or denied:
        table = denied[1].rstrip(". ") if denied else "the table"
        return ReadError(
            f"{location}: the role does not have the privilege for {table}. Run there, as its "
            "owner: GRANT SELECT ON … TO ROLE …."
        )
    if number in {904, 1003, 2028} and where:
        return where_error(location, where, text)
    return None


def _lost(error: Exception, location: str) -> ConnectorError:
    kind, number = type(error).__name__, getattr(error, "errno", None)
    if kind == "ForbiddenError" or number in {403, 290403}:
        return ReadError(
            f"{location}: the rows cannot be downloaded: their addresses, which are valid for some "
            "six hours, have expired, or a firewall blocks this machine's access to Snowflake's "
            "storage. Run again, with more --threads or fewer rows; SYSTEM$ALLOWLIST() names the "
            "hosts."
        )
    network = ".vendored." in type(error).__module__
    if network or number in {250001, 250003, 250005, 251011, 251012, 252010, 252013}:
        return ConnectError(f"{location}: the connection was lost while reading.", retryable=True)
    return ReadError(f"{location}: {server_message(error)}.")
