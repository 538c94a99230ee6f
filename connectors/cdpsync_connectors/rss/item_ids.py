"""The ids of a feed's items as they are written, from a strict parse of its XML.

feedparser makes an id that looks like a relative address an absolute one, which would change with
the address of the feed.
"""

from __future__ import annotations

from xml.parsers import expat

from cdpsync.errors import ReadError

_ABOUT = "http://www.w3.org/1999/02/22-rdf-syntax-ns# about"
_PARENTS = {"channel", "RDF", "feed", "rss"}
_ITEMS = {"item": "guid", "entry": "id"}


def item_ids(text: str, where: str, name: str) -> list[str]:
    """Return the id of each item, empty for one without. Raises ReadError for malformed XML."""
    ids = _Ids()
    parser = expat.ParserCreate("utf-8", namespace_separator=" ")
    parser.StartElementHandler = ids.start
    parser.EndElementHandler = ids.end
    parser.CharacterDataHandler = ids.characters
    try:
        parser.Parse(text.encode("utf-8", "surrogatepass"), True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise ReadError(
            f"{where}: the feed is not well-formed XML: {reason} in line {error.lineno}. Nothing "
            f"was kept, because items might be missing. Run again; if it stays, check feeds.{name}."
        ) from error
    return [id_.strip() for id_ in ids.found]


class _Ids:
    """Collects the ids while the XML is parsed."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._path: list[str] = []
        self._item: int | None = None  # the depth of the item that is open
        self._in_id = False

    def start(self, element: str, attributes: dict[str, str]) -> None:
        namespace, _, tag = element.rpartition(" ")
        if self._item is None and self._is_item(namespace, tag):
            self._item = len(self._path)
            self.found.append(attributes.get(_ABOUT, ""))
        elif self._item is not None and len(self._path) == self._item + 1:
            item = self._path[self._item].rpartition(" ")
            if (namespace, tag) == (item[0], _ITEMS[item[2]]):
                self._in_id = True
                self.found[-1] = ""
        self._path.append(element)

    def end(self, element: str) -> None:
        del element
        self._path.pop()
        self._in_id = False
        if self._item == len(self._path):
            self._item = None

    def characters(self, text: str) -> None:
        if self._in_id:
            self.found[-1] += text

    def _is_item(self, namespace: str, tag: str) -> bool:
        if tag not in _ITEMS or not self._path:
            return False
        parent_namespace, _, parent = self._path[-1].rpartition(" ")
        return parent in _PARENTS and (parent == "RDF" or parent_namespace == namespace)
