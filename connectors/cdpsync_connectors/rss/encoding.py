"""The text of a feed: which encoding its bytes have.

The encoding is that of the byte order mark, else UTF-8 if the bytes are UTF-8 and anything says so,
else that of the header Content-Type, else that of the XML declaration, else UTF-8: RFC 7303, but
for servers that name an encoding which the file has not.
"""

from __future__ import annotations

import codecs
import re
from html.entities import html5

from cdpsync.errors import ReadError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""")
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_ENTITY = re.compile(r"<!\[CDATA\[.*?\]\]>|<!--.*?-->|&([A-Za-z][A-Za-z0-9]*;)", re.DOTALL)
_XML_ENTITIES = {"amp;", "lt;", "gt;", "quot;", "apos;"}
_HTML = re.compile(r"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
_FEED_LINK = re.compile(r"<link\b[^>]*application/(?:rss|atom)\+xml[^>]*>", re.IGNORECASE)
_HREF = re.compile(r"""href\s*=\s*["']?([^"'\s>]+)""", re.IGNORECASE)


def feed_text(body: bytes, content_type: str, where: str, name: str) -> str:
    """Return a feed as XML without a declaration. Raises ReadError for a page, or for no text.

    Entities of HTML, which XML does not have, become the characters that they mean.
    """
    text = _decoded(body, content_type, where)
    if not text.strip():
        raise ReadError(f"{where}: the answer is empty. Check feeds.{name}.")
    if _HTML.match(text):
        raise ReadError(f"{where}: the answer is a web page, not a feed. {_advice(text, name)}")
    return _ENTITY.sub(_character, _DECLARATION.sub("", text, count=1).lstrip())


def _decoded(body: bytes, content_type: str, where: str) -> str:
    encoding, origin, body = _encoding(body, content_type)
    try:
        return body.decode(encoding)
    except LookupError as error:
        raise ReadError(f'{where}: its encoding "{encoding}" is not known ({origin}).') from error
    except UnicodeDecodeError as error:
        raise ReadError(
            f"{where}: the text is not {encoding} ({origin}): byte {error.start + 1} is "
            f"{body[error.start : error.start + 1]!r}. Nothing was kept, because its letters would "
            "be wrong; tell whoever publishes the feed."
        ) from error


def _encoding(body: bytes, content_type: str) -> tuple[str, str, bytes]:
    """Return the encoding of a feed, what says so, and the bytes without a mark."""
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return encoding, "its byte order mark", body[len(mark) :]
    charset = _CHARSET.search(content_type)
    declared = _DECLARED.match(body[:1024])
    named = [(charset[1], "the header Content-Type")] if charset else []
    named += [(declared[1].decode(), "its XML declaration")] if declared else []
    if any(encoding.lower() in {"utf-8", "utf8"} for encoding, _ in named) and _is_utf8(body):
        return "utf-8", "", body
    return (*(named or [("utf-8", "it names no other")])[0], body)


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _character(match: re.Match[str]) -> str:
    name = match[1]
    if name is None or name in _XML_ENTITIES or name not in html5:
        return match[0]
    return "".join(f"&#{ord(character)};" for character in html5[name])


def _advice(page: str, name: str) -> str:
    """Return what to do about a web page: it may name its feed."""
    link = _FEED_LINK.search(page)
    href = _HREF.search(link[0]) if link else None
    if href:
        return f"It names a feed: {href[1]}. Set feeds.{name} to that."
    return f"Set feeds.{name} to the address of the feed itself."
