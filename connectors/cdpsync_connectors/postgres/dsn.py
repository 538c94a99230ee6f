"""Checks that user and password of a Postgres URL are percent-encoded, before libpq parses it.

libpq takes the text before the first `@`, if that precedes the first `/`, as user and password. An
unencoded `/` or `@` moves the rest of the password into host, port or database, which messages
show.
"""

from __future__ import annotations

import ipaddress
import re

from cdpsync.redact import HIDDEN
from cdpsync_connectors._shared.options import NOT_ENCODED, hide_password

_URL = re.compile(r"postgres(?:ql)?://(.*)", re.DOTALL)
_PORTS = re.compile(r"\d*(?:,\d*)*")


def require_encoded_login(url: str) -> None:
    """Raise ValueError, without any part of the URL, where user or password are not encoded.

    The text that may be the password is hidden in all later messages.
    """
    match = _URL.fullmatch(url)
    if not match:
        return
    address = match[1]
    if _is_torn(address):
        hide_password(address.rpartition("@")[0])
        raise ValueError(NOT_ENCODED)
    if "@" not in address and _names_user(re.split(r"[/?#]", address, maxsplit=1)[0]):
        hide_password(address)
        raise ValueError("write postgresql://user:password@host:5432/database")


def shown_host(host: str) -> str:
    """Return a list of hosts as messages may show it: only names, addresses and sockets."""
    return ",".join(name if _is_host(name) else HIDDEN for name in host.split(","))


def shown_port(port: str) -> str:
    """Return a port as messages may show it."""
    return port if _PORTS.fullmatch(port) else HIDDEN


def shown_database(name: str) -> str:
    """Return a database's name as messages may show it."""
    return HIDDEN if "@" in name else name


def _is_torn(address: str) -> bool:
    """Whether an `@` is where only an unencoded user or password puts it."""
    before, slash, after = address.partition("/")
    user, at, hosts = before.partition("@")
    if at:
        location, question_mark, query = (hosts + slash + after).partition("?")
        login_parts = re.split(r"[?#]", user, maxsplit=1)
        return (
            "@" in location
            or (len(login_parts) > 1 and _names_user(login_parts[0]))
            or (bool(question_mark) and _has_bare_at(query))
        )
    path, _, query = after.partition("?")
    return "@" in path or ("@" in after and _names_user(before)) or _has_bare_at(query)


def _has_bare_at(query: str) -> bool:
    """Whether the first `@` of a query is outside of every parameter's value."""
    name, at, _ = query.partition("@")
    return bool(at) and "=" not in name


def _names_user(authority: str) -> bool:
    """Whether `name:text` is a user with a password, because the text is not a port."""
    hosts = re.sub(r"\[[^\]]*\]", "", authority).split(",")
    return any(not _PORTS.fullmatch(host.partition(":")[2]) for host in hosts)


def _is_host(text: str) -> bool:
    if text.startswith(("/", "@/")):  # a socket's folder, or an abstract socket
        return "@" not in text[1:]
    if ":" not in text:
        return "@" not in text
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
