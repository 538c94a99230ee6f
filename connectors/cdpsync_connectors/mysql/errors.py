"""Errors of MySQL, PyMySQL and the network, translated to ours with a next step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cdpsync.errors import ConnectError, ConnectorError, ReadError
from cdpsync_connectors._shared.relations import where_error

if TYPE_CHECKING:
    from cdpsync_connectors.mysql.options import Address

_REFUSED = 1045
_NO_TLS = 2026  # of PyMySQL itself
_LIMITED, _NO_USER_CONNECTION = 1226, 1203

# By the server's code: problem, advice, whether another attempt may help.
_CONNECTING: dict[int, tuple[str, str, bool]] = {
    _REFUSED: (
        "the user or the password was refused",
        (
            "Check both, and from which hosts the user may come; a password in a URL needs its "
            "special characters percent-encoded."
        ),
        False,
    ),
    1698: (
        "the user or the password was refused",
        "This user does not log in with a password; use another one.",
        False,
    ),
    1044: (
        "this user may not use that database",
        "Check its name, or ask the administrator for: GRANT SELECT ON database.* TO user.",
        False,
    ),
    1049: ("there is no such database", "Check the name at the end of the URL.", False),
    1040: (
        "the server has no free connection",
        "Set max_connections on the source, which limits ours, or raise the server's.",
        True,
    ),
    1203: (
        "this user has no free connection",
        "Set max_connections on the source, which limits ours, or raise its max_user_connections.",
        True,
    ),
    1226: (
        "this user has reached a limit of the server",
        "Wait, or ask the administrator to raise its limits.",
        True,
    ),
    1129: (
        "the server blocks this machine after too many failures",
        "Ask its administrator for: FLUSH HOSTS.",
        False,
    ),
    1130: (
        "the server refuses connections from this machine",
        "Ask its administrator for a user that may come from here.",
        False,
    ),
    1820: ("the password must be changed", "Log in with mysql and change it.", False),
    1862: ("the password has expired", "Log in with mysql and change it.", False),
    1053: ("the server is shutting down", "Try again in a moment.", True),
    _NO_TLS: ("TLS could not be agreed on", "Check ssl_mode and the server's certificate.", False),
}

# By the text, where the code is not specific enough.
_PATTERNS: tuple[tuple[str, str, str, bool], ...] = (
    (
        r"insecure transport",
        "the server refuses connections without TLS",
        "Set ssl_mode: required.",
        False,
    ),
    (
        r"(?:does not|doesn't) support (?:it|SSL)|SSL is required|SSL connection (?:is )?required",
        "the server does not support TLS, which ssl_mode requires",
        "Set ssl_mode: preferred, or turn TLS on at the server.",
        False,
    ),
    (
        r"certificate verify failed|CERTIFICATE_VERIFY_FAILED|Hostname mismatch",
        "the server's certificate could not be verified",
        "Set ssl_ca to the authority's certificate, and use the host name in it.",
        False,
    ),
    (
        (
            r"Name or service not known|nodename nor servname|getaddrinfo failed"
            r"|name resolution|No address associated"
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
        r"timed out|timeout",
        "no answer in time",
        "Check host, port and firewall, or raise connect_timeout.",
        True,
    ),
    (
        r"cryptography|PyNaCl|pynacl",
        "this user's login method needs another package",
        "Install it: pip install 'pymysql[rsa,ed25519]'.",
        False,
    ),
    (
        r"Authentication plugin",
        "PyMySQL does not know this user's login method",
        "Give it a password by caching_sha2_password or mysql_native_password.",
        False,
    ),
    (
        r"Access denied",
        "the user or the password was refused",
        "Check both.",
        False,
    ),
)

_NO_CONNECTION = {1040, 1203, 1226}

_LOST = {1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 2055, 4031}
_LOST_TEXT = re.compile(
    r"Lost connection|gone away|Connection reset|Broken pipe|Packet sequence|LostError", re.I
)

LOCKED = 1205
BAD_VIEW = {1356, 1449}
"""A view over something that is gone, or whose definer is gone or lacks a right."""

_READING: dict[int, tuple[str, bool]] = {
    LOCKED: (
        (
            "the server waited too long for a lock that another session holds. Run again when "
            "that has ended, or raise lock_timeout."
        ),
        False,
    ),
    1213: (
        "the server cancelled the statement because it conflicts with another. Run again.",
        True,
    ),
    1317: ("the statement was cancelled at the server. Run again.", True),
    1412: ("the table was changed while it was read. Run again.", True),
    1615: ("the table was changed while it was read. Run again.", True),
    1969: ("", False),
    3024: ("", False),
    1461: (
        (
            "the server accepts no more prepared statements. Raise its "
            "max_prepared_stmt_count, or run again later."
        ),
        True,
    ),
}
_TOOK_TOO_LONG = (
    "the server ended a statement that took too long. Raise statement_timeout, or read less with "
    "where or an incremental mode."
)
_WHERE_CODES = {1064, 1054, 1305, 1267, 1582, None}
_DENIED = {1142, 1143, 1044, 1227, 1370}
_MISSING = {1146, 1051, 1049, 1054}


def translate_connecting(error: Exception, address: Address) -> ConnectError:
    """Return the error of a failed connection, with advice."""
    code, message = _code_and_message(error)
    login = f"{address.location} as {address.user}" if address.user else address.location
    for pattern, problem, advice, retryable in _PATTERNS:
        if (code not in _CONNECTING or code == _NO_TLS) and re.search(pattern, message, re.I):
            return ConnectError(f"{login}: {problem}. {advice}", retryable=retryable)
    if code == _LIMITED and "max_user_connections" in message:
        code = _NO_USER_CONNECTION
    if code in _CONNECTING:
        problem, advice, retryable = _CONNECTING[code]
        if code == _REFUSED and address.ssl_mode == "disabled":  # MariaDB then sends no other code
            advice += " A server that requires TLS answers the same: then set ssl_mode: required."
        return ConnectError(f"{login}: {problem}. {advice}", retryable=retryable)
    lost = code in _LOST or bool(_LOST_TEXT.search(message)) or isinstance(error, OSError)
    reason = "the connection was closed" if lost else message
    return ConnectError(
        f"{login}: no connection: {reason}. Try again or check the server's log.", retryable=lost
    )


def translate_reading(
    error: Exception, address: Address, table: str = "", where: str | None = None
) -> ConnectorError:
    """Return the error of a failed read. `where` is the user's condition, which may be wrong."""
    code, message = _code_and_message(error)
    location = address.location
    lost = code in _LOST or _LOST_TEXT.search(f"{type(error).__name__} {message}")
    if lost or isinstance(error, OSError):
        return ConnectError(f"{location}: the connection was lost while reading.", retryable=True)
    if code in _NO_CONNECTION:
        return translate_connecting(error, address)
    if code in BAD_VIEW:
        return ReadError(f"{location}: {invalid_view(table, message)}")
    if code in {1969, 3024} or "max_statement_time" in message:
        return ReadError(f"{location}: {_TOOK_TOO_LONG}")
    if code in _READING:
        problem, retryable = _READING[code]
        return ReadError(f"{location}: {problem}", retryable=retryable)
    if code in _DENIED:
        grant = table or "the table"
        user = address.user or "the user"
        return ReadError(
            f"{location}: {message}. Run there, as its administrator: "
            f"GRANT SELECT ON {grant} TO {user}."
        )
    if where and code in _WHERE_CODES:
        return where_error(f'table "{table}"', where, message)
    if code in _MISSING:
        return ReadError(f"{location}: {message}. List the tables with: cdpsync discover.")
    return ReadError(f"{location}: {message}.")


def invalid_view(view: str, message: str) -> str:
    """Return the message of a view that its server cannot run, with the server's reason."""
    return (
        f'the view "{view}" is invalid at the server: {message.rstrip(".")}. Repair it there with '
        "CREATE OR REPLACE VIEW, or set enabled: false on its table."
    )


def lacks_connection(error: BaseException) -> bool:
    """Whether the server has no connection left, for anybody or for this user."""
    code, message = _code_and_message(error)
    return code in _NO_CONNECTION and (code != _LIMITED or "max_user_connections" in message)


def error_code(error: BaseException) -> int:
    """Return the server's or driver's code of an error; 0 for one without."""
    return _code_and_message(error)[0] or 0


def _code_and_message(error: BaseException) -> tuple[int | None, str]:
    """Return the server's or driver's code and its message on one line."""
    code = error.args[0] if error.args and isinstance(error.args[0], int) else None
    text = str(error.args[1]) if code is not None and len(error.args) > 1 else str(error)
    return code, " ".join(text.split()).rstrip(".")
