"""Errors of Postgres, psycopg and DuckDB's scanner, translated to ours with a next step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cdpsync.errors import ConnectError, ConnectorError, OpenTypeError, ReadError, ViewLostError
from cdpsync.sql import quote_name
from cdpsync_connectors.postgres.encoding import is_refused_text
from cdpsync_connectors.postgres.guards import is_of_guess, read_marker

_REFUSED = (
    r"too many clients|remaining connection slots|too many connections|max_client_conn"
    r"|no more connections allowed|max_db_connections|max_user_connections"
)

if TYPE_CHECKING:
    from collections.abc import Callable

# (pattern of the driver's message, problem, advice, whether another attempt may help)
_CONNECTING: tuple[tuple[str, str, str, bool], ...] = (
    (
        r"password authentication failed|authentication failed",
        "the user or the password was refused",
        "Check both; a password in a URL needs its special characters percent-encoded.",
        False,
    ),
    (r"no password supplied", "the server asks for a password", "Give one.", False),
    (
        (
            r"could not translate host name|failed to resolve host|Name or service not known"
            r"|nodename nor servname"
        ),
        "the host name is not known",
        "Check its spelling and this machine's DNS.",
        False,
    ),
    (
        r"Connection refused",
        "nothing listens there",
        "Check host and port, and that the server is running and reachable from here.",
        True,
    ),
    (
        r'database "[^\n]*" does not exist',
        "there is no such database",
        "Check the name at the end of the URL.",
        False,
    ),
    (r'role "[^\n]*" does not exist', "there is no such user", "Check the user's name.", False),
    (
        r"server does not support SSL",
        "the server does not support TLS, which sslmode requires",
        "Set sslmode: prefer, or turn TLS on at the server.",
        False,
    ),
    (
        r"certificate verify failed|root certificate file|server certificate",
        "the server's certificate could not be verified",
        "Set sslrootcert to the authority's certificate.",
        False,
    ),
    (
        r"no pg_hba\.conf entry[^\n]*no encryption|SSL[^\n]*required|SSL connection is required",
        "the server refuses connections without TLS",
        "Set sslmode: require.",
        False,
    ),
    (
        r"no pg_hba\.conf entry",
        "the server's pg_hba.conf does not allow this user from this machine",
        "Ask its administrator for an entry.",
        False,
    ),
    (
        _REFUSED,
        "the server, or a pooler before it, has no free connection for this user",
        "Set max_connections on the source to what it gives (1 is enough), or raise the limit.",
        True,
    ),
    (
        r"query_wait_timeout|client_login_timeout",
        "a pooler had no free connection in time",
        "Set max_connections on the source to as many as its pool has for us (1 is enough).",
        True,
    ),
    (
        r"unsupported startup parameter(?: in options)?: *\"?options|unsupported startup parameter",
        "a pooler refuses a parameter of the connection",
        "Take `options` out of the url; or name it in pgbouncer's ignore_startup_parameters.",
        False,
    ),
    (
        r"invalid port number",
        "the port is not between 1 and 65535",
        "Check it.",
        False,
    ),
    (
        r"channel binding required",
        "channel_binding is required, and the server cannot do it on this connection",
        "Set sslmode: require, or take channel_binding=require out of the url.",
        False,
    ),
    (
        r"authentication method requirement \"[^\"\n]*\" failed",
        "the server asks for another authentication than require_auth allows",
        "Take require_auth out of the url, or have the server's pg_hba.conf changed.",
        False,
    ),
    (
        r'definition of service "[^\n]*" not found',
        "the service that the url names is in no pg_service.conf",
        "Check its name and PGSERVICEFILE, or write host, user and database into the url.",
        False,
    ),
    (
        (
            r"the database system is (?:starting up|shutting down|in recovery mode)"
            r"|not (?:yet )?accepting connections"
        ),
        "the server is starting up or shutting down",
        "Try again in a moment.",
        True,
    ),
    (
        r"timeout expired|connection timeout|timed out",
        "no answer in time",
        "Check host, port and firewall, or raise connect_timeout.",
        True,
    ),
)

_LOST = re.compile(
    r"server closed the connection|terminating connection|connection to server was lost"
    r"|connection not open|could not receive data|could not send data|SSL SYSCALL"
    r"|SSL connection has been closed|Connection reset|Broken pipe|no connection to the server"
    r"|the connection is (?:closed|lost)|connection is bad(?!: \S)|lost synchronization"
    r'|consuming input failed|Failed to execute query "(?:ROLLBACK|COMMIT|set local [^\x00]*)": *$'
    r"|Unexpected end of (?:file|COPY)|unexpected EOF",
    re.IGNORECASE,
)

_SNAPSHOT_LOST = re.compile(
    r"could not import the requested snapshot|snapshot \"[^\n]*\" does not exist"
    r"|invalid snapshot identifier",
    re.IGNORECASE,
)

_READING: tuple[tuple[str, str, bool], ...] = (
    (
        r"statement timeout",
        (
            "the server ended a statement that took too long. Raise statement_timeout, or read "
            "less with where or an incremental mode."
        ),
        False,
    ),
    (
        r"lock timeout",
        (
            "another session holds a lock on it, and did not give it up within lock_timeout. Run "
            "again when it has ended, or raise lock_timeout on the source."
        ),
        False,
    ),
    (
        r"idle.in.transaction.timeout|idle.transaction.timeout",
        (
            "the server, or a pooler before it, ended a transaction because it was idle. Raise "
            "idle_transaction_timeout (pgbouncer) or idle_in_transaction_session_timeout to 10 s "
            "or more; or set max_connections: 1 on the source, so that no transaction waits."
        ),
        True,
    ),
    (
        r"conflict with recovery|deadlock detected|could not serialize|lock not available",
        "the server cancelled the statement because it conflicts with another. Run again.",
        True,
    ),
    (
        r"row-level security policy",
        (
            "row-level security hides rows from this user. Grant it BYPASSRLS; or create a view of "
            "the rows that it may read, owned by the table's owner, and read that view instead."
        ),
        False,
    ),
)

_OF_SCANNER = re.compile(
    r"\b(?:ERROR|FATAL|PANIC): |Postgres|for COPY|Failed to (?:prepare|execute) query"
)


def translate_connecting(error: Exception, location: str) -> ConnectError:
    """Return the error of a failed connection, with advice."""
    text = str(error)
    for pattern, problem, advice, retryable in _CONNECTING:
        if re.search(pattern, text, re.IGNORECASE):
            return ConnectError(f"{location}: {problem}. {advice}", retryable=retryable)
    wrong_parameter = _wrong_parameter(text)
    if wrong_parameter:
        return ConnectError(f"{location}: {wrong_parameter}")
    if _LOST.search(text):
        return ConnectError(
            f"{location}: no connection: the connection was closed. Try again, or check the "
            "server's log.",
            retryable=True,
        )
    return ConnectError(
        f"{location}: no connection: {_server_message(text)}. Check the source's options and url, "
        "and the server's log."
    )


def translate_reading(
    error: Exception,
    location: str,
    user: str,
    table: str | None = None,
    qualify: Callable[[str], str] = str,
) -> ConnectorError | None:
    """Return the error of a failed read; None when it comes neither from Postgres nor our select.

    `user` and `table` are quoted as SQL, for a GRANT that can be pasted. `qualify` returns the
    name of another relation with its schema, which the server leaves out.
    """
    text = str(error)
    guarded = read_marker(text)
    if guarded is not None:
        message = f"{location}: {_one_line(guarded)}"
        return OpenTypeError(message) if is_of_guess(text) else ReadError(message)
    if "Unable to connect to Postgres" in text or "connection failed" in text:
        return translate_connecting(error, location)
    if _SNAPSHOT_LOST.search(text):
        return ViewLostError(
            f"{location}: the snapshot that this read shares was lost with its connection. If this "
            "repeats, something ends idle transactions: raise pgbouncer's idle_transaction_timeout "
            "to 10 s or more; or set max_connections: 1 on the source."
        )
    for pattern, message, retryable in _READING:
        if re.search(pattern, text, re.IGNORECASE):
            return ReadError(f"{location}: {message}", retryable=retryable)
    if is_refused_for_number(error):
        return translate_connecting(error, location)
    if _LOST.search(text):
        return ConnectError(f"{location}: the connection was lost while reading.", retryable=True)
    if is_refused_text(error):
        return RefusedTextError(f"{location}: {_server_message(text)}.")
    return _missing_or_denied(text, location, user, table, qualify) or _other_error(
        error, text, location
    )


class RefusedTextError(ReadError):
    """A text that the server cannot send as UTF-8; the server does not name its column."""


def is_refused_for_number(error: Exception) -> bool:
    """Whether a connection was refused because there are too many of them."""
    return bool(re.search(f"{_REFUSED}|query_wait_timeout", str(error), re.IGNORECASE))


_WRONG_PARAMETER = re.compile(
    r"bad value for (?P<number>\w+): "
    r'|invalid (?:integer )?"?(?:value "(?P<text>[^"\n]*)" for connection option "(?P<option>\w+)"'
    r'|(?P<name>\w+)"? value: "(?P<value>[^"\n]*)")'
    r'|(?P<weak>weak sslmode "\w+" may not be used with \w+=\w+)'
)
_ADVICE_ON_VALUES = {
    "no-verify": "Write sslmode=require, which encrypts and verifies nothing",
    "true": "Write sslmode=require",
    "false": "Write sslmode=disable",
}


def _wrong_parameter(text: str) -> str | None:
    """Return the problem with a connection's parameter and what to do, or None.

    The value of a number is not repeated, because a torn password may be where the port is.
    """
    match = _WRONG_PARAMETER.search(text)
    if match is None:
        return None
    if match["weak"]:
        return f"{match['weak']}. Write sslmode=require, verify-ca or verify-full."
    option = match["option"] or match["number"]
    if option:
        return f"the value of {option} is not a number. Write digits, or leave it out."
    advice = _ADVICE_ON_VALUES.get(match["value"], f"Write one that libpq has for {match['name']}")
    return f'{match["name"]} cannot be "{match["value"]}". {advice}, or leave it out.'


def _missing_or_denied(
    text: str, location: str, user: str, table: str | None, qualify: Callable[[str], str]
) -> ReadError | None:
    denied = re.search(r"permission denied for ([a-z ]+) ([^\n]+)", text)
    if denied:
        name = denied[2].strip()
        grant = _grant(denied[1], name, table, qualify)
        return ReadError(
            f"{location}: permission denied for {denied[1]} {name}. "
            f"Run there, as its owner: GRANT {grant} TO {user}."
        )
    missing = re.search(r'(relation|column|schema) ("?[^\n]*"?) does not exist', text)
    if missing:
        return ReadError(
            f"{location}: {missing[1]} {missing[2]} does not exist or was dropped. "
            f"List the tables with: cdpsync discover."
        )
    return None


_GRANTS = {
    "schema": "USAGE ON SCHEMA",
    "function": "EXECUTE ON FUNCTION",
    "type": "USAGE ON TYPE",
    "foreign server": "USAGE ON FOREIGN SERVER",
    "sequence": "SELECT ON SEQUENCE",
}


def _grant(kind: str, name: str, table: str | None, qualify: Callable[[str], str]) -> str:
    """Return what to grant; a view with the rights of its reader may lack a table below it."""
    if kind in _GRANTS:
        return f"{_GRANTS[kind]} {name}"
    is_the_table = table is None or table.endswith(f".{quote_name(name)}")
    return f"SELECT ON {(table if is_the_table else qualify(name)) or name}"


def _other_error(error: Exception, text: str, location: str) -> ReadError | None:
    is_conversion = type(error).__name__ in {"ConversionException", "OutOfRangeException"}
    if is_conversion or type(error).__module__.startswith("psycopg") or _OF_SCANNER.search(text):
        return ReadError(f"{location}: {_server_message(text)}.")
    return None


def _server_message(text: str) -> str:
    """Return the server's own message from an error's text, on one line."""
    match = re.search(r"(?:ERROR|FATAL|PANIC):\s+(.*)", text, re.DOTALL)
    message = (match[1] if match else text).split("\nLINE ")[0]
    message = re.sub(r"^connection is bad: ", "", message)
    return _one_line(message).rstrip(".")


def _one_line(text: str) -> str:
    return " ".join(text.split())
