"""A stream of a Stripe account: the path of its list, its filter, and how its changes are told.

Paths and parameters: https://docs.stripe.com/api. Types of events, and the object that each has
in `data.object`: https://docs.stripe.com/api/events/types.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

EVENT_RETENTION = timedelta(days=30)
"""Stripe's API returns events of this age: https://docs.stripe.com/api/events/list."""


@dataclass(frozen=True, slots=True)
class StripeStream:
    """One stream: `path` is its list's path, `created` the field by which the list is filtered.

    `event_types` are all types of events that report a change of its objects. An event may have
    another object, which contains our id: `id_paths` has the path to the id, by the beginning of
    the event's type. `a|b` are the paths of different versions of the API.
    `expandable` are the fields that Stripe leaves out of an object unless it is asked for them.
    With `settles`, an object changes once, from pending to available, and no event says so.
    With `reports_deletions`, events prove each deletion, or nothing is ever deleted.
    `only_if_named` is the reason for which a source without `tables:` does not read the stream.

    A list that must be read for each object of another stream has that stream's name as `parent`;
    `{parent}` stands for the id of that object. `owner_fields`: the first of these fields of the
    parent that has a value is a parameter, too. `inner` is the parent's field that has the list's
    beginning, so that the lists themselves need not be asked for; `parent_params` are what the
    parents' list must be asked with for that. With `has_whole_list`, the list without `params` has
    the objects of all parents. With `follows_parent`, the events are those of the parents, whose
    lists are then read again; `id_paths` lead to the parent. `parent_column` is a column that gets
    the parent's id. With `may_move`, an object may come to another parent during a read.
    """

    name: str
    path: str
    created: str | None = "created"
    params: Mapping[str, str] = field(default_factory=dict)
    event_types: tuple[str, ...] = ()
    id_paths: Mapping[str, str] = field(default_factory=dict)
    item_path: str = ""
    is_single: bool = False
    expandable: tuple[str, ...] = ()
    settles: bool = False
    reports_deletions: bool = True
    only_if_named: str | None = None
    parent: str | None = None
    owner_fields: tuple[str, ...] = ()
    inner: str = ""
    parent_params: Mapping[str, str] = field(default_factory=dict)
    has_whole_list: bool = False
    follows_parent: bool = False
    parent_column: str = ""
    may_move: bool = False

    @property
    def object_path(self) -> str:
        """The path of one object, to which its id is appended."""
        return self.item_path or self.path

    @property
    def list_params(self) -> Mapping[str, str]:
        """The parameters of the list of all objects."""
        return {} if self.has_whole_list else self.params

    @property
    def is_per_parent(self) -> bool:
        """Whether the objects are in a list for each parent only."""
        return self.parent is not None and not self.has_whole_list

    @property
    def has_changes(self) -> bool:
        """Whether a read can follow the changes of its objects."""
        return bool(self.event_types) or self.settles

    def id_path(self, event_type: str) -> str | None:
        """Return the path to our id in this event's object; None if the object is our own."""
        prefixes = self.id_paths.items()
        return next((path for prefix, path in prefixes if event_type.startswith(prefix)), None)


def event_types(prefix: str, actions: str) -> tuple[str, ...]:
    """Return the types of events of one object: `charge.captured` for `charge`, `captured`."""
    return tuple(f"{prefix}.{action}" for action in actions.split())
