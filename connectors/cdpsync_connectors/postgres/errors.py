"""What Postgres, psycopg and DuckDB's scanner say when something fails, in words that help."""

from __future__ import annotations

import re

from cdpsync.errors import ConnectError, ConnectorError, ReadError, ViewLostError
from cdpsync_connectors.postgres.guards import read_marker

# (what the driver says, what happened, what to do next, whether trying again may help)
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
        "the server speaks no TLS, which sslmode asks for",
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
        "the server lets nobody in without TLS",
        "Set sslmode: require.",
        False,
    ),
    (
        r"no pg_hba\.conf entry",
        "the server's pg_hba.conf lets this user not in from here",
        "Ask its administrator for an entry.",
        False,
    ),
    (
        r"too many clients|remaining connection slots|too many connections|max_client_conn",
        "the server has no connection left",
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

_VIEW_LOST = re.compile(
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
        "the server gave up a statement in favour of another. Run again.",
        True,
    ),
    (
        r"row-level security policy",
        (
            "row-level security keeps rows from this user. Let it BYPASSRLS, or read, in place of "
            "the table, a view of the rows it may have, owned by the table's owner."
        ),
        False,
    ),
)

_OURS = re.compile(
    r"\b(?:ERROR|FATAL|PANIC): |Postgres|for COPY|Failed to (?:prepare|execute) query"
)


def translate_connecting(error: Exception, place: str) -> ConnectError:
    """Name what kept us from a connection, and what to do."""
    text = str(error)
    for pattern, what, advice, retryable in _CONNECTING:
        if re.search(pattern, text, re.IGNORECASE):
            return ConnectError(f"{place}: {what}. {advice}", retryable=retryable)
    lost = bool(_LOST.search(text))
    said = "the connection was closed" if lost else _said(text)
    return ConnectError(
        f"{place}: no connection: {said}. Try again or check the server's log.", retryable=lost
    )


def translate_reading(
    error: Exception, place: str, user: str, table: str | None = None
) -> ConnectorError | None:
    """Name what ended a read; None when the error is not one of Postgres or of our select.

    `user` and `table` are spelled as SQL, for a GRANT that can be pasted.
    """
    text = str(error)
    guarded = read_marker(text)
    if guarded is not None:
        return ReadError(f"{place}: {_one_line(guarded)}")
    if "Unable to connect to Postgres" in text or "connection failed" in text:
        return translate_connecting(error, place)
    if _VIEW_LOST.search(text):
        return ViewLostError(
            f"{place}: the view of the data that this read shares is gone, its connection was lost."
        )
    for pattern, message, retryable in _READING:
        if re.search(pattern, text, re.IGNORECASE):
            return ReadError(f"{place}: {message}", retryable=retryable)
    if _LOST.search(text):
        return ConnectError(f"{place}: the connection was lost while reading.", retryable=True)
    if re.search(r"too many clients|remaining connection slots|too many connections", text):
        return translate_connecting(error, place)
    return _refused(text, place, user, table) or _unnamed(error, text, place)


def _refused(text: str, place: str, user: str, table: str | None) -> ReadError | None:
    denied = re.search(r"permission denied for ([a-z ]+) ([^\n]+)", text)
    if denied:
        name = denied[2].strip()
        grant = f"USAGE ON SCHEMA {name}" if denied[1] == "schema" else f"SELECT ON {table or name}"
        return ReadError(
            f"{place}: permission denied for {denied[1]} {name}. "
            f"Run there, as its owner: GRANT {grant} TO {user}."
        )
    gone = re.search(r'(relation|column|schema) ("?[^\n]*"?) does not exist', text)
    if gone:
        return ReadError(
            f"{place}: {gone[1]} {gone[2]} does not exist, or not any more. "
            f"See what there is with: cdpsync discover."
        )
    return None


def _unnamed(error: Exception, text: str, place: str) -> ReadError | None:
    is_conversion = type(error).__name__ in {"ConversionException", "OutOfRangeException"}
    if is_conversion or type(error).__module__.startswith("psycopg") or _OURS.search(text):
        return ReadError(f"{place}: {_said(text)}.")
    return None


def _said(text: str) -> str:
    """Return the server's own words out of an error's text, on one line."""
    found = re.search(r"(?:ERROR|FATAL|PANIC):\s+(.*)", text, re.DOTALL)
    words = (found[1] if found else text).split("\nLINE ")[0]
    return _one_line(words).rstrip(".")


def _one_line(text: str) -> str:
    return " ".join(text.split())
