"""Names of the project file in the case that their source shows, where the source ignores case."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.errors import suggest

if TYPE_CHECKING:
    from collections.abc import Collection

    from cdpsync.model import TableOptions


def is_same_name(name: str, other: str) -> bool:
    """Whether two names differ in case alone."""
    return name.casefold() == other.casefold()


def suggestion_for(name: str, names: Collection[str]) -> str | None:
    """Return the name that was probably meant; if several differ in case alone, all of them."""
    matches = sorted(other for other in names if is_same_name(name, other))
    return '" or "'.join(matches) if len(matches) > 1 else suggest(name, names)


def spelled_as(name: str, names: Collection[str]) -> str:
    """Return the name as it is among `names`.

    It stays unchanged if it is there as it is, or if several of them, or none, differ from it in
    case alone.
    """
    if name in names:
        return name
    matches = [other for other in names if is_same_name(name, other)]
    return matches[0] if len(matches) == 1 else name


def spelled_as_columns(options: TableOptions, columns: Collection[str]) -> TableOptions:
    """Return a table's options with the names of its columns as the source shows them."""

    def listed(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if names is None else tuple(spelled_as(name, columns) for name in names)

    field, types = options.cursor_field, options.types
    return replace(
        options,
        cursor_field=None if field is None else spelled_as(field, columns),
        primary_key=listed(options.primary_key),
        include=listed(options.include),
        exclude=listed(options.exclude),
        types=types and {spelled_as(name, columns): type_ for name, type_ in types.items()},
    )
