"""Addresses of requests: hosts that come from rows must be allowed, and must be public."""

from __future__ import annotations

import ipaddress
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

# Narrower than the standard, because two parsers may differ on anything else: no user, no
# backslash, no percent sign in the host.
_URL = re.compile(
    r"https?://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>\d{1,5}))?(?=[/?#]|$)"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_URL = re.compile(r"[^\x21-\x7e]")


def literal_host(url: str) -> str | None:
    """Return the host of a URL with `{{ expressions }}`, or None if one of them is part of it.

    Values from outside the file (`${…}`) are filled in already.
    """
    match = _URL.match(url)
    return match["host"].lower() if match else None


def url_fault(url: str, host: str | None, allowed: Sequence[str]) -> str | None:
    """Return why a URL may not be requested, or None.

    `host` is the one that the project file names; without it the host comes from the row and must
    match one of `allowed`, which are names or patterns such as `*.example.com`.
    """
    if _CONTROL.search(url):
        return "the URL has a control character"
    if (bad := _NOT_IN_URL.search(url)) is not None:
        return f"the URL has {bad[0]!r}, which must be percent-encoded"
    match = _URL.match(url)
    if match is None:
        return "the URL is not http:// or https:// with a plain host"
    name = match["host"].lower()
    if host is not None:
        return None if name == host else f"the row changes the host of the URL to {name}"
    if any(fnmatchcase(name, pattern.lower()) for pattern in allowed):
        return None
    return f"the host {name} is not under allow_hosts"


def header_fault(line: str) -> str | None:
    """Return why a header may not be sent, or None: curl sends a line end as it is."""
    if _CONTROL.search(line):
        return f"the header {line.partition(':')[0]!r} has a control character"
    return None


def is_public(address: str) -> bool:
    """Whether an IP address is on the internet: not private, loopback, link-local or reserved."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None and not inner.is_global:
            return False
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF).is_global
    return ip.is_global and not ip.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def shown(url: str) -> str:
    """Return a URL for messages and logs: without its query, which may have a secret."""
    return quote(url.partition("?")[0], safe=":/[]%@!$&'()*+,;=~-._")
