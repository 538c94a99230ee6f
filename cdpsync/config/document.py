"""Reads a YAML file as a tree of nodes that know their line, with its `${…}` filled in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.config.interpolate import interpolate
from cdpsync.config.nodes import Entry, Items, Node, Plain, Scalar, Section
from cdpsync.config.problems import Place, Problems, quoted
from cdpsync.config.yaml_syntax import DEEPEST, compose

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import yaml

_TAG = "tag:yaml.org,2002:"
_LARGEST_FILE = 4 << 20  # bytes; 1,000 tables of ten lines each take 0.4 MB
_MOST_REPEATED = 250_000  # values that aliases may repeat in one file
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,30})")


def read_document(path: Path, environ: Mapping[str, str], problems: Problems) -> Section | None:
    """Return the mapping in a file, or note the problem and return None."""
    text = _text(path, problems)
    root = None if text is None else compose(text, str(path), problems)
    if root is None:
        return None
    reader = _Reader(str(path), path.absolute().parent, environ, problems)
    try:
        node = reader.read(root)
    except _AliasError as error:
        problems.add(error.place, error.text)
        return None
    if isinstance(node, Section):
        return node
    problems.add(
        node.place, 'a project file must be a mapping. Give it the keys "warehouse" and "sources"'
    )
    return None


def _text(path: Path, problems: Problems) -> str | None:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        problems.add(
            Place(str(path)),
            f"cannot be read ({error.strerror}). Check the file and its permissions",
        )
        return None
    if len(data) > _LARGEST_FILE:
        problems.add(Place(str(path)), "larger than 4 MiB. Split it into the files of a folder")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.add(Place(str(path), line), "not UTF-8 text. Save the file as UTF-8")
        return None


class _AliasError(Exception):
    """The aliases of a file cannot be followed."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(text)
        self.place, self.text = place, text


@dataclass(frozen=True, slots=True)
class _ReadNode:
    """A node that was read before, with the number of its values and the depth of its nesting."""

    node: Node
    size: int
    height: int


class _Reader:
    """Turns the YAML nodes of one file into the tree, each node once however many aliases it has.

    It counts the values that aliases repeat, because a few lines can stand for billions of values.
    """

    def __init__(
        self, file: str, folder: Path, environ: Mapping[str, str], problems: Problems
    ) -> None:
        self._file, self._folder = file, folder
        self._environ, self._problems = environ, problems
        self._read_nodes: dict[yaml.Node, _ReadNode] = {}
        self._open: set[yaml.Node] = set()
        self._size = self._height = self._repeated = 0

    def read(self, node: yaml.Node) -> Node:
        """Return the tree under a YAML node."""
        if node in self._open:
            raise _AliasError(
                self._place(node),
                "an anchor contains itself. Remove the *name from inside its &name",
            )
        read_node = self._read_nodes.get(node)
        if read_node:
            self._repeated += read_node.size
        else:
            read_node = self._read_nodes[node] = self._first_read(node)
        self._size += read_node.size
        self._height = max(self._height, read_node.height)
        if self._repeated > _MOST_REPEATED or self._height > DEEPEST:
            raise _AliasError(
                self._place(node), "aliases repeat too much. Write it with fewer *name"
            )
        return read_node.node

    def _first_read(self, node: yaml.Node) -> _ReadNode:
        outside = self._size, self._height
        self._size = self._height = 0
        self._open.add(node)
        tree_node = self._make(node)
        self._open.remove(node)
        read_node = _ReadNode(tree_node, self._size + 1, self._height + 1)
        self._size, self._height = outside
        return read_node

    def _make(self, node: yaml.Node) -> Node:
        import yaml

        if not node.tag.startswith(_TAG):
            self._problems.add(
                self._place(node),
                "YAML tags are not supported. Put a value that begins with ! in quotes",
            )
            return Scalar(None, self._place(node), broken=True)
        if isinstance(node, yaml.MappingNode):
            return self._section(node)
        if isinstance(node, yaml.SequenceNode):
            return Items(tuple(self.read(item) for item in node.value), self._place(node))
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> Scalar:
        place, value = self._place(node), _value(node.tag.removeprefix(_TAG), node.value)
        if not isinstance(value, str):
            return Scalar(value, place, own=str(value))
        filled = interpolate(value, self._environ, self._folder)
        for text in filled.wrong if filled.is_malformed else ():
            self._problems.add(place, text)
        return Scalar(
            filled.text,
            place,
            interpolated=filled.text != value,
            own=filled.own,
            put_in=filled.put_in,
            broken=bool(filled.wrong),
            unfilled=() if filled.is_malformed else filled.wrong,
        )

    def _section(self, node: yaml.MappingNode) -> Section:
        entries: dict[str, Entry] = {}
        merged: set[str] = set()  # keys from << give way to those written out
        written: dict[str, Place] = {}
        for key_node, value_node in node.value:
            key, place = self._key(key_node), self._place(key_node)
            if key is None:
                continue
            if key in written:
                self._problems.add(
                    place, f"the key {quoted(key)} is already on line {written[key].line}. Keep one"
                )
                continue
            written[key] = place
            if key_node.tag == f"{_TAG}merge":
                for name, entry in self._merged(value_node):
                    if name not in entries:
                        entries[name] = entry
                        merged.add(name)
            elif key not in entries or key in merged:
                entries[key] = Entry(self.read(value_node), place)
        return Section(entries, self._place(node))

    def _key(self, node: yaml.Node) -> str | None:
        import yaml

        if isinstance(node, yaml.ScalarNode):
            return str(node.value)
        self._problems.add(
            self._place(node),
            'a key must be text. Put what begins with [ or { in quotes, as in "{{ id }}"',
        )
        return None

    def _merged(self, node: yaml.Node) -> Iterator[tuple[str, Entry]]:
        """Go through the entries of `<<`; of two with one name the first counts."""
        value = self.read(node)
        for section in value.items if isinstance(value, Items) else (value,):
            if isinstance(section, Section):
                yield from section.entries.items()
            else:
                self._problems.add(
                    self._place(node), "<< takes a mapping, or a list of mappings. Write <<: *name"
                )

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._file, int(node.start_mark.line) + 1)


def _value(kind: str, text: str) -> Plain:
    """Return the value of a scalar.

    Text that can be read in two ways is no number: 010, 0x1F, 1:30 and dates stay text.
    """
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in {"yes", "true", "on"}
    if kind == "int" and _INTEGER.fullmatch(text):
        return int(text.replace("_", ""))
    if kind == "float":
        try:
            return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            return text
    return text
