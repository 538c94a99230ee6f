"""The secrets that this process knows, and the function that removes them from a text.

Code that reads a secret (the configuration, a connector's options) passes it to `remember`. Each
text that leaves the process (errors, log lines, run records) passes through `redact`.
"""

import re
import threading
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"
# A shorter secret would hide half of every message; the patterns below still hide it.
_SHORTEST = 4

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
    """Hide this secret from now on, also quoted and URL-encoded."""
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
    """Hide the password of a URL."""
    password = url_password(url)
    if password is not None:
        remember(password)
        remember(unquote(password))


def url_password(url: str) -> str | None:
    """Return the password of a URL, still encoded, or None."""
    match = re.match(r"^[a-z][a-z0-9+.\-]*://[^/?#:]*:([^/?#]*)@", url, re.IGNORECASE)
    return match[1] if match else None


def redact(text: str) -> str:
    """Return the text with each known secret, and each likely one, replaced by `***`."""
    if _pattern is not None:
        text = _pattern.sub(HIDDEN, text)
    text = _IN_URL.sub(rf"\1{HIDDEN}\2", text)
    return _AS_PAIR.sub(rf"\1{HIDDEN}", text)
