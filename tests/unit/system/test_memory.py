"""The memory of a process: the machine's or its container's, and the parts of it."""

import pytest

from cdpsync.system.memory import MemoryBudget, machine_memory, memory_budget, row_group_bytes


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {"memory.max": "500000000"}, 500_000_000),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": "300000000"}, 300_000_000),
        ("0::/of/the/host\n", {"memory.max": "200000000"}, 200_000_000),
        ("5:cpu:/\n4:memory:/c\n", {"memory/c/memory.limit_in_bytes": "100000000"}, 100_000_000),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": str(2**63 - 4096)}, None),
        ("0::/\n", {"memory.max": "max"}, None),
    ],
    ids=["v2", "group around it", "container", "v1", "v1 without a limit", "v2 without a limit"],
)
def test_memory_of_a_container_is_its_limit(tmp_path, groups, files, expected):
    """A limit of the control group, or of one around it, counts as the machine's memory."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        file = tmp_path / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    assert machine_memory(tmp_path) == (expected or machine_memory(tmp_path / "another system"))


def test_parts_are_no_more_than_the_whole():
    """All steps that run at once have the memory of `warehouse.memory` together, and no more."""
    budget = MemoryBudget(1_000_000_000, workers=3)
    assert budget.worker * 3 <= budget.reading
    assert budget.reading + budget.lake + budget.merge <= budget.total
    assert budget.large_rows <= budget.reading
    assert row_group_bytes(budget.worker) * 4 < budget.worker


def test_setting_is_the_whole():
    """Without a setting, the budget is a share of the machine's memory."""
    assert memory_budget(128_000_000).total == 128_000_000
    assert 0 < memory_budget(None).total < machine_memory()
