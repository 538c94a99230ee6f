"""Optional abilities of a connector as a whole; those of its chunks are in `contract`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from cdpsync.connector.contract import Chunk, ReadRequest
    from cdpsync.model import Stream


@runtime_checkable
class CheckAware(Protocol):
    """Optional: a connector whose `check` finds what is no failure, but should be told."""

    @property
    def check_notices(self) -> Sequence[str]:
        """What the last `check` found, a sentence each."""


@runtime_checkable
class Suggesting(Protocol):
    """Optional: a connector that knows a better configuration than the one it was given."""

    def suggest(self, streams: Sequence[Stream]) -> Sequence[str]:
        """Return a sentence for each change of the project file, given what `discover` returned.

        Only `cdpsync discover` asks for them: nothing changes by itself.
        """


@runtime_checkable
class MemoryLimited(Protocol):
    """Optional: a connector that works in memory outside of its chunks, as when it discovers."""

    memory_limit: int
    """The bytes that it may use. It is set before the connector is used."""


@runtime_checkable
class Grouped(Protocol):
    """Optional: a connector that reads several streams for the price of one.

    A run then asks for all of its tables that are due by one call. Each table is committed by
    itself. `read` is still asked for a table alone, as when it is verified.
    """

    def read_many(
        self, requests: Sequence[ReadRequest]
    ) -> AbstractContextManager[Mapping[str, Iterable[Chunk] | Exception]]:
        """Read these streams; return for each stream's name what `read` would, or its error.

        The chunks may be read until the context ends. Each request has its own `folder`,
        `on_progress` and `on_notice`. An error that is raised is that of every stream.
        """


@dataclass(frozen=True, slots=True)
class SourcePlace:
    """The folders of one source of a project, for files of its connector. None need exist yet.

    `project` has the project file: for files that people commit with it. `state` is private, and
    lasts from run to run. `shared` is the same for all sources of the project.
    """

    source: str
    project: Path
    state: Path
    shared: Path


@runtime_checkable
class Placed(Protocol):
    """Optional: a connector that keeps files of its own from one run to the next."""

    place: SourcePlace
    """Its folders. They are set before the connector is used."""


@runtime_checkable
class Caching(Protocol):
    """Optional: a connector whose `discover` may return what an earlier run has found."""

    uses_cache: bool
    """Whether it may. It is set to False where a person asks for the streams."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What `install` did: the program with its version and licence, and where it is.

    `python` is the version of Python that it runs on, `packages` how many packages it has.
    `is_new`: it was not there before. `notices` are sentences that a person should know.
    """

    program: str
    version: str
    licence: str
    python: str
    packages: int
    folder: Path
    is_new: bool
    notices: tuple[str, ...] = ()


@runtime_checkable
class Installable(Protocol):
    """Optional: a connector that runs a program, which `cdpsync install` installs.

    No other command installs anything: reads raise ConfigError where the program is not there.
    """

    @property
    def needs_install(self) -> bool:
        """Whether the options name a program to install."""

    def install(self, *, upgrade: bool) -> Installation:
        """Install the versions that are locked; with `upgrade`, lock the newest ones first.

        Without a lock, the newest ones are locked, too.
        """
