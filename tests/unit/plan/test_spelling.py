"""Names in another case than their source shows: accepted where only one can be meant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdpsync.errors import CdpsyncError
from cdpsync.model import Column, Source, Stream, SyncMode, TableOptions, TablePlan, TableRule
from cdpsync.plan.configured import configured_tables, table_options
from cdpsync.plan.resume import PreviousState
from cdpsync.plan.source_changes import idle_patterns
from cdpsync.plan.table import table_plan
from cdpsync.system import clock

COLUMNS = tuple(Column(name, "BIGINT") for name in ("ID", "N", "Mixed", "b", "B"))
INCREMENTAL = TableOptions(mode=SyncMode.INCREMENTAL, primary_key=("id",), cursor_field="n")


def streams(*names: str) -> list[Stream]:
    return [Stream(name, name.lower(), COLUMNS, cursor_fields=("N", "B")) for name in names]


def source(rules: dict[str, TableOptions], *, ignores_case: bool = True) -> Source:
    return Source(
        "sf", "snowflake", None, "p.yml:3", ignores_case=ignores_case,
        tables=tuple(
            TableRule(name, options, f"p.yml:{line}", ignores_case)
            for line, (name, options) in enumerate(rules.items(), start=10)
        ),
    )  # fmt: skip


def plan_of(options: TableOptions, *, ignores_case: bool = True) -> TablePlan:
    (table,) = configured_tables(
        source({"PUBLIC.T": options}, ignores_case=ignores_case), streams("PUBLIC.T")
    )
    return table_plan(
        table, PreviousState(), full_refresh=False, allow_shrink=False, now=clock.now()
    )


@pytest.mark.parametrize(
    ("key", "at_source", "meant"),
    [
        ("public.dec1", ["PUBLIC.DEC1"], ["PUBLIC.DEC1"]),
        ("Public.Dec1", ["PUBLIC.DEC1", "PUBLIC.DEC2"], ["PUBLIC.DEC1"]),
        ("public.mixed", ["PUBLIC.Mixed"], ["PUBLIC.Mixed"]),
        ("PUBLIC.dec1", ["PUBLIC.DEC1", "PUBLIC.dec1"], ["PUBLIC.dec1"]),
        ("PUBLIC.DEC1", ["PUBLIC.DEC1", "PUBLIC.dec1"], ["PUBLIC.DEC1"]),
        ("public.*", ["PUBLIC.A", "PUBLIC.B", "RAW.A"], ["PUBLIC.A", "PUBLIC.B"]),
        ("public.*", ["PUBLIC.A", "public.B"], ["public.B"]),
        ("*.a*", ["PUBLIC.A1", "RAW.B1"], ["PUBLIC.A1"]),
    ],
)
def test_key_means_the_stream_of_another_case(
    key: str, at_source: list[str], meant: list[str]
) -> None:
    """A stream of exactly this name wins, and so do streams that a glob matches as it is."""
    tables = configured_tables(source({key: TableOptions()}), streams(*at_source))
    assert [table.name for table in tables if table.stream] == meant
    assert [table.name for table in tables if not table.stream] == []
    assert idle_patterns(source({key: TableOptions()}), streams(*at_source)) == []


def test_key_that_could_mean_two_streams_is_refused() -> None:
    """The message has both."""
    listed = streams("PUBLIC.DEC1", "PUBLIC.dec1")
    (table,) = configured_tables(source({"public.dec1": TableOptions()}), listed)
    with pytest.raises(CdpsyncError, match=r'Did you mean "PUBLIC\.DEC1" or "PUBLIC\.dec1"'):
        table_plan(table, PreviousState(), full_refresh=False, allow_shrink=False, now=clock.now())


def test_key_is_found_before_the_streams_are_known() -> None:
    """As `status` needs it, with the names of the last run."""
    options = TableOptions(where="a")
    assert table_options(source({"public.t": options}), "PUBLIC.T").where == "a"
    assert table_options(source({"public.*": options}), "PUBLIC.T").where == "a"
    assert table_options(source({"public.t": options}, ignores_case=False), "PUBLIC.T") is None


def test_columns_may_be_written_in_another_case() -> None:
    """Cursor, key, types, and the lists of columns; a column of exactly this name wins."""
    plan = plan_of(replace(INCREMENTAL, types={"n": "int8"}, exclude=("mixed", "B")))
    assert (plan.cursor_field, plan.primary_key, plan.types) == ("N", ("ID",), {"N": "BIGINT"})
    assert [column.name for column in plan.columns] == ["ID", "N", "b"]
    plan = plan_of(replace(INCREMENTAL, include=("id", "n", "MIXED")))
    assert [column.name for column in plan.columns] == ["ID", "N", "Mixed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(INCREMENTAL, cursor_field="no"), 'no column "no"'),
        (replace(INCREMENTAL, types={"bB": "int8"}), 'no column "bB"'),
    ],
)
def test_column_that_does_not_exist_is_refused(options: TableOptions, message: str) -> None:
    """As in every source."""
    with pytest.raises(CdpsyncError, match=message):
        plan_of(replace(options, exclude=("B",)))


def test_other_sources_tell_the_right_spelling() -> None:
    """Case counts there."""
    with pytest.raises(CdpsyncError, match=r'no column "n"\. Did you mean "N"'):
        plan_of(replace(INCREMENTAL, primary_key=("ID",), exclude=("B",)), ignores_case=False)
