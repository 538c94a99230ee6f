"""The peers of `bench_send.py`: drt, a Python tool for the same task, and syslog-ng, written in C.

drt reads the same DuckDB file. Its limit of ten requests a second is lifted; all else is its
default. syslog-ng's http() is Debian's package, unpacked and not installed; it reads the rendered
bodies from a file, so that its figure has no query in it. Both send one row a request, or 500.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from measure import ROOT, WORK, Figure

sys.path[:0] = [str(ROOT / "tests")]

from support.debian_packages import libraries_below, unpacked  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from support.receiver import Receiver

HOME = ROOT / "bench" / ".send-peers"
_LOCK = ROOT / "bench" / "send_peers.lock"  # written by `make lock`
_READY = HOME / "ready.txt"

_PROJECT = "name: bench\nprofile: local\nversion: '0.1'\n"
_PROFILES = "local:\n  type: duckdb\n  database: {file}\n"
_SYNC = """
name: people
model: {model}
destination:
  type: rest_api
  url: {url}
  headers: {{Content-Type: application/json}}
{body}
sync:
  mode: full
  batch_size: 1000
  rate_limit: {{requests_per_second: 0}}
"""
_ITEM = ",".join(
    f'"{name}":{{{{ row.{name} | tojson }}}}' for name in ("id", "email", "name", "note")
)
_RECORD = f"""
  body_template: |
    {{{_ITEM}}}
"""
_BATCH = f"""
  body_mode: batch
  max_records_per_request: 500
  batch_template: |
    {{"items":[
    {{% for row in rows %}}{{{_ITEM}}}{{% if not loop.last %}},{{% endif %}}{{% endfor %}}
    ]}}
"""
_CONFIG = """
@version: 3.35
options {{ stats-freq(0); }};
source rows {{
    file("{file}" flags(no-parse) follow-freq(1) log-iw-size(20000) log-fetch-limit(1000));
}};
destination sink {{
    http(
        url("{url}") method("POST") body("${{MESSAGE}}") headers("Content-Type: application/json")
        workers(8) log-fifo-size(200000) batch-lines({lines}) batch-timeout(1000)
        body-prefix("{prefix}") body-suffix("{suffix}") delimiter(",")
    );
}};
log {{ source(rows); destination(sink); flags(flow-control); }};
"""


@dataclass(frozen=True)
class Work:
    """What a peer sends: the DuckDB file, the rendered rows, the batch (0: none)."""

    file: Path
    lines: Path
    batch: int


def install() -> None:
    """Create drt's environment if it is missing, or differs from its lock."""
    if _READY.exists() and _READY.read_text() == _LOCK.read_text():
        return
    print("installing drt", file=sys.stderr)
    shutil.rmtree(HOME, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", HOME], check=True)
    pip = [HOME / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "-r", _LOCK], check=True)
    shutil.copy(_LOCK, _READY)


def drt(server: Receiver, work: Work) -> tuple[list[str | Path], dict[str, str]]:
    """Return the command that sends the rows with drt, and its environment."""
    folder = WORK / "drt"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "syncs").mkdir(parents=True)
    (folder / ".drt").mkdir()
    (folder / "drt_project.yml").write_text(_PROJECT)
    (folder / ".drt/profiles.yml").write_text(_PROFILES.format(file=work.file))
    body = _BATCH if work.batch else _RECORD
    (folder / "syncs/people.yml").write_text(
        _SYNC.format(model="select * from people", url=server.url, body=body)
    )
    script = f'cd "{folder}" && exec "{HOME / "bin/drt"}" run --select people'
    return ["/bin/sh", "-c", script], {"HOME": str(folder)}


def syslog_ng(server: Receiver, work: Work, rows: int) -> Figure:
    """Send the rows with syslog-ng, which follows its file for ever, and end it when all came."""
    root = unpacked(
        WORK.parent / ".send-peers-debian", ["syslog-ng-core", "syslog-ng-mod-http"], "syslog-ng"
    )
    folder = WORK / "syslog-ng"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "syslog-ng.conf").write_text(
        _CONFIG.format(
            file=work.lines,
            url=server.url,
            lines=work.batch or 1,
            prefix='{\\"items\\":[' if work.batch else "",
            suffix="]}" if work.batch else "",
        )
    )
    modules = next(root.rglob("libhttp.so")).parent
    command = [
        *(root / "usr/sbin/syslog-ng", "-F", "--no-caps", f"--module-path={modules}"),
        *("-f", folder / "syslog-ng.conf", "-R", folder / "persist", "-c", folder / "control"),
        *("-p", folder / "pid"),
    ]
    libraries = ":".join(map(str, libraries_below(root)))
    start = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
        stdout=subprocess.DEVNULL,
        stderr=(folder / "log").open("w"),
    )
    while server.count()[1] < rows:
        if process.poll() is not None:
            sys.exit(f"syslog-ng ended: {(folder / 'log').read_text()}")
        time.sleep(0.05)
    seconds = time.monotonic() - start
    process.send_signal(signal.SIGTERM)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return Figure(seconds, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)
