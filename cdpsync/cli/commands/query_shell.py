"""The prompt of `query`: statements until `;`, a history, Ctrl-D ends it."""

from __future__ import annotations

import readline
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cdpsync.cli.output import log
from cdpsync.cli.session import Terminated
from cdpsync.errors import CdpsyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FIRST, NEXT = "cdpsync> ", "    ...> "
_LONGEST_HISTORY = 1_000
_LEAVE = {"exit", "quit", "\\q", ".exit", ".quit"}


def repl(ask: Callable[[str], None], history: Path) -> None:
    """Read statements and ask each; an error is told and does not end the conversation."""
    log.info("SQL, ended by a semicolon. Ctrl-C clears, Ctrl-D ends.", event="prompt")
    with _history(history):
        for statement in _statements():
            try:
                ask(statement)
            except CdpsyncError as error:
                log.error(error.message, type=type(error).__name__)
            except Terminated:
                raise
            except KeyboardInterrupt:
                log.info("cancelled", event="cancelled")


def _statements() -> Iterator[str]:
    """Read lines until one ends with `;`, and hand over what they make together."""
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
        if not lines and line.strip().rstrip(";").lower() in _LEAVE:
            return
        if line.strip() or lines:
            lines.append(line)
        if line.rstrip().endswith(";"):
            statement = "\n".join(lines)
            lines.clear()
            if statement.strip(" \n\t;"):
                yield statement


@contextmanager
def _history(path: Path) -> Iterator[None]:
    """Keep the lines from one conversation to the next, for their owner's eyes only."""
    with suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(_LONGEST_HISTORY)
    try:
        yield
    finally:
        with suppress(OSError):
            path.touch(mode=0o600)
            readline.write_history_file(path)
