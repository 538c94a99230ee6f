"""requirements.lock and its two like: whole, exact, and of no one machine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "tests/support/fakesnow.lock", "bench/peers.lock")
PYTHONS = re.findall(
    r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text()
)


def locked(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.lstrip().startswith("#")]


def versions(python: str) -> dict[str, str]:
    """What requirements.lock installs on Linux, by name."""
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    return {
        canonicalize_name(pin.name): next(iter(pin.specifier)).version
        for pin in locked("requirements.lock")
        if pin.marker is None or pin.marker.evaluate(environment)
    }


def wanted() -> Iterator[Requirement]:
    """Everything that pyproject.toml names, of each extra and each group."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for some in project["project"]["optional-dependencies"].values():
        named += some
    for some in project["dependency-groups"].values():
        named += [name for name in some if isinstance(name, str)]
    return (Requirement(name) for name in named if not name.startswith("cdpsync["))


@pytest.mark.parametrize("name", LOCKS)
def test_each_package_has_one_exact_version(name: str) -> None:
    """And nothing of the machine that wrote the file: no index, no path."""
    for pin in locked(name):
        assert re.fullmatch(r"==[\w.+!]+", str(pin.specifier)), pin
        assert pin.url is None
    assert not re.search(r"://|^\s*-|(?<!\w)/\w", (ROOT / name).read_text(), re.MULTILINE)


def test_each_python_from_the_oldest_on_is_named() -> None:
    """Each of them is tested by `make test-pythons`, and is in the lock."""
    oldest = int(PYTHONS[0].removeprefix("3."))
    assert [f"3.{minor}" for minor in range(oldest, oldest + len(PYTHONS))] == PYTHONS
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={PYTHONS[0]}"
    assert f"on Python {PYTHONS[0]} to {PYTHONS[-1]}" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("python", PYTHONS)
def test_lock_meets_pyproject(python: str) -> None:
    """Whoever changes a range runs `make lock`."""
    pins = versions(python)
    for requirement in wanted():
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement


@pytest.mark.parametrize(
    ("inputs", "lock"),
    [
        ("tests/support/fakesnow.in", "tests/support/fakesnow.lock"),
        ("bench/peers.in", "bench/peers.lock"),
    ],
)
def test_other_locks_meet_their_inputs(inputs: str, lock: str) -> None:
    """What is named in the input has that version in the lock."""
    pins = {canonicalize_name(pin.name): pin.specifier for pin in locked(lock)}
    for requirement in locked(inputs):
        assert pins[canonicalize_name(requirement.name)] == requirement.specifier
