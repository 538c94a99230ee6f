"""A Postgres URL whose password is not percent-encoded, found before libpq misreads it.

libpq takes what is before the first `@` ahead of the first `/` as user and password. A bare `/`
or `@` in a password moves the rest of it into host, port or database, which messages show.
"""

from __future__ import annotations

import ipaddress
import re

from cdpsync.redact import HIDDEN, remember

_URL = re.compile(r"postgres(?:ql)?://(.*)", re.DOTALL)
_PORTS = re.compile(r"\d*(?:,\d*)*")


def refuse_bare_characters(url: str) -> None:
    """Raise ValueError, without a piece of the URL, where user or password are not encoded.

    What may have been meant as a secret is hidden from then on.
    """
    found = _URL.fullmatch(url)
    if not found:
        return
    rest = found[1]
    if _is_torn(rest):
        _hide(rest.rpartition("@")[0])
        raise ValueError(
            "the user or password in the URL has a character that must be percent-encoded "
            "(@ as %40, / as %2F, : as %3A, ? as %3F, # as %23)"
        )
    if "@" not in rest and _names_user(re.split(r"[/?#]", rest, maxsplit=1)[0]):
        _hide(rest)
        raise ValueError("write postgresql://user:password@host:5432/database")


def shown_host(host: str) -> str:
    """Return a host as messages may show it: names, addresses and sockets, nothing else."""
    return ",".join(one if _is_host(one) else HIDDEN for one in host.split(","))


def shown_port(port: str) -> str:
    """Return a port as messages may show it."""
    return port if _PORTS.fullmatch(port) else HIDDEN


def shown_database(name: str) -> str:
    """Return a database's name as messages may show it."""
    return HIDDEN if "@" in name else name


def _is_torn(rest: str) -> bool:
    """Whether an `@` stands where only an unencoded user or password puts one."""
    before, slash, after = rest.partition("/")
    user, at, hosts = before.partition("@")
    if at:
        address, query, asked = (hosts + slash + after).partition("?")
        cut = re.split(r"[?#]", user, maxsplit=1)
        return (
            "@" in address
            or (len(cut) > 1 and _names_user(cut[0]))
            or (bool(query) and _has_bare_at(asked))
        )
    path, _, asked = after.partition("?")
    return "@" in path or ("@" in after and _names_user(before)) or _has_bare_at(asked)


def _has_bare_at(query: str) -> bool:
    """Whether the first `@` of a query stands in no parameter's value."""
    name, at, _ = query.partition("@")
    return bool(at) and "=" not in name


def _names_user(authority: str) -> bool:
    """Whether `name:something` is rather a user and a password than hosts with their ports."""
    hosts = re.sub(r"\[[^\]]*\]", "", authority).split(",")
    return any(not _PORTS.fullmatch(host.partition(":")[2]) for host in hosts)


def _hide(text: str) -> None:
    """Hide the password that a person may have meant, as a whole and in each of its pieces."""
    password = text.partition(":")[2] or text
    for secret in (password, text, *re.split(r"[/@?#:&=]", password)):
        remember(secret)


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
