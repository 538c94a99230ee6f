"""The part of a read request that follows from the plan of its table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from cdpsync.connector import Chunk, Connector, ReadRequest
from cdpsync.extract.columns import reads_deletes, requested_columns
from cdpsync.model import TablePlan  # noqa: TC001 - beside the names that are needed

OpenRead = Callable[[Connector, ReadRequest], AbstractContextManager[Iterable[Chunk]]]
"""Opens a read of a connector, as `connector.returned.opened_read` does."""


def request_of(plan: TablePlan, workers: int) -> ReadRequest:
    """Return the request of a plan: without callbacks, folder and hints."""
    lake_columns = plan.lake_table.columns if plan.lake_table else ()
    return ReadRequest(
        stream=plan.stream,
        columns=requested_columns(plan),
        types=plan.types,
        lake_types=(
            {} if plan.full_refresh else {column.name: column.type for column in lake_columns}
        ),
        where=plan.where,
        window=plan.window,
        workers=workers,
        replaces=plan.replace,
        lake_digits=plan.lake_digits,
        cursor_field=plan.cursor_field,
        saved_cursor=plan.cursor_before,
        follows_state=plan.follows_state,
        looks_back=plan.lookback is not None,
        include_deletes=reads_deletes(plan),
        include=None if plan.include is None else frozenset(plan.include),
        exclude=frozenset(plan.exclude or ()),
        limit=plan.limit,
    )
