"""Errors of Postgres, psycopg and DuckDB's scanner, translated to ours with a next step."""

from __future__ import annotations

import re

from cdpsync.errors import ConnectError, ConnectorError, OpenTypeError, ReadError, ViewLostError
from cdpsync_connectors.postgres.guards import is_of_guess, read_marker

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
        r"too many clients|remaining connection slots|too many connections|max_client_conn",
        "the server has no free connection",
        "Use fewer --threads, or raise its max_connections.",
        True,
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
    r"|the connection is (?:closed|lost)|connection is bad|lost synchronization"
    r'|consuming input failed|Failed to execute query "(?:ROLLBACK|COMMIT|set local .*)": *$'
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
        (
            r"conflict with recovery|deadlock detected|could not serialize|lock timeout"
            r"|lock not available"
        ),
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
    lost = bool(_LOST.search(text))
    reason = "the connection was closed" if lost else _server_message(text)
    return ConnectError(
        f"{location}: no connection: {reason}. Try again or check the server's log.", retryable=lost
    )


def translate_reading(
    error: Exception, location: str, user: str, table: str | None = None
) -> ConnectorError | None:
    """Return the error of a failed read; None when it comes neither from Postgres nor our select.

    `user` and `table` are quoted as SQL, for a GRANT that can be pasted.
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
            f"{location}: the snapshot that this read shares was lost with its connection."
        )
    for pattern, message, retryable in _READING:
        if re.search(pattern, text, re.IGNORECASE):
            return ReadError(f"{location}: {message}", retryable=retryable)
    if _LOST.search(text):
        return ConnectError(f"{location}: the connection was lost while reading.", retryable=True)
    if re.search(r"too many clients|remaining connection slots|too many connections", text):
        return translate_connecting(error, location)
    return _missing_or_denied(text, location, user, table) or _other_error(error, text, location)


def _missing_or_denied(text: str, location: str, user: str, table: str | None) -> ReadError | None:
    denied = re.search(r"permission denied for ([a-z ]+) ([^\n]+)", text)
    if denied:
        name = denied[2].strip()
        grant = f"USAGE ON SCHEMA {name}" if denied[1] == "schema" else f"SELECT ON {table or name}"
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


def _other_error(error: Exception, text: str, location: str) -> ReadError | None:
    is_conversion = type(error).__name__ in {"ConversionException", "OutOfRangeException"}
    if is_conversion or type(error).__module__.startswith("psycopg") or _OF_SCANNER.search(text):
        return ReadError(f"{location}: {_server_message(text)}.")
    return None


def _server_message(text: str) -> str:
    """Return the server's own message from an error's text, on one line."""
    match = re.search(r"(?:ERROR|FATAL|PANIC):\s+(.*)", text, re.DOTALL)
    message = (match[1] if match else text).split("\nLINE ")[0]
    return _one_line(message).rstrip(".")


def _one_line(text: str) -> str:
    return " ".join(text.split())
