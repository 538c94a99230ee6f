"""Every error that cdpsync raises on purpose.

    CdpsyncError
    ├── ConfigError             the project file or the command line is wrong        exit 2
    ├── ConnectorError          the source said no
    │   ├── ConnectError        not reached, or not let in                           retried
    │   ├── ReadError           reached, but this cannot be read
    │   │   └── ViewLostError   the view that all chunks share is gone               retried
    │   └── RateLimitError      the source asks to be read more slowly               retried
    ├── LandingError            rows could not be written down exactly, or at all
    ├── CatalogError            the lake's catalog or the state file
    │   └── LockHeldError       another process is at work on it                     exit 4
    ├── QueryError              the SQL of `query` was refused or failed             exit 2
    └── ContractError           what arrived breaks what was agreed (schema, shrink) exit 1

A message says what, where and the next step, in one line. Secrets are taken out on the way in.
"""

from collections.abc import Iterable

from cdpsync.redact import redact


class CdpsyncError(Exception):
    """The root: catch this to catch everything cdpsync raises on purpose."""

    exit_code = 1
    retryable = False

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))

    @property
    def message(self) -> str:
        """What, where and the next step; without secrets."""
        return str(self.args[0])


class ConfigError(CdpsyncError):
    """The project file or the command line is wrong; nothing was started."""

    exit_code = 2


class ConnectorError(CdpsyncError):
    """The source said no."""


class ConnectError(ConnectorError):
    """The source was not reached, did not let us in, or hung up."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class ReadError(ConnectorError):
    """The source was reached, but this table, column or value cannot be read."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class ViewLostError(ReadError):
    """The view that all chunks of a read share is gone: a chunk alone cannot be tried again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


class RateLimitError(ConnectorError):
    """The source asks to be read more slowly."""

    retryable = True


class LandingError(CdpsyncError):
    """Rows could not be written down exactly, or at all.

    `forbidden` tells that the storage knows who asks and does not let them.
    """

    def __init__(self, message: str, *, forbidden: bool = False) -> None:
        super().__init__(message)
        self.forbidden = forbidden


class CatalogError(CdpsyncError):
    """The lake's catalog or the state file cannot be used."""


class LockHeldError(CatalogError):
    """Another process is at work on the same tables or holds the catalog."""

    exit_code = 4


class QueryError(CdpsyncError):
    """The SQL given to `query` was refused or failed.

    `unread` tells that a file could not be read: it may be the warehouse's fault.
    """

    exit_code = 2

    def __init__(self, message: str, *, unread: bool = False) -> None:
        super().__init__(message)
        self.unread = unread


class ContractError(CdpsyncError):
    """What arrived breaks what was agreed: a schema, a key, the size of a table."""


def suggest(name: str, names: Iterable[str]) -> str | None:
    """Return the name that a user probably meant by a misspelled one, or None.

    Case does not count, nor does `-` for `_`. It stands here because keys, source types and streams
    all need it, and their packages share no lower module that is about messages.
    """
    import difflib  # only a failing command needs it

    by_folded = {_folded(candidate): candidate for candidate in names}
    matches = difflib.get_close_matches(_folded(name), by_folded, n=1)
    return by_folded[matches[0]] if matches else None


def _folded(name: str) -> str:
    return name.casefold().replace("-", "_")
