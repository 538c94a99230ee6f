"""Names of sources under which a query could not name their tables."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cdpsync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cdpsync.model.state import ProjectState

log = logging.getLogger("cdpsync.sync.source_names")

_AMBIGUOUS = "memory"  # DuckDB's own database; other such names are reserved in the project file


def check_source_names(sources: Iterable[str], state: ProjectState) -> None:
    """Raise ConfigError for a source `memory` without tables yet; warn of one that has some."""
    for name in sources:
        if name.casefold() != _AMBIGUOUS:
            continue
        if all(saved.source != name for saved in state.saved_states):
            raise ConfigError(
                f'source "{name}": DuckDB has a database of this name, so that `{name}.orders` in '
                "a query would be ambiguous. Rename the source."
            )
        log.warning(
            'source "%s": DuckDB has a database of this name: write lake.%s.TABLE in queries.',
            name,
            name,
        )
