"""Log lines on stderr while a command works, as text or as JSON."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from cdpsync.redact import redact
from cdpsync.serialize.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger("cdpsync.cli")
_COLOURS = {"error": "\x1b[1;31m", "warning": "\x1b[33m"}
_RESET_COLOUR = "\x1b[0m"


class LogFormat(StrEnum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


class _Text(logging.Formatter):
    """`error: what, where, next step`; lines below a warning have no level."""

    def format(self, record: logging.LogRecord) -> str:
        message = printable(redact(record.getMessage() + _traceback(record)), keep="\n\t")
        if record.levelno < logging.WARNING:
            return message
        level = "error" if record.levelno >= logging.ERROR else "warning"
        return (
            f"{_COLOURS[level]}{level}:{_RESET_COLOUR} {message}"
            if colours()
            else f"{level}: {message}"
        )


def _traceback(record: logging.LogRecord) -> str:
    """Return the traceback of a record that is for -v, on lines of its own; else an empty text."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None or record.levelno > logging.DEBUG:
        return ""
    return "\n" + "".join(traceback.format_exception(error)).rstrip()


class _Json(logging.Formatter):
    """`{"ts", "level", "event", "message", …}`: an object per line, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if _traceback(record):
            line["traceback"] = _traceback(record).lstrip()
        redacted = {k: redact(v) if isinstance(v, str) else v for k, v in line.items()}
        return json.dumps(redacted, ensure_ascii=False, default=str)


class _Stderr(logging.Handler):
    """Writes to the current `sys.stderr`, because a progress display replaces it for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except OSError:
            # Nobody reads stderr any more. The work goes on, and the exit code reports its result.
            return


def colours() -> bool:
    """Whether stderr may carry colours."""
    return sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.getenv("TERM") != "dumb"


@contextmanager
def logging_to_stderr(log_format: LogFormat, *, quiet: bool, verbose: bool) -> Iterator[None]:
    """Send the lines of the `cdpsync` loggers to stderr inside this context."""
    logger = logging.getLogger("cdpsync")
    handler = _Stderr()
    handler.setFormatter(_Json() if log_format is LogFormat.JSON else _Text())
    before = logger.level
    logger.setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def info(message: str, *, level: int = logging.INFO, event: str = "note", **fields: object) -> None:
    """Log a message for people; the JSON form has `event` and `fields` beside it."""
    _log.log(level, "%s", message, extra={"event": event, "fields": fields})


def warn(message: str, *, event: str = "warning", **fields: object) -> None:
    """Log a warning."""
    info(message, level=logging.WARNING, event=event, **fields)


def error(message: str, *, event: str = "error", **fields: object) -> None:
    """Log an error: `-q` does not silence it."""
    info(message, level=logging.ERROR, event=event, **fields)


def trace(error: BaseException) -> None:
    """Log an error's traceback for `-v`, without secrets."""
    text = "".join(traceback.format_exception(error)).rstrip()
    info(text, level=logging.DEBUG, event="traceback")
