"""The identity of a source: which account, server or database it is, whatever its address."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_NAMES = 12  # of one part: a server that moves every night must not make the state grow


@dataclass(frozen=True, slots=True)
class SourceIdentity:
    """What tells a source from another one, which may be at the same address later.

    `parts` has the names of each part: `{"account": ("acct_1",), "mode": ("live",)}`. Two sources
    are the same unless they differ in a part that both have; so a part that cannot be found out is
    left out. A part may have several names, such as a server's own and its address: one in common
    is enough. `label` names the source for a person: `Stripe account acct_1 (live)`.
    """

    parts: Mapping[str, tuple[str, ...]]
    label: str

    def is_other_than(self, other: SourceIdentity) -> bool:
        """Whether the two differ in a part that both have."""
        return any(
            part in other.parts and not set(names) & set(other.parts[part])
            for part, names in self.parts.items()
        )

    def combined(self, earlier: SourceIdentity | None) -> SourceIdentity:
        """Return this identity with what was known of the same source `earlier`.

        It is the earlier one where this one has nothing new.
        """
        if earlier is None:
            return self
        parts = dict(earlier.parts)
        for part, names in self.parts.items():
            older = [name for name in parts.get(part, ()) if name not in names]
            parts[part] = (*names, *older)[:_MAX_NAMES]
        if all(set(parts[part]) == set(earlier.parts.get(part, ())) for part in parts):
            return earlier
        is_complete = set(self.parts) >= set(earlier.parts)
        return SourceIdentity(parts, self.label if is_complete else earlier.label)


def identity_text(identity: SourceIdentity | None) -> str | None:
    """Return an identity as the text that the catalog keeps."""
    if identity is None:
        return None
    return json.dumps({"parts": dict(identity.parts), "label": identity.label})


def parse_identity(text: str | None) -> SourceIdentity | None:
    """Return the identity that `identity_text` wrote."""
    if text is None:
        return None
    content = json.loads(text)
    parts = {part: tuple(names) for part, names in content["parts"].items()}
    return SourceIdentity(parts, content["label"])
