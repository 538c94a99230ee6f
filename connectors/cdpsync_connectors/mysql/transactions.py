"""The sessions of a MySQL server that may be writing: open transactions, and statements.

`information_schema.innodb_trx` shows the transactions of all sessions to a user with PROCESS, the
prepared ones too. A transaction is in it from its first lock on, so not while its first statement
has only taken a number, or waits in a trigger. The list of processes shows that statement. It is
asked for first, because a statement that ends in between has a transaction in the second list, or
has committed.

InnoDB answers from a copy of its list while somebody has read it in the last 0.1 s (its source,
trx0i_s.cc; observed with MariaDB 10.11: polls every 50 ms never see a new transaction). So we read
it in a transaction of our own: the list is new if it shows our statement with its token.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cdpsync_connectors.mysql.errors import error_code
from cdpsync_connectors.mysql.protocol import session_number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pymysql.connections import Connection

UNSEEN = timedelta(minutes=5)
"""The assumed age of a statement before its transaction shows, and of what we cannot see."""

# Seconds to wait for those who write, most of whom are quick. Where a time is not safe, some
# minutes are read again; where a number is not, everything since the saved cursor is.
_PATIENCE = {False: 1.0, True: 0.3}
_PAUSE = 0.12  # seconds between two reads of the list, so that InnoDB makes a new one
_REAL_IDS = 1 << 48  # InnoDB prints a made-up number above it for a transaction without an id
_GRANULARITY = timedelta(seconds=1)  # of the times in both lists

_NEEDS_PROCESS = 1227
_UNKNOWN = {1109, 1146, 1193}  # a table of information_schema, a table, a variable

_PROCESSES = "show processlist"
_TRANSACTIONS = """
    select /* {token} */ trx_id, trx_mysql_thread_id, trx_started, trx_query,
        trx_rows_modified + trx_tables_locked + trx_lock_structs > 0, trx_autocommit_non_locking
    from information_schema.innodb_trx
"""
_IDLE = re.compile(
    r"sleep|daemon|binlog dump|slave|register|prepare|close|reset|ping|quit|init|field|statistics",
    re.IGNORECASE,
)

# Statements that add no row to a table that exists, and that no trigger can have.
_COMMANDS = (
    "show|explain|desc|describe|use|help|kill|flush|lock|unlock|begin|start|commit|rollback"
    "|savepoint|release|xa|alter|create|drop|rename|truncate|optimize|analyze|check|repair|grant"
    r"|revoke|set\s+session"
)
# Those that take no number unless they have a transaction by then. A trigger's statement is shown
# in place of the one that it belongs to, which has given its rows their time already.
_READS = "select|with|table|values|set"
_BEGIN = r"(?:\s|\(|/\*.*?\*/|--\s[^\n]*\n|#[^\n]*\n)*"
_FLAGS = re.IGNORECASE | re.DOTALL
_TAKES_NO_NUMBER = re.compile(rf"{_BEGIN}(?:{_COMMANDS}|{_READS})\b", _FLAGS)
_GIVES_NO_TIME = re.compile(
    rf"{_BEGIN}(?:{_COMMANDS})\b|{_BEGIN}select\b.*\binformation_schema\b", _FLAGS
)


@dataclass(frozen=True, slots=True)
class Writer:
    """A transaction that has written or locked something, or a statement that may begin to.

    `transaction` is its id; None for a statement without one. A prepared transaction has the
    session 0. `since` is when it began, as far as the server shows.
    """

    session: int
    transaction: int | None
    since: datetime
    user: str = ""

    @property
    def owner(self) -> str:
        """Names the session for a person."""
        if not self.session:
            return "a prepared transaction (list it with XA RECOVER)"
        return f"connection {self.session}" + (f" of user {self.user}" if self.user else "")

    def is_still(self, other: Writer) -> bool:
        """Whether a writer that was seen later may be this one.

        A transaction keeps its id until it ends, also when it is prepared. Before it has one, only
        its session tells.
        """
        if self.transaction and self.transaction < _REAL_IDS:
            return other.transaction == self.transaction
        return self.session == other.session != 0


@dataclass(frozen=True, slots=True)
class Observation:
    """The writers of one moment that had not ended when we stopped waiting for them.

    `at` is that moment by the server's clock, and `began` by ours. `is_known` is False where the
    server did not answer with a new list.
    """

    began: float
    at: datetime
    writers: tuple[Writer, ...]
    is_known: bool = True

    @property
    def oldest(self) -> Writer | None:
        """The writer that began first."""
        return min(self.writers, key=lambda writer: writer.since, default=None)

    @property
    def is_quiet(self) -> bool:
        """Whether all writers of that moment have ended."""
        return self.is_known and not self.writers

    @property
    def safe_until(self) -> datetime:
        """The moment before which no open transaction has given a row its time.

        A row has the time at which its statement began. Its transaction may show a later start,
        because the statement waited before. Times without fractions are rounded down.
        """
        moment = self.at
        if not self.is_quiet:
            moment = min([moment, *(writer.since for writer in self.writers)]) - UNSEEN
        return moment.replace(microsecond=0) - _GRANULARITY


class WriterWatch:
    """Observes the writers of one server, once for all tables that ask at the same time."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._last: dict[bool, Observation] = {}

    def observe(
        self, con: Connection[Any], *, of_times: bool, is_stopped: Callable[[], bool]
    ) -> Observation:
        """Wait a moment until all who write now have ended; return those left.

        With `of_times`, those count too that may only have given a row its time. Those that the
        last observation has waited for in vain are not waited for again.
        """
        asked_at = time.monotonic()
        with self._guard:
            last = self._last.get(of_times)
            if last is None or last.began < asked_at:
                last = _observe(con, last.writers if last else (), is_stopped, of_times=of_times)
                self._last[of_times] = last
            return last


def _observe(
    con: Connection[Any],
    known: Sequence[Writer],
    is_stopped: Callable[[], bool],
    *,
    of_times: bool,
) -> Observation:
    deadline = time.monotonic() + _PATIENCE[of_times]
    began = time.monotonic()
    at, pending = fetch_writers(con, of_times=of_times)
    while pending is None or pending:
        stays = any(was.is_still(now) for was in known for now in pending or ())
        if stays or time.monotonic() > deadline or is_stopped():
            break
        time.sleep(_PAUSE)
        moment = time.monotonic()
        now_at, writers = fetch_writers(con, of_times=of_times)
        if pending is None:
            began, at, pending = moment, now_at, writers
        elif writers is not None:
            pending = [now for now in writers if any(was.is_still(now) for was in pending)]
    return Observation(began, at, tuple(pending or ()), is_known=pending is not None)


def fetch_writers(con: Connection[Any], *, of_times: bool) -> tuple[datetime, list[Writer] | None]:
    """Return the server's time, and who may be writing then; None where the list is an old one."""
    (row,) = _rows(con, "select utc_timestamp(6)")
    now: datetime = row[0].replace(tzinfo=UTC)
    no_writer = _GIVES_NO_TIME if of_times else _TAKES_NO_NUMBER
    statements = [
        row for row in _rows(con, _PROCESSES) if _may_write(row, session_number(con), no_writer)
    ]
    token = secrets.token_hex(8)
    _rows(con, "start transaction with consistent snapshot, read only")
    try:
        rows = _rows(con, _TRANSACTIONS.format(token=token))
    finally:
        _rows(con, "commit")
    own_start = next((row[2] for row in rows if token in (row[3] or "")), None)
    if own_start is None:
        return now, None
    users = {row[0]: row[1] for row in statements}
    writers = [
        Writer(session, int(id_), now - max(own_start - start, timedelta()), users.get(session, ""))
        for id_, session, start, _, writes, _ in rows
        if writes
    ]
    # Beside the writers, these are not of interest: a SELECT outside of any transaction.
    in_transaction = {row[1] for row in rows if row[4] or row[5]}
    writers += [
        Writer(row[0], None, now - timedelta(seconds=max(row[5] or 0, 0)), row[1])
        for row in statements
        if row[0] not in in_transaction
    ]
    return now, writers


def unsafe_reason(con: Connection[Any], user: str) -> str:
    """Return why the server does not show every transaction that may commit here, or ""."""
    import pymysql

    try:
        _rows(con, "select 1 from information_schema.innodb_trx limit 1")
        only_reads = _rows(con, "select @@innodb_read_only")[0][0]
    except pymysql.Error as error:
        if error_code(error) == _NEEDS_PROCESS:
            return (
                "this user may not see which transactions are open. Ask the administrator for: "
                f"GRANT PROCESS ON *.* TO {user}. Or give the table a lookback"
            )
        if error_code(error) not in _UNKNOWN:
            raise
        # It has no InnoDB, as servers that only speak MySQL's language.
        return "this server does not show which transactions are open. Give the table a lookback"
    processes = _rows(con, _PROCESSES)
    if only_reads or any(row[1] == "system user" and row[4] != "Daemon" for row in processes):
        return (
            "this server receives rows from another one, and does not know the transactions that "
            "are open there. Read from the primary, or give the table a lookback"
        )
    return ""


def _may_write(process: Sequence[Any], own_session: int, no_writer: re.Pattern[str]) -> bool:
    """Whether a line of the list of processes is a statement that may add rows."""
    session, _, _, _, command, _, _, info, *_ = process
    if session == own_session or _IDLE.match(command or ""):
        return False
    return not no_writer.match(info or "")


def _rows(con: Connection[Any], sql: str) -> Sequence[Sequence[Any]]:
    with con.cursor() as cursor:
        cursor.execute(sql)
        rows: Sequence[Sequence[Any]] = cursor.fetchall()
        return rows
