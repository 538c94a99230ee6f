"""Exceptions that a connector's own code raised: their type, text, file and line, as an error."""

from __future__ import annotations

import logging
import re
import sys
import sysconfig
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.connector import registry
from cdpsync.errors import CdpsyncError, ReadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cdpsync.connector import Connector

log = logging.getLogger("cdpsync.connector")

_ENGINE = Path(__file__).parents[1]
_FOR_CONNECTORS = {"connector", "model", "errors", "redact", "sql"}
"""The parts of the engine that a connector calls, so that wrong arguments are its own fault."""

_BUILT_IN = "cdpsync_connectors"

# Python code that DuckDB or Arrow called: only the text of their error has its frames.
_ARROW_FRAME = re.compile(r'File "(?P<file>[^"\n]+)", line (?P<line>\d+)')
_ARROW_TEXT = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t].*\n)+(?P<text>\S.*)")
_FUNCTION_FRAME = re.compile(r"^\s+(?P<file>\S.*)\((?P<line>\d+)\): ", re.MULTILINE)
_FUNCTION_TEXT = re.compile(r"Python exception occurred while executing the UDF: (?P<text>.*)")

_LIBRARIES = tuple(
    {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")}
)

Frame = tuple[str, int]


@dataclass(frozen=True, slots=True)
class CodeFault:
    """An exception of a connector's code: `KeyError: 'x' (issues.py:42)`."""

    text: str
    is_built_in: bool

    @property
    def message(self) -> str:
        """The fault, whose it is, and the next step."""
        if self.is_built_in:
            return f"{self.text}. This is a defect of cdpsync's connector: report what -v shows."
        return f"{self.text}. The connector's own code raised it; -v shows the traceback."


def code_fault(error: BaseException, connector: object = None) -> CodeFault | None:
    """Return the fault if a connector's own code raised an exception; None if the engine did.

    `connector` is the one that was asked; without it, any that this process uses may have raised.
    The fault is at the innermost line of the connector's files, because a library below it, such
    as a driver, was called with what the connector gave it.
    """
    described = _described(error)
    classes = registry.used()
    if connector is not None:
        classes = (connector if isinstance(connector, type) else type(connector),)
    for file, line in reversed(described.frames):
        part = _engine_part(file)
        if part in _FOR_CONNECTORS:
            continue
        if part:
            return None
        owners = [class_ for class_ in classes if _is_in_package(file, class_)]
        if owners or (connector is not None and not _is_library(file)):
            text = f"{described.text} ({Path(file).name}:{line})"
            return CodeFault(text, any(map(_is_built_in, owners or classes)))
    return None


def code_error(place: str, error: Exception, connector: Connector) -> CdpsyncError | None:
    """Return an exception of a connector's methods as an error; None if the engine raised it.

    An error of its driver is the one that the connector knows it as.
    """
    if isinstance(error, CdpsyncError):
        return error
    fault = code_fault(error, connector)
    if fault is None:
        return None
    return translated(place, error, connector) or fault_error(place, fault, error)


@contextmanager
def own_faults(place: str, connector: Connector) -> Iterator[None]:
    """Raise an exception of the connector's own code, or of its driver, as an error of cdpsync."""
    try:
        yield
    except Exception as error:
        known_error = code_error(place, error, connector)
        if known_error is None or known_error is error:
            raise
        raise known_error from error


def unknown_error(place: str, error: Exception, connector: Connector | None = None) -> CdpsyncError:
    """Return any exception as an error that says whose it is: a connector's, or the engine's."""
    known_error = code_error(place, error, connector) if connector is not None else None
    if known_error is not None:
        return known_error
    fault = code_fault(error)
    if fault is not None:
        return fault_error(place, fault, error)
    log.debug("%s: this is a defect of cdpsync", place, exc_info=error)
    text = _described(error).text
    return ReadError(f"{place}: {text}. This is a defect of cdpsync: report what -v shows.")


def translated(place: str, error: Exception, connector: Connector) -> CdpsyncError | None:
    """Return a driver's error as the connector knows it; None if it does not know it."""
    try:
        known_error: object = connector.translate(error)
    except CdpsyncError as raised_error:
        return raised_error
    except Exception as translate_error:
        fault = code_fault(translate_error, connector)
        if fault is None:
            raise
        return fault_error(place, fault, translate_error)
    if known_error is None or isinstance(known_error, CdpsyncError):
        return known_error
    kind = type(known_error).__name__
    method = f"{type(connector).__name__}.translate"
    return ReadError(f"{place}: {method} must return an error of cdpsync or None, not {kind}.")


def fault_error(place: str, fault: CodeFault, error: Exception) -> ReadError:
    """Return the error of a fault, and log the traceback for -v."""
    log.debug("%s: %s", place, fault.text, exc_info=error)
    return ReadError(f"{place}: {fault.message}")


@dataclass(frozen=True, slots=True)
class _Described:
    """An exception's type and text on one line, and its frames, the innermost last."""

    text: str
    frames: tuple[Frame, ...]


def _described(error: BaseException) -> _Described:
    raw = str(error)
    frames = [
        (frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)
    ]
    for inner_frame, inner_text in ((_ARROW_FRAME, _ARROW_TEXT), (_FUNCTION_FRAME, _FUNCTION_TEXT)):
        match = inner_text.search(raw)
        if match is not None:
            frames += [(frame["file"], int(frame["line"])) for frame in inner_frame.finditer(raw)]
            return _Described(match["text"].strip(), tuple(frames))
    first = raw.strip().splitlines()[0].rstrip(".") if raw.strip() else ""
    name = type(error).__name__
    return _Described(f"{name}: {first}" if first else name, tuple(frames))


def _engine_part(file: str) -> str:
    """Return the module or package of the engine that a file belongs to; empty for other files."""
    path = Path(file)
    if not path.is_relative_to(_ENGINE):
        return ""
    return path.relative_to(_ENGINE).parts[0].removesuffix(".py")


def _is_library(file: str) -> bool:
    """Whether a file belongs to Python or to an installed package."""
    return file.startswith("<") or _is_within(file, _LIBRARIES)


def _is_in_package(file: str, class_: type) -> bool:
    """Whether a file is that of a connector class or of a base, or in its package."""
    return _is_within(file, tuple(_roots(class_)))


def _is_within(file: str, roots: Iterable[Path]) -> bool:
    path = Path(file).resolve()
    return any(path == root or root in path.parents for root in roots)


def _roots(class_: type) -> Iterator[Path]:
    for name in {base.__module__ for base in class_.__mro__}:
        top = name.partition(".")[0]
        file = getattr(sys.modules.get(name), "__file__", None)
        if top == "cdpsync" or file is None:
            continue
        package = getattr(sys.modules.get(top), "__path__", None)
        yield from (Path(folder).resolve() for folder in package or ())
        yield Path(file).resolve()


def _is_built_in(class_: type) -> bool:
    return class_.__module__.partition(".")[0] == _BUILT_IN
