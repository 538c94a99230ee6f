"""A second version of Postgres for the tests: Debian's 15, installed or unpacked."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from support.debian_packages import libraries_below, unpacked
from support.postgres_server import Server, postgres_of, temporary_folder, traversable

if TYPE_CHECKING:
    from collections.abc import Iterator

_INSTALLED = Path("/usr/lib/postgresql/15/bin")
_PACKAGES = ("postgresql-15", "postgresql-client-15")
_CACHE = Path(sys.prefix) / "share" / "cdpsync-tests" / "postgresql-15"
_SCRIPT = """#!/bin/sh
LD_LIBRARY_PATH={libraries} exec {program} "$@"
"""


@contextlib.contextmanager
def postgres_15(**settings: str) -> Iterator[Server]:
    """Run a Postgres 15; see `support.postgres_server.postgres`."""
    if (_INSTALLED / "postgres").exists():
        with postgres_of(_INSTALLED, settings) as server:
            yield server
        return
    home = unpacked(_CACHE, _PACKAGES, "a Postgres 15")
    folder = Path(tempfile.mkdtemp(prefix="cdpsync-pg15-", dir=temporary_folder()))
    try:
        folder.chmod(0o755)
        if os.geteuid() == 0 and not traversable(home):
            home = Path(shutil.copytree(home / "usr", folder / "usr", symlinks=True)).parent
        with postgres_of(_scripts(folder, home), settings) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _scripts(folder: Path, home: Path) -> Path:
    """Return a folder of scripts that start the unpacked programs with their libraries."""
    scripts = folder / "bin"
    scripts.mkdir()
    libraries = ":".join(str(path) for path in libraries_below(home))
    for program in (home / "usr/lib/postgresql/15/bin").iterdir():
        script = scripts / program.name
        script.write_text(_SCRIPT.format(libraries=libraries, program=program))
        script.chmod(0o755)
    return scripts
