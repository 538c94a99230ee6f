"""The secrets that this process knows, and the function that removes them from a text.

Code that reads a secret (the configuration, a connector's options) passes it to `remember`. Each
text that leaves the process (errors, log lines, run records) passes through `redact`.

What looks like a secret is hidden too: the value behind `password=` or `token:`. A table may have
such a name, and our own messages begin with names. So `redact` knows the forms in which they name
tables, streams and paths, and `label` quotes any other name.
"""

import re
import threading
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"
# A shorter secret would hide half of every message; the patterns below still hide it.
_SHORTEST = 4

_known: set[str] = set()
_sources: set[str] = set()
_guard = threading.Lock()
_pattern: re.Pattern[str] | None = None

_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.\-]{0,30}://[^\s:/@'\"]*:)[^\s'\"]*(@)", re.IGNORECASE)
_AS_PAIR = re.compile(
    r"(\b(?:password|passwd|pwd|secret|secret_access_key|token|api_key|passphrase)\s*[=:]\s*)"
    r"('(?:[^'\\]|\\.|'')*'|\"[^\"]*\"|[^\s,;&'\"]+)",
    re.IGNORECASE,
)

# What stands before the last word of `shop.public.token: …`, of `stream token: …`, of the path
# `/data/token: …` and of the advice `types: {token: …}`, which are our own.
_BEFORE_OWN_NAME = re.compile(
    r"(?:^|[\s(\"'])(?:(?P<source>[A-Za-z_][\w-]*)\.(?:[^\s:=]*[^\w\s:=])?"
    r"|stream (?:[^\s:=]*[^\w\s:=])?|/(?:[^\n:=]*/)?|\{types: \{)$"
)
_LONGEST_NAME = 300


def remember_source(name: str) -> None:
    """Take `name.table: …` for one of our messages about a table, whatever its name sounds like."""
    _sources.add(name)


def label(name: str) -> str:
    """Return a name for the start of a message, quoted if it could be taken for a secret's."""
    return f'"{name}"' if _AS_PAIR.search(f"{name}: value") else name


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
    return _without_pairs(_IN_URL.sub(rf"\1{HIDDEN}\2", text))


def _without_pairs(text: str) -> str:
    """Return the text without the values of its likely secrets."""
    parts, position = [], 0
    while match := _AS_PAIR.search(text, position):
        # Behind a name of ours the message goes on, and may quote a driver's.
        is_name = _is_own_name(text, match) or _AS_PAIR.match(text, match.end(1)) is not None
        parts += [text[position : match.end(1)], "" if is_name else HIDDEN]
        position = match.end(1) if is_name else match.end()
    return "".join([*parts, text[position:]])


def _is_own_name(text: str, pair: re.Match[str]) -> bool:
    """Whether a word that sounds like a secret's name is the end of a name in our own message."""
    if re.search(r"\w: $", pair[1]) is None:
        return False
    before = text[max(0, pair.start() - _LONGEST_NAME) : pair.start()]
    match = _BEFORE_OWN_NAME.search(before)
    return match is not None and (match["source"] is None or match["source"] in _sources)
