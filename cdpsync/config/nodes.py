"""Nodes of a project file: its values, each with its file and line."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cdpsync.config.problems import Place

Plain = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. `broken`: its `${…}` could not be filled in.

    `unfilled` has a message for each reference that the environment or a file does not fill in.

    `put_in` are the pieces of it that came from a variable or a file; `own` is the text of the
    project file, with a mark in the place of each.
    """

    value: Plain
    place: Place
    interpolated: bool = False
    own: str = ""
    put_in: tuple[str, ...] = ()
    broken: bool = False
    unfilled: tuple[str, ...] = ()

    @property
    def is_from_outside(self) -> bool:
        """Whether the value depends on a variable or a file."""
        return bool(self.put_in or self.unfilled)


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple["Node", ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Entry:
    """The value of a key, and the place of the key."""

    node: "Node"
    place: Place


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping, in the order of the file."""

    entries: Mapping[str, Entry]
    place: Place

    def only(self, *keys: str) -> "Section":
        """Return this section with these keys alone."""
        entries = {key: entry for key, entry in self.entries.items() if key in keys}
        return Section(entries, self.place)

    def without(self, *keys: str) -> "Section":
        """Return this section without these keys."""
        entries = {key: entry for key, entry in self.entries.items() if key not in keys}
        return Section(entries, self.place)


Node = Scalar | Items | Section


def filled(entry: Entry) -> Entry:
    """Return a key without a value as one with an empty mapping."""
    if isinstance(entry.node, Scalar) and entry.node.value is None and not entry.node.broken:
        return Entry(Section({}, entry.place), entry.place)
    return entry


def plain(node: Node) -> object:
    """Return the bare value: dicts, lists and scalars."""
    if isinstance(node, Section):
        return {key: plain(entry.node) for key, entry in node.entries.items()}
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    return node.value


def scalars(node: Node) -> Iterator[Scalar]:
    """Go through every scalar at or under a node."""
    if isinstance(node, Scalar):
        yield node
    elif isinstance(node, Items):
        for item in node.items:
            yield from scalars(item)
    else:
        for entry in node.entries.values():
            yield from scalars(entry.node)


def is_broken(node: Node) -> bool:
    """Whether a `${…}` at or under a node could not be filled in."""
    return any(scalar.broken for scalar in scalars(node))


def is_from_outside(node: Node) -> bool:
    """Whether a value at or under a node depends on a variable or a file."""
    return any(scalar.is_from_outside for scalar in scalars(node))


def without_outside(section: Section) -> Section:
    """Return a section without the values that depend on a variable or a file.

    A mapping stays, with the rest of its keys; a list that holds such a value goes.
    """
    entries = {}
    for key, entry in section.entries.items():
        if isinstance(entry.node, Section):
            entries[key] = Entry(without_outside(entry.node), entry.place)
        elif not is_from_outside(entry.node):
            entries[key] = entry
    return Section(entries, section.place)


def follow(root: Entry, steps: Sequence[str | int]) -> tuple[Entry, tuple[str, ...]]:
    """Return the innermost entry of a path that exists, and the keys that lead there.

    Steps that the tree does not have (a missing key, a mark of pydantic's) are passed over.
    """
    at, keys = root, []
    for step in steps:
        node = at.node
        if isinstance(node, Section) and str(step) in node.entries:
            at = node.entries[str(step)]
            keys.append(str(step))
        elif isinstance(node, Items) and isinstance(step, int) and step < len(node.items):
            at = Entry(node.items[step], node.items[step].place)
    return at, tuple(keys)
