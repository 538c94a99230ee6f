"""Checks of a commit against the rows that its table has: it must not lose most of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.errors import ContractError

if TYPE_CHECKING:
    from cdpsync.catalog.commit import Commit
    from cdpsync.model import TableName


def require_no_shrink(rows_before: int, rows_after: int, message: str) -> None:
    """Raise ContractError with `message` when a table would lose more than half of its rows."""
    if rows_after * 2 < rows_before:
        raise ContractError(message)


def too_few_rows(table: TableName, before: int, after: int) -> str:
    """Return the message of a load that would remove more than half of a table's rows."""
    return (
        f"{table}: this load has {after:,} rows, the table {before:,}: less than half. The "
        'old rows stay. If that is right, run it with --allow-shrink, or set "allow_shrink: '
        'true" for the table.'
    )


def require_unique_keys(commit: Commit, replaced: int) -> None:
    """Raise ContractError when the lake has several rows per key: more than would replace them."""
    if replaced > commit.rows:
        raise ContractError(
            f"{commit.table}: {commit.rows:,} rows would replace {replaced:,}, because the primary "
            f"key ({', '.join(commit.key)}) is not unique in the lake. Nothing was changed. Set "
            f"the right primary_key, and load the table again: cdpsync run {commit.table} "
            "--full-refresh."
        )
