"""Installs the programs that sources run: packages of other projects, each in its environment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from cdpsync.connector import Installable, registry
from cdpsync.connector.faults import unknown_error
from cdpsync.errors import CdpsyncError, ConfigError
from cdpsync.model import Failure, InstallResult
from cdpsync.project.workspace import open_connector, source_of
from cdpsync.redact import label

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cdpsync.model import Config, Source


def install(
    config: Config, sources: Sequence[str] = (), *, upgrade: bool = False
) -> Iterator[InstallResult]:
    """Install the programs of these sources; of all that run one, where none is named.

    An error of one is its result. Raises ConfigError for a source that is unknown, or that has
    nothing to install.
    """
    selected = [source_of(config, name) for name in sources]
    for source in selected:
        if not _may_install(source, config):
            raise ConfigError(f'source "{source.name}" has nothing to install.')
    for source in selected or config.sources.values():
        if _may_install(source, config):
            yield _installed(source, config, upgrade=upgrade)


def _may_install(source: Source, config: Config) -> bool:
    """Whether a source runs a program to install, as far as can be told.

    One that cannot be opened, because a variable is missing, has an error when it is installed.
    """
    if not hasattr(registry.connector_class(source.type), "install"):
        return False
    if source.problem:
        return True
    with open_connector(source, config) as connector:
        return isinstance(connector, Installable) and connector.needs_install


def _installed(source: Source, config: Config, *, upgrade: bool) -> InstallResult:
    start = time.monotonic()
    try:
        with open_connector(source, config) as connector:
            done = cast("Installable", connector).install(upgrade=upgrade)
    except CdpsyncError as error:
        failure = Failure.of(error)
    except Exception as error:  # noqa: BLE001 - it becomes the source's failure
        failure = Failure.of(unknown_error(label(source.name), error))
    else:
        return InstallResult(
            source.name,
            done.program,
            done.version,
            done.licence,
            done.python,
            done.packages,
            str(done.folder),
            is_new=done.is_new,
            seconds=time.monotonic() - start,
            notices=done.notices,
        )
    return InstallResult(source.name, seconds=time.monotonic() - start, error=failure)
