"""The choice of files to compact: pure arithmetic over sizes and deleted rows."""

from __future__ import annotations

from cdpsync.catalog.ducklake import DataFile
from cdpsync.maintain.compact import files_to_compact

MB = 1_000_000


def small(count: int) -> list[DataFile]:
    return [DataFile(f"small-{i}", 1000, 1 * MB, 0) for i in range(count)]


def test_few_small_files_are_not_compacted() -> None:
    """Seven small files are not rewritten, eight are."""
    assert files_to_compact(small(7)) == ()
    assert files_to_compact(small(8)) == tuple(small(8))


def test_files_of_a_first_load_are_not_small() -> None:
    """A later compaction rewrites the files that were added since, not the whole table."""
    loaded = [DataFile(f"loaded-{i}", 100_000, 21 * MB, 1000) for i in range(13)]
    assert files_to_compact([*loaded, *small(7)]) == ()
    assert files_to_compact([*loaded, *small(8)]) == tuple(small(8))


def test_a_large_file_is_rewritten_when_a_fifth_of_it_is_deleted() -> None:
    """Below that, skipping its deleted rows is cheaper than rewriting it."""
    fresh = DataFile("fresh", 1000, 100 * MB, 200)
    old = DataFile("old", 1000, 100 * MB, 201)
    assert files_to_compact([fresh, old, *small(3)]) == (old,)


def test_one_run_rewrites_the_most_deleted_files_up_to_its_limit() -> None:
    """The next run rewrites the others. The order of the files is kept."""
    files = [DataFile(f"large-{i}", 1000, 200 * MB, 300 + i) for i in range(5)]
    assert files_to_compact(files) == (files[3], files[4])
    assert files_to_compact([*files, *small(20)]) == (files[3], files[4], *small(20))


def test_a_file_larger_than_the_limit_of_a_run_is_left_to_maintain() -> None:
    """A run stays short, however large its tables."""
    assert files_to_compact([DataFile("huge", 1000, 600 * MB, 900)]) == ()


def test_many_small_files_are_compacted_over_several_runs() -> None:
    """The smallest files come first, and no run exceeds its limit."""
    files = [DataFile(str(i), 1000, (i % 30 + 1) * MB, 0) for i in range(200)]
    compacted = files_to_compact(files)
    assert 400 * MB < sum(file.bytes for file in compacted) <= 512 * MB
    assert max(file.bytes for file in compacted) < 20 * MB


def test_each_row_is_rewritten_a_few_times_only() -> None:
    """A thousand small commits cost less than four rewrites of each row."""
    files: list[DataFile] = []
    rewritten = 0
    for number in range(1000):
        files.append(DataFile(str(number), 1000, 1 * MB, 0))
        if compacted := files_to_compact(files):
            size = sum(file.bytes for file in compacted)
            rewritten += size
            files = [file for file in files if file not in compacted]
            files.append(DataFile(f"{number}, compacted", 1000, size, 0))
    assert len(files) < 8 + 1000 // 30
    assert rewritten < 4 * 1000 * MB


def test_rows_of_large_files_are_spread_over_runs() -> None:
    """A row that is deleted costs memory, so a run deletes few; but one file is always allowed."""
    files = [DataFile(str(n), 1_000_000, 40 * MB, 300_000 + n) for n in range(6)]
    assert files_to_compact(files) == tuple(files[3:])
    assert files_to_compact(files[:3]) == tuple(files[:3])
    huge = DataFile("huge", 20_000_000, 400 * MB, 19_000_000)
    assert files_to_compact([huge, *files[:1]]) == (huge,)
