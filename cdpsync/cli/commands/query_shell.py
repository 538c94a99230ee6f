"""The prompt of `query`: reads statements until `;`, keeps a history, ends at Ctrl-D."""

from __future__ import annotations

import readline
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cdpsync.cli.commands.query_commands import is_command
from cdpsync.cli.output import log
from cdpsync.cli.session import Terminated
from cdpsync.errors import CdpsyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FIRST, NEXT = "cdpsync> ", "    ...> "
_LONGEST_HISTORY = 1_000
_EXIT_WORDS = {"exit", "quit", "\\q", ".exit", ".quit"}


def repl(run: Callable[[str], None], history: Path) -> None:
    """Read statements and run each; an error is logged and does not end the prompt."""
    log.info(
        "End a statement with a semicolon. Ctrl-C clears it, Ctrl-D leaves, \\? helps.",
        event="prompt",
    )
    with _history(history):
        for statement in _statements():
            try:
                run(statement)
            except CdpsyncError as error:
                log.error(error.message, type=type(error).__name__)
            except Terminated:
                raise
            except KeyboardInterrupt:
                log.info("cancelled", event="cancelled")


def _statements() -> Iterator[str]:
    """Go through the statements: lines up to one that ends with `;`, joined."""
    lines: list[str] = []
    while True:
        try:
            line = input(NEXT if lines else FIRST)
        except EOFError:
            log.info("", event="prompt")
            return
        except Terminated:
            raise
        except KeyboardInterrupt:
            log.info("", event="prompt")
            lines.clear()
            continue
        if not lines and line.strip().rstrip(";").lower() in _EXIT_WORDS:
            return
        if not lines and is_command(line):
            yield line.strip()
            continue
        if line.strip() or lines:
            lines.append(line)
        if line.rstrip().endswith(";"):
            statement = "\n".join(lines)
            lines.clear()
            if statement.strip(" \n\t;"):
                yield statement


@contextmanager
def _history(path: Path) -> Iterator[None]:
    """Keep the history in a file that only its owner can read."""
    with suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(_LONGEST_HISTORY)
    try:
        yield
    finally:
        with suppress(OSError):
            path.touch(mode=0o600)
            readline.write_history_file(path)
