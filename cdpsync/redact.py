"""Secrets known to this process, and the one function that takes them out of a text.

Whoever learns a secret (the configuration, a connector's options) says so with `remember`;
whatever leaves the process as text (errors, log lines, run records) passes through `redact`.
"""

import re
import threading
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"
_SHORTEST = (
    4  # a shorter secret would blank out half of every message; patterns below still hide it
)

_known: set[str] = set()
_guard = threading.Lock()
_pattern: re.Pattern[str] | None = None

_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.\-]{0,30}://[^\s:/@'\"]*:)[^\s'\"]*(@)", re.IGNORECASE)
_AS_PAIR = re.compile(
    r"(\b(?:password|passwd|pwd|secret|secret_access_key|token|api_key|passphrase)\s*[=:]\s*)"
    r"('(?:[^'\\]|\\.|'')*'|\"[^\"]*\"|[^\s,;&'\"]+)",
    re.IGNORECASE,
)


def remember(secret: str | None) -> None:
    """Hide this secret, in each form it may be written in, from now on."""
    global _pattern
    if not secret or len(secret) < _SHORTEST:
        return
    forms = {secret, unquote(secret), quote(secret, safe=""), quote_plus(secret)}
    forms |= {form.replace("'", "''") for form in forms}
    forms |= {form.replace("\\", "\\\\").replace("'", "\\'") for form in forms}
    with _guard:
        _known.update(form for form in forms if len(form) >= _SHORTEST)
        longest_first = sorted(_known, key=len, reverse=True)
        _pattern = re.compile("|".join(re.escape(form) for form in longest_first))


def remember_url(url: str) -> None:
    """Hide the password that stands in a URL."""
    password = url_password(url)
    if password is not None:
        remember(password)
        remember(unquote(password))


def url_password(url: str) -> str | None:
    """Return the password that stands in a URL, as it is written there."""
    found = re.match(r"^[a-z][a-z0-9+.\-]*://[^/?#:]*:([^/?#]*)@", url, re.IGNORECASE)
    return found[1] if found else None


def redact(text: str) -> str:
    """Return the text with every known secret, and whatever looks like one, as `***`."""
    if _pattern is not None:
        text = _pattern.sub(HIDDEN, text)
    text = _IN_URL.sub(rf"\1{HIDDEN}\2", text)
    return _AS_PAIR.sub(rf"\1{HIDDEN}", text)
