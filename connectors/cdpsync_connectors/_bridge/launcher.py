"""Starts a program that ends with us: run as a script, before the program takes its place.

An SDK tap that gets TERM or INT ends as if it had read everything. So both are blocked in the mask
that a tap inherits, and only KILL ends it. Others keep them, because they may end processes of
their own by TERM. On Linux the kernel kills the program when the thread that started it ends.
Arguments: `kill` or `term`, the process that started this one, then the program's own.
"""

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _die_with(parent: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


if __name__ == "__main__":
    if sys.argv[1] == "kill":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    _die_with(int(sys.argv[2]))
    try:
        os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606 - the program that the user named
    except OSError as error:
        sys.stderr.write(f"{sys.argv[3]}: {error.strerror}\n")
        sys.exit(127)
