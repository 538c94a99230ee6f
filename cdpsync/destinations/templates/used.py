"""What the texts of a destination need of a change, so that a feed reads no more than that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from cdpsync.destinations.templates.bodies import templates_of
from cdpsync.destinations.templates.expressions import named
from cdpsync.destinations.templates.rows import CHANGE_COLUMNS
from cdpsync.destinations.templates.syntax import is_time
from cdpsync.destinations.templates.texts import Expression, expression_of, parts_of
from cdpsync.model.destinations import FindTemplate, RequestTemplate
from cdpsync.sql import fold_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cdpsync.destinations.templates.syntax import Name
    from cdpsync.model.destinations import Body, Template

Uses: TypeAlias = "RequestTemplate | FindTemplate | Body"


@dataclass(frozen=True, slots=True)
class NamesUsed:
    """What expressions need of a change.

    `columns` are those of the row, as expressions spell them; None: all, because one uses the row
    as a whole. `old`: the old image is needed. `change`: insert and update are told apart.
    """

    columns: frozenset[str] | None = frozenset()
    old: bool = False
    change: bool = False

    def __or__(self, other: NamesUsed) -> NamesUsed:
        """Return what both need."""
        columns = None
        if self.columns is not None and other.columns is not None:
            columns = self.columns | other.columns
        return NamesUsed(columns, self.old or other.old, self.change or other.change)


def names_used(
    uses: Iterable[Uses],
    inputs: Mapping[str, Body] | None = None,
    *,
    alias: str | None = None,
    conditions: Iterable[Template] = (),
) -> NamesUsed:
    """Return what requests, bodies, the inputs that they name, and conditions need of a change.

    The types of the row are not known here: a name that may be a column counts as one. Raises
    ConfigError for an expression that is no SQL.
    """
    remaining = {fold_name(name): body for name, body in (inputs or {}).items()}
    expressions = [expression_of(condition) for condition in conditions]
    for use in uses:
        expressions += _expressions(use)
    used = NamesUsed()
    while expressions:
        for name in named(expressions.pop()):
            body = remaining.pop(fold_name(name[0]), None)
            expressions += _expressions(body)
            used |= _need(name, alias)
    return used


def _need(name: Name, alias: str | None) -> NamesUsed:
    first = fold_name(name[0])
    if first in ("row", "old") or (alias and first == fold_name(alias)):
        columns = frozenset({name[1]}) if len(name) > 1 else None
        return NamesUsed(columns, old=first == "old")
    if first in CHANGE_COLUMNS:
        return NamesUsed(frozenset({name[0]}), change=first == "change")
    return NamesUsed() if is_time(name) else NamesUsed(frozenset({name[0]}))


def _expressions(use: Uses) -> list[Expression]:
    return [
        part
        for template in _templates(use)
        for part in parts_of(template)
        if isinstance(part, Expression)
    ]


def _templates(use: Uses) -> Iterator[Template]:
    """Return each text of requests and bodies."""
    if isinstance(use, FindTemplate):
        for request in (use.request, use.create, use.update):
            if request is not None:
                yield from _templates(request)
    elif isinstance(use, RequestTemplate):
        yield use.url
        yield from use.headers.values()
        yield from use.query.values()
        yield from templates_of(use.body)
        yield from templates_of(use.item)
    else:
        yield from templates_of(use)
