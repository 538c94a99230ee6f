"""Each action of each preset sends what its system accepts; what it refuses is a dead letter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.destination_servers import CHECKS, throttled
from support.preset_cases import CASES
from support.preset_sending import SentRows, preset_project

if TYPE_CHECKING:
    from pathlib import Path

    from support.destination_servers import DestinationServer
    from support.preset_cases import Case


def _faults(case: Case, server: DestinationServer, sent: SentRows) -> list[str]:
    """Return what is wrong after a case's rows were sent for the first time."""
    rows = len(case.rows) + len(case.deletes)
    expected = (rows - len(case.refused), set(case.refused), 0, rows - len(case.refused))
    actual = (sent.succeeded, set(sent.dead), sent.held, server.accepted.count)
    if actual == expected:
        return []
    last = server.answers[-1:] or ["no request"]
    return [f"{case.name}: {actual} instead of {expected}; {sent.error}; {sent.dead}; {last}"]


@pytest.mark.parametrize("preset", sorted(CHECKS))
def test_rows_are_accepted(tmp_path: Path, preset: str) -> None:
    """The system takes every row but the bad ones, each once; those are dead letters, by row.

    One request at first meets the system's own answer to too many requests.
    """
    cases = [case for case in CASES if case.preset == preset]
    with preset_project(tmp_path, cases) as project:
        project.write_rows(with_deleted=True)
        project.run()
        for server in project.servers[:1]:
            server.scripted.append(throttled(preset))
        results = project.send("--backfill", "-y")
        faults = [
            fault
            for case, server, sent in zip(cases, project.servers, results, strict=True)
            for fault in _faults(case, server, sent)
        ]
        assert not faults, "\n".join(faults)


@pytest.mark.parametrize("preset", sorted({case.preset for case in CASES if case.deletes}))
def test_deletes_are_accepted(tmp_path: Path, preset: str) -> None:
    """A row that was deleted is deleted there, and one that is not there any more is no error."""
    cases = [case for case in CASES if case.preset == preset and case.deletes]
    with preset_project(tmp_path, cases) as project:
        project.write_rows(with_deleted=True)
        project.run()
        before = project.send("--backfill", "-y")
        taken = [server.accepted.count for server in project.servers]
        project.write_rows(with_deleted=False)
        project.run()
        results = project.send()
        for case, server, first, earlier, sent in zip(
            cases, project.servers, before, taken, results, strict=True
        ):
            assert (sent.succeeded, sent.dead, sent.held) == (len(case.deletes), first.dead, 0)
            assert server.accepted.count - earlier == len(case.deletes) - case.unknown, case.name


def test_every_preset_has_a_case() -> None:
    """No action is without a row that was sent."""
    assert {case.preset for case in CASES} == set(CHECKS)
