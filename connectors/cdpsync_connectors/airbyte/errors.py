"""The errors of a connector: what it traced, else the end of its stderr, as one line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.errors import ConfigError, ConnectError, ReadError
from cdpsync.redact import redact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdpsync.errors import CdpsyncError
    from cdpsync_connectors._bridge.process import Ended

_LONGEST = 400
_KILLED = -9
_INVALID = re.compile(r"config validation|validation error|is a required property", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Trace:
    """An error that a connector traced. `stream` is empty where it is none of a stream's own."""

    message: str
    kind: str
    stream: str


def trace_of(traces: Sequence[Trace], stream: str) -> Trace | None:
    """Return the error to tell of a stream: its own, else one of a stream, else the last.

    The last one that a connector traces says config_error, whatever has happened.
    """
    own = [trace for trace in traces if trace.stream == stream]
    others = [trace for trace in traces if trace.stream]
    for found in (own, others, traces):
        if found:
            return found[0 if found is not traces else -1]
    return None


def source_error(program: str, ended: Ended, trace: Trace | None) -> CdpsyncError:
    """Return the error of a connector that did not end well."""
    if trace is None and ended.code == _KILLED and not ended.was_killed:
        return ReadError(
            f"{program} was killed, by the system or by someone: often for lack of memory. Nothing "
            "of it was committed; the next run reads it again."
        )
    if trace is None and ended.code == 0:
        return ReadError(
            f"{program} ended in the middle of a line. Nothing of it was committed; the next run "
            "reads it again."
        )
    where = f"{program} failed (exit code {ended.code})"
    if trace is None:
        text = short(ended.tail[-1]) if ended.tail else "it wrote no reason"
        return ReadError(f"{where}: {text}. -v shows what it wrote to stderr.")
    text = short(trace.message)
    if trace.kind == "config_error":
        if _INVALID.search(text):
            return ConfigError(f"{where}: {text}. Correct config in the project file.")
        return ConnectError(f"{where}: {text}. Check config.")
    if trace.kind == "transient_error":
        return ReadError(f"{where}: {text}. The next run tries again.")
    return ReadError(f"{where}: {text}. -v shows more.")


def short(text: str) -> str:
    """Return a text as one line of limited length, without secrets and its last dot."""
    text = redact(" ".join(text.split()))
    return (text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…").rstrip(".")
