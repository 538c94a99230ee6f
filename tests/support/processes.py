"""Servers as processes: each ends with whoever started it, and its files go with it."""

from __future__ import annotations

import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STARTS_WITHIN = 60.0  # seconds; measured 0.7

# Whatever ends this process, the pipe on the shell's stdin closes: the server stops, its files go.
# The folder and the signal that stops the server are named first, then the server's own command.
_KEEPER = """
root=$1 signal=$2
shift 2
"$@" >"$root/log" 2>&1 </dev/null &
server=$!
read -r _
kill -$signal $server 2>/dev/null
wait $server
rm -rf "$root"
"""


class ServerError(Exception):
    """A server did not start, or psql returned an error: its own words."""


def kept(
    root: Path, signal: str, command: Sequence[str | Path], **options: Any
) -> subprocess.Popen[bytes]:
    """Start a server that ends, by this signal, with its keeper; `root` goes then too."""
    keeper: subprocess.Popen[bytes] = subprocess.Popen(
        ["/bin/sh", "-c", _KEEPER, "keeper", root, signal, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=root,
        start_new_session=True,  # Ctrl-C is ours to answer
        **options,
    )
    return keeper


def stop(keeper: subprocess.Popen[bytes]) -> None:
    if keeper.stdin is not None:
        keeper.stdin.close()
    keeper.wait(timeout=STARTS_WITHIN)


def serves(url: str, keeper: subprocess.Popen[bytes]) -> bool:
    """Wait until a service answers at this address; False when it has given up."""
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline and keeper.poll() is None:
        try:
            with urlopen(url, timeout=5):  # noqa: S310 - our own http address
                return True
        except HTTPError as answer:
            answer.close()
            if answer.code < 500:
                return True
        except (URLError, OSError):
            pass
        time.sleep(0.05)
    return False


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
