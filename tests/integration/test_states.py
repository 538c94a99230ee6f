"""Tables that go on from a state that their source reports, in place of a column's value."""

from __future__ import annotations

import json
import os
import shutil
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support import commands, diary
from support.crash_points import Mortals
from support.histories import varied_states

from cdpsync import project, sync, verify
from cdpsync.catalog import Lake
from cdpsync.errors import ConfigError
from cdpsync.model import TableStatus
from cdpsync.project import edit
from cdpsync.testing import conforms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cdpsync.model import RunResult

_EACH_STEP = "CDPSYNC_EACH_STEP" in os.environ
_DEATHS = {"incremental": 6, "append_only": 4, "full_table": 2}
INCREMENTAL = {"mode": "incremental"}


class Book:
    """A project over a diary."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "cdpsync.yml"
        shutil.copy(diary.__file__, folder / "diary.py")
        self.entries: dict[str, list[list[Any]]] = {}

    def configure(self, tables: dict[str, Any], **options: Any) -> None:
        source = {"type": "./diary.py", "path": str(self.folder), "tables": tables, **options}
        self.file.write_text(yaml.safe_dump({"sources": {"book": source}}))

    def write(self, stream: str, *entries: tuple[int, str]) -> None:
        self.entries.setdefault(stream, []).extend(map(list, entries))
        (self.folder / "diary.json").write_text(json.dumps(self.entries))

    def run(self, *select: str, **options: Any) -> RunResult:
        return sync.run(self.file, select, **options)

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        with project.catalog_of(project.load(self.file)).reader() as con:
            return con.execute(f"from lake.book.{table} order by all").fetchall()

    def states(self) -> dict[str, Any]:
        saved = edit.cursors(project.load(self.file))
        return {s.stream: s.cursor and json.loads(str(s.cursor.value)) for s in saved}

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().split()

    def cdpsync(self, *arguments: str) -> Any:
        return commands.run(*arguments, cwd=self.folder)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    """A diary of two streams, whose tables are incremental."""
    book = Book(tmp_path)
    book.write("days", (1, "sun"), (2, "rain"), (1, "snow"), (3, "fog"))
    book.write("walks", (1, "far"))
    book.configure({"days": INCREMENTAL, "walks": INCREMENTAL})
    return book


def test_a_read_goes_on_from_the_state(book: Book) -> None:
    """The next run reads what came since, and the state is committed with its rows."""
    first = book.run()
    assert [(t.rows_read, t.rows_inserted) for t in first.tables] == [(4, 3), (1, 1)]
    assert book.rows("days") == [(1, "snow"), (2, "rain"), (3, "fog")]
    assert book.states()["days"]["read"] == 4
    book.write("days", (4, "sun"), (2, "ice"), (4, "dew"))
    second = {t.stream: t for t in book.run().tables}
    assert (second["days"].rows_read, second["days"].rows_inserted) == (4, 1)
    assert second["days"].rows_updated == 1
    assert book.rows("days") == [(1, "snow"), (2, "ice"), (3, "fog"), (4, "dew")]
    assert book.states()["days"]["read"] == 7
    assert book.run().tables[0].rows_updated == 0


def test_the_row_that_came_last_counts(book: Book) -> None:
    """Over chunks too; a notice says how many rows came before it."""
    book.write("days", *[(9, str(number)) for number in range(20)])
    result = book.run("book.days").tables[0]
    assert (9, "19") in book.rows("days")
    assert "20 rows shared their key (id) with a newer row" in " ".join(result.notices)


def test_one_call_reads_all_tables(book: Book) -> None:
    """A connector that reads streams together is called once; each table is committed alone."""
    result = book.run()
    assert book.calls() == ["days+walks"]
    assert "days was read with others" in result.tables[0].notices
    assert book.run("book.walks").tables[0].status is TableStatus.OK
    assert book.calls() == ["days+walks", "walks"]


def test_an_error_of_one_stream_leaves_the_others(book: Book) -> None:
    """Its table keeps rows and state; the message is the connector's own."""
    book.run()
    book.write("days", (5, "broken"))
    book.write("walks", (2, "near"))
    days, walks = book.run().tables
    assert days.error is not None
    assert days.error.message == "days: the diary is torn. Mend it."
    assert walks.status is TableStatus.OK
    assert book.rows("walks") == [(1, "far"), (2, "near")]
    assert book.states()["days"]["read"] == 4


@pytest.mark.parametrize("threads", [1, 4])
def test_more_tables_than_threads_wait_for_the_call(book: Book, threads: int) -> None:
    """No thread is needed for each table of a group."""
    for number in range(9):
        book.write(f"s{number}", (number, "x"))
    book.configure({"*": INCREMENTAL})
    assert {t.status for t in book.run(threads=threads).tables} == {TableStatus.OK}
    assert len(book.calls()) == 1


def test_full_table_has_no_state(book: Book) -> None:
    """It is read whole each time; a table that becomes incremental is loaded once more."""
    book.configure({"days": {"mode": "full_table"}})
    assert book.run().tables[0].rows_read == 4
    assert book.states() == {"days": None}
    book.configure({"days": INCREMENTAL})
    assert book.run().tables[0].rows_read == 4
    assert book.states()["days"]["read"] == 4


def test_append_only_adds_the_keys_that_are_new(book: Book) -> None:
    """A row that comes again is appended once, whatever changed in it."""
    book.configure({"days": {"mode": "append_only"}})
    assert book.run().tables[0].rows_inserted == 3
    book.write("days", (1, "hail"), (4, "sun"), (4, "wind"))
    assert book.run().tables[0].rows_inserted == 1
    assert book.rows("days") == [(1, "snow"), (2, "rain"), (3, "fog"), (4, "wind")]
    (result,) = verify.verify(book.file)
    assert result.status == "equal"
    assert result.notices == ("only its keys were compared, because a row is appended once",)


def test_deletes_are_found_by_a_read_without_the_state(book: Book) -> None:
    """The keys that the source has are read whole."""
    book.configure({"days": {**INCREMENTAL, "deletes": "hard"}})
    book.run()
    book.entries["days"] = [[2, "rain"], [3, "fog"], [3, "fog"], [3, "fog"]]
    book.write("days", (5, "sun"))
    result = book.run().tables[0]
    assert (result.rows_deleted, result.rows_inserted) == (1, 1)
    assert book.rows("days") == [(2, "rain"), (3, "fog"), (5, "sun")]


def test_options_that_need_a_column_are_refused(book: Book) -> None:
    """A cursor_field and a lookback have no meaning beside a state."""
    book.configure({"days": {**INCREMENTAL, "cursor_field": "id"}, "walks": INCREMENTAL})
    days, _ = sorted(book.run().tables, key=lambda table: table.stream)
    assert days.error is not None
    assert "goes on from the state that this source reports" in days.error.message
    book.configure({"days": {**INCREMENTAL, "lookback": "5m"}, "walks": INCREMENTAL})
    days, _ = sorted(book.run().tables, key=lambda table: table.stream)
    assert days.error is not None
    assert "a lookback needs a cursor_field" in days.error.message


def test_state_is_shown_whole_and_the_history_has_a_digest(book: Book) -> None:
    """`state` has the blob; results, `plan`, `status` and the history a digest of it."""
    book.run()
    state = json.loads(book.cdpsync("state", "show", "-o", "json").stdout)
    cursor = state["tables"]["book"]["days"]["cursor"]
    assert cursor == {"type": "state", "value": '{"read":4,"large":""}'}
    assert book.cdpsync("state", "get", "book.days").stdout == '{"read":4,"large":""}\n'
    for command in (["plan"], ["status"], ["status", "--history"], ["run"]):
        text = book.cdpsync(*command, "-o", "json").stdout
        assert "sha256:" in text, command
        assert '"read"' not in text, command
    assert "what changed since its state" in book.cdpsync("plan").stdout
    with project.catalog_of(project.load(book.file)).reader() as con:
        assert str(Lake(con).system_tables.history()[0].result.cursor_after).count("sha256:") == 1


def test_a_person_sets_a_state(book: Book) -> None:
    """It is JSON text, which stays as it was written; anything else is refused in one line."""
    book.run()
    edit.set_cursor(project.load(book.file), "book.days", ' {"read": 2, "note": 1.10} ')
    assert book.cdpsync("state", "get", "book.days").stdout == '{"read": 2, "note": 1.10}\n'
    assert next(t for t in book.run().tables if t.stream == "days").rows_read == 3
    for text in ("{", "", "x" * 3):
        with pytest.raises(ConfigError, match="is not a valid state"):
            edit.set_cursor(project.load(book.file), "book.days", text)


def test_reset_reads_from_the_start(book: Book) -> None:
    """As any table is."""
    book.run()
    edit.reset(project.load(book.file), ("book.days",))
    assert next(t for t in book.run().tables if t.stream == "days").rows_read == 4


def test_a_state_that_is_too_large_is_not_kept(book: Book) -> None:
    """The rows are committed, and a notice says that they are read again."""
    book.write("days", (6, "large"))
    days = book.run("book.days").tables[0]
    assert days.status is TableStatus.OK
    assert book.states()["days"] is None
    assert "at most 1,048,576 are kept" in " ".join(days.notices)


def test_verify_reads_the_whole_stream(book: Book) -> None:
    """By key; rows that changed since the last run count, and a notice says so."""
    book.run()
    assert {result.status for result in verify.verify(book.file)} == {"equal"}
    book.entries["days"][1] = [2, "ice"]
    book.write("days", (7, "new"))
    days = next(result for result in verify.verify(book.file) if result.stream == "days")
    assert days.compared is not None
    assert {k.value: n for k, n in days.compared.counts.items()} == {"stale": 1, "missing": 1}
    assert "each row that changed there since" in days.notices[0]
    repaired = verify.verify(book.file, repair=True)
    assert {result.status for result in repaired} == {"equal", "repaired"}
    assert book.states()["days"]["read"] == 4


def test_the_diary_conforms(book: Book) -> None:
    """A connector that reports states keeps every promise of the contract."""
    conforms(diary.Diary, {"path": str(book.folder)}, broken=[{"path": "/nowhere"}])


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    """Who begins the runs that die."""
    with Mortals() as process:
        yield process


@pytest.mark.parametrize("mode", ["incremental", "append_only", "full_table"])
def test_killed_at_each_step_and_a_rerun_are_one_clean_run(
    book: Book, mortals: Mortals, mode: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Rows and states are those of a run that was not killed, wherever it dies."""
    book.configure({"days": {"mode": mode}, "walks": {"mode": mode}})
    assert not mortals.run(book.file).error
    book.write("days", (2, "ice"), (4, "sun"), (4, "dew"))
    book.write("walks", (1, "near"), (2, "up"))
    before = tmp_path_factory.mktemp("before")
    shutil.copytree(book.folder, before, dirs_exist_ok=True)

    def restore() -> None:
        shutil.rmtree(book.folder)
        shutil.copytree(before, book.folder)

    ended = mortals.run(book.file, watched=True)
    expected = [book.rows("days"), book.rows("walks"), book.states()]
    chance = Random(mode)  # noqa: S311 - a moment to die, not a secret
    chosen = list(ended.steps)
    if not _EACH_STEP:
        varied = varied_states(ended, chance)
        chosen = chance.sample(varied, min(_DEATHS[mode], len(varied)))
    deaths = 0
    for step in chosen:
        restore()
        deaths += mortals.run(book.file, at=step).killed
        assert not mortals.run(book.file).error
        assert [book.rows("days"), book.rows("walks"), book.states()] == expected, step
    assert deaths
