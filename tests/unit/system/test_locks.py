"""Locks of tables: as many at once as a project has tables."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_HOLD = """
import resource, sys
from pathlib import Path
from cdpsync.system import locks
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
with locks.hold_free(Path(sys.argv[1]), map(str, range(200)), "run", "now") as acquired:
    print(len(acquired.files), len(acquired.taken))
"""


def test_more_tables_are_locked_than_the_usual_limit_of_open_files(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLD, str(tmp_path / ".cdpsync/locks")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout == "200 0\n", done.stderr
