"""The errors that cdpsync raises on purpose.

    CdpsyncError
    ├── ConfigError             the project file or the command line is wrong        exit 2
    │   └── SourceConfigError   a variable of one source is missing: others go on
    ├── ConnectorError          the source cannot be read
    │   ├── ConnectError        not reached, or refused the login                    retried
    │   ├── ReadError           reached, but a table, column or value cannot be read
    │   │   ├── ViewLostError   the snapshot that all chunks share is lost           retried
    │   │   └── OpenTypeError   a value does not fit the type that earlier rows gave
    │   └── RateLimitError      the source limits the rate of requests               retried
    ├── LandingError            rows could not be written exactly, or at all
    ├── CatalogError            the lake's catalog or the state file
    │   ├── LockHeldError       another process has the lock                         exit 4
    │   └── StalePositionError  the snapshot up to which a destination was sent has expired
    ├── DeliveryError           a destination does not take its changes
    ├── QueryError              the SQL of `query` was refused or failed             exit 2
    └── ContractError           incoming rows break the agreement (schema, shrink)   exit 1

A message says what, where and the next step, in one line. The constructor removes secrets.
"""

from collections.abc import Iterable

from cdpsync.redact import redact


class CdpsyncError(Exception):
    """The root: catch this to catch each error that cdpsync raises on purpose."""

    exit_code = 1
    retryable = False

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))

    @property
    def message(self) -> str:
        """The problem, the place and the next step, without secrets."""
        return str(self.args[0])


class ConfigError(CdpsyncError):
    """The project file or the command line is wrong; nothing was started."""

    exit_code = 2


class SourceConfigError(ConfigError):
    """A value that one source needs from a variable or a file is missing or wrong.

    Raised when the source is opened. In a run its tables fail, and the others go on.
    """


class ConnectorError(CdpsyncError):
    """The source cannot be read."""


class ConnectError(ConnectorError):
    """The source was not reached, refused the login, or closed the connection."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class ReadError(ConnectorError):
    """The source was reached, but this table, column or value cannot be read."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class ViewLostError(ReadError):
    """The snapshot that all chunks of a read share is lost: no chunk alone can be read again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


class OpenTypeError(ReadError):
    """A value does not fit the type that earlier rows gave to a column without a declared one.

    The read is to be tried again with `ReadRequest.lake_digits`.
    """


class RateLimitError(ConnectorError):
    """The source limits the rate of requests."""

    retryable = True


class LandingError(CdpsyncError):
    """Rows could not be written exactly, or at all.

    `forbidden`: the storage accepts the credentials, but they lack the permission.
    """

    def __init__(self, message: str, *, forbidden: bool = False) -> None:
        super().__init__(message)
        self.forbidden = forbidden


class CatalogError(CdpsyncError):
    """The lake's catalog or the state file cannot be used."""


class LockHeldError(CatalogError):
    """Another process has the lock of the same tables or of the catalog."""

    exit_code = 4


class DeliveryError(CdpsyncError):
    """A destination does not take its changes; they are held."""


class StalePositionError(CatalogError):
    """The snapshot up to which a destination was sent has expired, so its changes are not known."""


class QueryError(CdpsyncError):
    """The SQL given to `query` was refused or failed.

    `unread`: a file could not be read; the warehouse may be the cause.
    """

    exit_code = 2

    def __init__(self, message: str, *, unread: bool = False) -> None:
        super().__init__(message)
        self.unread = unread


class ContractError(CdpsyncError):
    """Incoming rows break the agreement: a schema, a key, the size of a table."""


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
