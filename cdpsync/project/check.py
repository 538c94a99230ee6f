"""Checks of a project's sources and warehouse, and discovery of a source's streams."""

from __future__ import annotations

import logging
import re
import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cdpsync.catalog import Lake
from cdpsync.connector import Caching, CheckAware, Suggesting, unmatched_patterns_of
from cdpsync.connector.faults import own_faults, unknown_error
from cdpsync.connector.returned import discovered_streams
from cdpsync.errors import CdpsyncError, ConfigError, SourceConfigError
from cdpsync.model import (
    CheckResult,
    Config,
    Failure,
    Source,
    SourceOverview,
    Stream,
)
from cdpsync.plan.configured import unfollowed_modes
from cdpsync.project.workspace import catalog_of, open_connector, source_of
from cdpsync.redact import label
from cdpsync.state import read_state
from cdpsync.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger("cdpsync.project")


def discover(config: Config, source: str) -> tuple[Stream, ...]:
    """Return the streams of a source. A pattern of its options that matches none is a warning."""
    streams, _ = discover_and_suggest(config, source)
    return streams


def discover_and_suggest(config: Config, source: str) -> tuple[tuple[Stream, ...], tuple[str, ...]]:
    """Return the streams of a source, and what its connector suggests to change for them."""
    with (
        open_connector(source_of(config, source), config) as connector,
        own_faults(label(source), connector),
    ):
        if isinstance(connector, Caching):
            connector.uses_cache = False
        streams = discovered_streams(connector)
        for pattern in unmatched_patterns_of(connector):
            log.warning("%s", pattern.message)
        suggestions = connector.suggest(streams) if isinstance(connector, Suggesting) else ()
        return streams, tuple(suggestions)


def list_sources(config: Config) -> tuple[SourceOverview, ...]:
    """Return the sources of the project file, without connecting to any."""
    return tuple(
        SourceOverview(
            source.name,
            source.type,
            _address(source.options),
            Failure.of(SourceConfigError(source.problem)) if source.problem else None,
        )
        for source in config.sources.values()
    )


def _address(options: object) -> str | None:
    """Return where a source is, from the options that connectors have for that; None: not known."""
    url = getattr(options, "url", None)
    if url is not None:
        return _address_in(url.get_secret_value() if hasattr(url, "get_secret_value") else str(url))
    host, database = getattr(options, "host", None), getattr(options, "database", None)
    if host is not None:
        return f"{host}/{database}" if database else str(host)
    names = ("path", "account", "api_base", "base_url")
    holders = (options, getattr(options, "client", None))
    values = (getattr(holder, name, None) for holder in holders for name in names)
    return next((value for value in values if isinstance(value, str)), None)


def _address_in(url: str) -> str | None:
    """Return host, port and database of a URL, or of libpq's keywords."""
    try:
        parts = urlsplit(url.strip())
        if parts.hostname:
            port = f":{parts.port}" if parts.port else ""
            return f"{parts.hostname}{port}{parts.path.rstrip('/')}"
    except ValueError:
        return None
    words = dict(re.findall(r"(host|port|dbname)\s*=\s*([\w.:/-]+)", url))
    port = f":{words['port']}" if "port" in words else ""
    return (
        f"{words['host']}{port}/{words.get('dbname', '')}".rstrip("/") if "host" in words else None
    )


def check(config: Config, sources: Sequence[str] = ()) -> tuple[CheckResult, ...]:
    """Check the warehouse and these sources (all where none is named); a failure is a result.

    Raises ConfigError for the name of an unknown source.
    """
    selected = [source_of(config, name) for name in sources] or list(config.sources.values())
    results = [_run_check("warehouse", config.warehouse.path, lambda: _check_warehouse(config))]
    results += [
        _run_check(source.name, source.type, partial(_check_source, source, config))
        for source in selected
    ]
    return tuple(results)


def _check_source(source: Source, config: Config) -> None:
    with open_connector(source, config) as connector, own_faults(label(source.name), connector):
        connector.check()
        for notice in connector.check_notices if isinstance(connector, CheckAware) else ():
            log.warning("%s: %s", label(source.name), notice)
    errors = unfollowed_modes(source)
    if errors:
        raise ConfigError(" ".join(error.message for error in errors))


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
    except Exception as error:  # noqa: BLE001 - it becomes the result of this check
        failure = Failure.of(unknown_error(label(name), error))
        return CheckResult(name, kind, ok=False, seconds=time.monotonic() - start, error=failure)
    return CheckResult(name, kind, ok=True, seconds=time.monotonic() - start)
