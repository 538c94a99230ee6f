"""Debian's packages for the tests: unpacked beside Python's, not installed, and fetched once."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from support.processes import ServerError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Whatever the system's own C runtime is, it fits; another one beside it would not. The others only
# set up a system.
_NEVER = {
    *("libc6", "libgcc-s1", "libstdc++6", "zlib1g", "mariadb-common", "lsb-base", "ssl-cert"),
    *("sysvinit-utils", "postgresql-common", "postgresql-client-common", "tzdata", "locales-all"),
    *("locales", "sensible-utils", "debconf", "libllvm14"),
}


def unpacked(cache: Path, packages: Sequence[str], needed: str) -> Path:
    """Return the folder that these packages, and the libraries that they name, are unpacked in.

    Needs no root, and leaves the system as it is. `needed` says what to install where there is no
    apt.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / "ready").exists():
            _fetch(cache, packages, needed)
            (cache / "ready").touch()
    return cache / "root"


def libraries_below(home: Path) -> tuple[Path, ...]:
    """Return the folders with libraries of unpacked packages."""
    return tuple(sorted({library.parent for library in home.rglob("lib*.so*")}))


def _fetch(cache: Path, names: Sequence[str], needed: str) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise ServerError(f"the tests need {needed}; install it, so that it is on PATH")
    packages = cache / "packages"
    shutil.rmtree(packages, ignore_errors=True)
    packages.mkdir()
    own = [
        f"-oDir::State::Lists={cache / 'lists'}",
        f"-oDir::Cache={cache / 'apt'}",
        "-oAPT::Sandbox::User=root",
    ]
    try:
        _download(packages, names, ["-oAPT::Sandbox::User=root"], needed)
    except ServerError:  # no lists, or old ones: lists of our own need nobody's permission
        (cache / "lists/partial").mkdir(parents=True, exist_ok=True)
        (cache / "apt/archives/partial").mkdir(parents=True, exist_ok=True)
        _run(["apt-get", *own, "update"], packages, needed)
        _download(packages, names, own, needed)
    for package in packages.glob("*.deb"):
        _run(["dpkg", "-x", str(package), str(cache / "root")], packages, needed)
    shutil.rmtree(packages)


def _download(folder: Path, names: Sequence[str], options: list[str], needed: str) -> None:
    command = ["apt-cache", *options, "depends", "--important", *names]
    settings = _run(command, folder, needed)
    depends = set(re.findall(r"^  Depends: ([^<\s]+)$", settings, re.MULTILINE)) - _NEVER
    wanted = sorted({*names, *depends})
    _run(["apt-get", *options, "download", *wanted], folder, needed)


def _run(command: list[str], folder: Path, needed: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode != 0:
        raise ServerError(
            f"the tests need {needed}, and {command[0]} could not get one; install it, so that it "
            f"is on PATH:\n{done.stderr.strip()}"
        )
    return done.stdout
