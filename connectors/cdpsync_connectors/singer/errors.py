"""The end of a tap that failed, as an error in one line, by what it wrote to stderr.

A tap tries again by itself what may pass, so nothing is tried again in the same run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cdpsync.errors import ConfigError, ConnectError, ConnectorError, RateLimitError, ReadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdpsync.errors import CdpsyncError
    from cdpsync_connectors._bridge.process import Ended

_PREFIX = r"(?:\[?[\d:.,TZ/ +-]{8,40}\]?\s*)?[|\s-]*(?:(?:CRITICAL|ERROR|FATAL)\b[\s:|-]*)?"
_ERROR = re.compile(rf"^{_PREFIX}((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|\w*)): (.*)$")
_LEVEL = re.compile(r"\b(?:CRITICAL|FATAL|ERROR)\b[\s:|\]-]*(.+)$")
_NAMED = re.compile(r"(?:Error|Exception|Interrupt|Failed|Timeout|Limit\w*)$")
_REFUSED = re.compile(
    r"\b40[13]\b|unauthori[sz]ed|forbidden|invalid[_ ](?:token|grant|credentials)", re.I
)
_LIMITED = re.compile(r"\b429\b|rate.?limit|too many requests", re.I)
_PASSING = re.compile(
    r"\b5\d\d\b|time[d ]*.?out|Retriable|Connection\w*Error|RemoteDisconnected|reset", re.I
)
_CONFIG = re.compile(
    r"ConfigValidation|missing required keys|Config validation|is a required property", re.I
)
_ROTTEN = re.compile(r"^(?:ImportError|ModuleNotFoundError|AttributeError|SyntaxError)")
_LONGEST = 400
_KILLED = -9
_NOT_FOUND = 127


def tap_error(program: str, ended: Ended, *, wrote: bool) -> CdpsyncError:
    """Return the error of a tap that did not end well. `wrote`: it had written a message before."""
    if ended.code == _KILLED and not ended.was_killed:
        return ReadError(
            f"{program} was killed, by the system or by someone: often for lack of memory. Nothing "
            "of it was committed; the next run reads it again."
        )
    if ended.code == 0 and ended.is_cut:
        return ReadError(
            f"{program} ended in the middle of a line. Nothing of it was committed; the next run "
            "reads it again."
        )
    text = reason(ended.tail)
    where = f"{program} failed (exit code {ended.code})"
    if ended.code == _NOT_FOUND and not text:
        return ConfigError(f"{where}: it cannot be started. Correct command.")
    if _CONFIG.search(text):
        return ConfigError(f"{where}: {text}. Correct config in the project file.")
    if not wrote and _ROTTEN.match(text):
        return ConfigError(
            f"{where} as it started: {text}. The package does not fit what it was installed with: "
            "set as_of to a day on which it worked, or with to what it lacks; then cdpsync install."
        )
    return _of_service(where, text)


def _of_service(where: str, text: str) -> ConnectorError:
    if not text:
        return ReadError(f"{where} and wrote no reason. -v shows what it wrote to stderr.")
    if _LIMITED.search(text):
        error = RateLimitError(f"{where}: {text}. The next run tries again.")
        error.retryable = False  # in this run, because the tap has tried
        return error
    if _REFUSED.search(text):
        return ConnectError(f"{where}: {text}. Check the credentials in config.")
    if _PASSING.search(text):
        return ReadError(f"{where}: {text}. The next run tries again.")
    return ReadError(f"{where}: {text}. -v shows what it wrote to stderr.")


def reason(tail: Sequence[str]) -> str:
    """Return the last error in what a tap wrote to stderr: `Module.Error: text`, else an ERROR."""
    for line in reversed(tail):
        match = _ERROR.match(line)
        if match and _NAMED.search(match[1]):
            return _short(f"{match[1].rpartition('.')[2]}: {match[2]}")
    for line in reversed(tail):
        match = _LEVEL.search(line)
        if match:
            return _short(match[1])
    return _short(tail[-1]) if tail else ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return (text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…").rstrip(".")
