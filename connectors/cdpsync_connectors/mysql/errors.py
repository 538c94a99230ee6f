"""What MySQL, PyMySQL and the wire say when something fails, in words that help."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cdpsync.errors import ConnectError, ConnectorError, ReadError

if TYPE_CHECKING:
    from cdpsync_connectors.mysql.options import Address

_REFUSED = 1045
_NO_TLS = 2026  # of PyMySQL itself

# By the server's code: what happened, what to do next, whether trying again may help.
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
        "This user logs in by other means than a password; take another one.",
        False,
    ),
    1044: (
        "this user may not use that database",
        "Check its name, or ask the administrator for: GRANT SELECT ON database.* TO user.",
        False,
    ),
    1049: ("there is no such database", "Check the name at the end of the URL.", False),
    1040: (
        "the server has no connection left",
        "Use fewer --threads, or raise its max_connections.",
        True,
    ),
    1203: (
        "this user has no connection left",
        "Use fewer --threads, or raise its max_user_connections.",
        True,
    ),
    1226: (
        "this user has used up what it may",
        "Wait, or ask the administrator to raise its limits.",
        True,
    ),
    1129: (
        "the server blocks this machine after too many failures",
        "Ask its administrator for: FLUSH HOSTS.",
        False,
    ),
    1130: (
        "the server lets nobody in from this machine",
        "Ask its administrator for a user that may come from here.",
        False,
    ),
    1820: ("the password must be changed", "Log in with mysql and change it.", False),
    1862: ("the password has expired", "Log in with mysql and change it.", False),
    1053: ("the server is shutting down", "Try again in a moment.", True),
    _NO_TLS: ("TLS could not be agreed on", "Check ssl_mode and the server's certificate.", False),
}

# By what stands in the text, where the code says too little.
_TEXTS: tuple[tuple[str, str, str, bool], ...] = (
    (
        r"insecure transport",
        "the server lets nobody in without TLS",
        "Set ssl_mode: required.",
        False,
    ),
    (
        r"(?:does not|doesn't) support (?:it|SSL)|SSL is required|SSL connection (?:is )?required",
        "the server speaks no TLS, which ssl_mode asks for",
        "Set ssl_mode: preferred, or turn TLS on at the server.",
        False,
    ),
    (
        r"certificate verify failed|CERTIFICATE_VERIFY_FAILED|Hostname mismatch",
        "the server's certificate could not be verified",
        "Set ssl_ca to the authority's certificate, and use the name that stands in it.",
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
        "this user's way to log in needs another package",
        "Install it: pip install 'pymysql[rsa,ed25519]'.",
        False,
    ),
    (
        r"Authentication plugin",
        "this user's way to log in is not known to PyMySQL",
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

_LOST = {1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 2055, 4031}
_LOST_TEXT = re.compile(
    r"Lost connection|gone away|Connection reset|Broken pipe|Packet sequence|LostError", re.I
)

_READING: dict[int, tuple[str, bool]] = {
    1205: ("the server waited too long for a lock that another session holds. Run again.", True),
    1213: ("the server gave up a statement in favour of another. Run again.", True),
    1317: ("somebody ended the statement at the server. Run again.", True),
    1412: ("the table was changed while it was read. Run again.", True),
    1615: ("the table was changed while it was read. Run again.", True),
    1969: ("", False),
    3024: ("", False),
    1461: (
        (
            "the server has no room for another prepared statement. Raise its "
            "max_prepared_stmt_count, or run again later."
        ),
        True,
    ),
}
_TOOK_TOO_LONG = (
    "the server ended a statement that took too long. Raise statement_timeout, or read less with "
    "where or an incremental mode."
)
_FAULTS_OF_WHERE = {1064, 1054, 1305, 1267, 1582, None}
_DENIED = {1142, 1143, 1044, 1227, 1370}
_GONE = {1146, 1051, 1049, 1054}


def translate_connecting(error: Exception, address: Address) -> ConnectError:
    """Name what kept us from a connection, and what to do."""
    code, said = _said(error)
    where = f"{address.place} as {address.user}" if address.user else address.place
    for pattern, what, advice, retryable in _TEXTS:
        if (code not in _CONNECTING or code == _NO_TLS) and re.search(pattern, said, re.I):
            return ConnectError(f"{where}: {what}. {advice}", retryable=retryable)
    if code in _CONNECTING:
        what, advice, retryable = _CONNECTING[code]
        if code == _REFUSED and address.ssl_mode == "disabled":  # all that MariaDB says then
            advice += (
                " Where the server wants TLS, this is what it says, too: Set ssl_mode: required."
            )
        return ConnectError(f"{where}: {what}. {advice}", retryable=retryable)
    lost = code in _LOST or bool(_LOST_TEXT.search(said)) or isinstance(error, OSError)
    said = "the connection was closed" if lost else said
    return ConnectError(
        f"{where}: no connection: {said}. Try again or check the server's log.", retryable=lost
    )


def translate_reading(
    error: Exception, address: Address, table: str = "", where: str | None = None
) -> ConnectorError:
    """Name what ended a read. `where` is the user's condition, which may be at fault."""
    code, said = _said(error)
    place = address.place
    lost = code in _LOST or _LOST_TEXT.search(f"{type(error).__name__} {said}")
    if lost or isinstance(error, OSError):
        return ConnectError(f"{place}: the connection was lost while reading.", retryable=True)
    if code in {1040, 1203}:
        return translate_connecting(error, address)
    if code in {1969, 3024} or "max_statement_time" in said:
        return ReadError(f"{place}: {_TOOK_TOO_LONG}")
    if code in _READING:
        message, retryable = _READING[code]
        return ReadError(f"{place}: {message}", retryable=retryable)
    if code in _DENIED:
        grant = table or "the table"
        user = address.user or "the user"
        return ReadError(
            f"{place}: {said}. Run there, as its administrator: GRANT SELECT ON {grant} TO {user}."
        )
    if where and code in _FAULTS_OF_WHERE:
        return ReadError(f'table "{table}": where: {" ".join(where.split())}: {said}.')
    if code in _GONE:
        return ReadError(f"{place}: {said}. See what there is with: cdpsync discover.")
    return ReadError(f"{place}: {said}.")


def _said(error: Exception) -> tuple[int | None, str]:
    """Return the server's or driver's code and words, on one line."""
    code = error.args[0] if error.args and isinstance(error.args[0], int) else None
    text = str(error.args[1]) if code is not None and len(error.args) > 1 else str(error)
    return code, " ".join(text.split()).rstrip(".")
