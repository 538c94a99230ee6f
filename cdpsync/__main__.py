"""The entry point of the program: an interrupt while Python imports the command line ends it."""

from __future__ import annotations

import gc
import os
import signal
import sys

TYPE_CHECKING = False  # typing's own takes longer to import than all else here
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

_INTERRUPTED = 130

# Objects between two garbage collections. The imports of a command make some 70,000 that all stay,
# and to look through them takes 5 % of a short run.
_GARBAGE_THRESHOLD = 100_000


def main() -> NoReturn:
    """Run the command line, and end the process.

    The signals are handled before the imports, which take most of the first 0.3 s. The handler
    raises nothing, because an exception in the middle of an import may be lost or become another.
    """
    if sys.platform == "win32":
        sys.exit(
            "cdpsync runs on Linux and macOS. On Windows, install it in WSL 2, and run it there."
        )
    signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else the parent ignores it
        signal.signal(signal.SIGINT, _end)
    gc.set_threshold(_GARBAGE_THRESHOLD)
    from cdpsync.cli.main import main as run_command_line

    gc.freeze()
    run_command_line()


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
