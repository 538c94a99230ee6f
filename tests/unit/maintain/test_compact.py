"""Which files of a table are worn: pure arithmetic over sizes and deleted rows."""

from __future__ import annotations

from cdpsync.catalog.ducklake import DataFile
from cdpsync.maintain.compact import files_to_compact

MB = 1_000_000


def small(count: int) -> list[DataFile]:
    return [DataFile(f"small-{i}", 1000, 1 * MB, 0) for i in range(count)]


def test_few_small_files_are_left_alone() -> None:
    """Seven are not worth a rewrite, eight are, all of them."""
    assert files_to_compact(small(7)) == ()
    assert files_to_compact(small(8)) == tuple(small(8))


def test_files_of_a_first_load_are_no_fragments() -> None:
    """A merge that follows it writes anew what came in between, not the table."""
    loaded = [DataFile(f"loaded-{i}", 100_000, 21 * MB, 1000) for i in range(13)]
    assert files_to_compact([*loaded, *small(7)]) == ()
    assert files_to_compact([*loaded, *small(8)]) == tuple(small(8))


def test_a_large_file_is_rewritten_when_a_fifth_of_it_is_deleted() -> None:
    """Before that its deleted rows are cheaper to skip than to write anew."""
    fresh = DataFile("fresh", 1000, 100 * MB, 200)
    old = DataFile("old", 1000, 100 * MB, 201)
    assert files_to_compact([fresh, old, *small(3)]) == (old,)


def test_one_run_rewrites_the_worst_and_no_more_than_it_should() -> None:
    """What is left is there for the next run; the order of the files is kept."""
    files = [DataFile(f"large-{i}", 1000, 200 * MB, 300 + i) for i in range(5)]
    assert files_to_compact(files) == (files[3], files[4])
    assert files_to_compact([*files, *small(20)]) == (files[3], files[4], *small(20))


def test_a_file_beyond_what_a_run_carries_is_left_to_maintenance() -> None:
    """A run stays short, however large its tables."""
    assert files_to_compact([DataFile("huge", 1000, 600 * MB, 900)]) == ()


def test_a_lake_of_many_small_files_is_mended_run_by_run() -> None:
    """The smallest first: no run carries more than it should."""
    files = [DataFile(str(i), 1000, (i % 30 + 1) * MB, 0) for i in range(200)]
    chosen = files_to_compact(files)
    assert 400 * MB < sum(file.bytes for file in chosen) <= 512 * MB
    assert max(file.bytes for file in chosen) < 20 * MB


def test_rewriting_ends() -> None:
    """However many commits there are, each row is rewritten a few times only."""
    files: list[DataFile] = []
    rewritten = 0
    for number in range(1000):
        files.append(DataFile(str(number), 1000, 1 * MB, 0))
        if chosen := files_to_compact(files):
            size = sum(file.bytes for file in chosen)
            rewritten += size
            files = [file for file in files if file not in chosen]
            files.append(DataFile(f"{number}, compacted", 1000, size, 0))
    assert len(files) < 8 + 1000 // 30
    assert rewritten < 4 * 1000 * MB


def test_rows_of_large_files_are_spread_over_runs() -> None:
    """What leaves a file is held in memory, row by row; one file is always let through."""
    files = [DataFile(str(n), 1_000_000, 40 * MB, 300_000 + n) for n in range(6)]
    assert files_to_compact(files) == tuple(files[3:])
    assert files_to_compact(files[:3]) == tuple(files[:3])
    whole = DataFile("whole", 20_000_000, 400 * MB, 19_000_000)
    assert files_to_compact([whole, *files[:1]]) == (whole,)
