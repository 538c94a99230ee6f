"""Checks of a project's sources and warehouse, and discovery of a source's streams."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from cdpsync.catalog import Lake
from cdpsync.connector import unmatched_patterns_of
from cdpsync.errors import CdpsyncError, ReadError
from cdpsync.model import (
    CheckResult,
    Config,
    Failure,
    Source,
    Stream,
)
from cdpsync.project.workspace import catalog_of, open_connector, source_of
from cdpsync.state import read_state
from cdpsync.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger("cdpsync.project")


def discover(config: Config, source: str) -> tuple[Stream, ...]:
    """Return the streams of a source. A pattern of its options that matches none is a warning."""
    with open_connector(source_of(config, source)) as connector:
        streams = tuple(connector.discover())
        for pattern in unmatched_patterns_of(connector):
            log.warning("%s", pattern.message)
        return streams


def check(config: Config, sources: Sequence[str] = ()) -> tuple[CheckResult, ...]:
    """Check the warehouse and these sources (all where none is named); a failure is a result.

    Raises ConfigError for the name of an unknown source.
    """
    selected = [source_of(config, name) for name in sources] or list(config.sources.values())
    results = [_run_check("warehouse", config.warehouse.path, lambda: _check_warehouse(config))]
    results += [
        _run_check(source.name, source.type, partial(_check_source, source)) for source in selected
    ]
    return tuple(results)


def _check_source(source: Source) -> None:
    with open_connector(source) as connector:
        connector.check()


def _check_warehouse(config: Config) -> None:
    open_storage(config.warehouse).check()
    catalog = catalog_of(config)
    if catalog.exists():
        with catalog.reader(data=False) as con:
            Lake(con)
    read_state(config.warehouse.state)


def _run_check(name: str, kind: str, attempt: Callable[[], None]) -> CheckResult:
    start = time.monotonic()
    try:
        attempt()
    except CdpsyncError as error:
        return CheckResult(
            name, kind, ok=False, seconds=time.monotonic() - start, error=Failure.of(error)
        )
    except Exception as error:
        log.debug("%s: an error that its connector does not know", name, exc_info=error)
        reason = f"{name}: {type(error).__name__}: {error}. This is a defect of its connector."
        failure = Failure.of(ReadError(reason))
        return CheckResult(name, kind, ok=False, seconds=time.monotonic() - start, error=failure)
    return CheckResult(name, kind, ok=True, seconds=time.monotonic() - start)
