"""Where a table's next read begins, and what is told of the rows that it keeps."""

from __future__ import annotations

import json

import pytest

from cdpsync.model import SavedState, TableName
from cdpsync.plan.resume import row_format_notice, settings_changed, with_loaded_format


@pytest.mark.parametrize(
    ("loaded", "now", "is_told"),
    [("v1", "v1", False), ("v1", "v2", True), (None, "v2", False), ("v1", None, False)],
)
def test_other_format_of_rows_is_told_and_loads_nothing(
    loaded: str | None, now: str | None, is_told: bool
) -> None:
    """The lake's rows keep theirs until a reload, so each run says it; an older version of cdpsync
    saved none."""
    previous = settings_with(loaded)
    settings = with_loaded_format(saved_with(previous), settings_with(now))
    assert not settings_changed(saved_with(previous), settings_with(now))
    notices = row_format_notice(settings, now, "cdpsync run t --full-refresh")
    assert bool(notices) is is_told
    assert json.loads(settings).get("row_format") == (loaded or now)


def settings_with(row_format: str | None) -> str:
    extra = {} if row_format is None else {"row_format": row_format}
    return json.dumps({"primary_key": ["id"], "where": None, **extra})


def saved_with(settings: str) -> SavedState:
    table = TableName("shop", "t")
    return SavedState("shop", "t", table, None, None, None, None, None, settings=settings)
