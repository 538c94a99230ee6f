"""Reads an outbox into parcels: one per change, or one per batch, whose body DuckDB makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cdpsync.destinations.delivery.journal import PENDING
from cdpsync.destinations.delivery.outbox import ROUTES, seq_list
from cdpsync.destinations.delivery.requests import Parcel, in_json
from cdpsync.engine import ONE_THREAD, connect
from cdpsync.model.destinations import ChangeOrder
from cdpsync.sql import quote_text

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from cdpsync.destinations.delivery.answers import FailedItem
    from cdpsync.destinations.delivery.journal import Settlements
    from cdpsync.destinations.delivery.outbox import Outbox
    from cdpsync.model.destinations import Batch

_PAGE_ROWS, _PAGE_BYTES = 20_000, 16 << 20  # of one query, whose result stands in memory
_AT_A_TIME = 256  # rows that are fetched together

_PENDING = "(select * from {relation} where error is null {unsettled})"
_UNSETTLED = "and seq not in (select seq from settled)"

_SINGLE = """
    select seq, seq, 1, route, event_id, {parts}, {keys}, attempts, first_at
    from {pending}
    where seq between {first} and {last}
    {sorting}
"""
# A batch never has changes of two routes; with `is_mixed`, it ends where the route changes.
_BATCHES = """
    select
        min(seq), max(seq), count(*), any_value(route),
        case when count(*) = 1 then any_value(event_id)
            else md5(min_by(event_id, seq) || max_by(event_id, seq) || count(*))::uuid::varchar end,
        {parts}, {keys}, max(attempts), min(first_at),
        sum(size) + (count(*) - 1) * {separator_bytes}
    from (
        select *, {island} as island
        from {pending}
        where seq between {first} and {last}
    )
    group by island, (seq - {first}) // {rows}
    order by 1
"""
_PER_INSERT = 1_000  # ranges of settled changes in one statement
_ISLAND = "sum((route is distinct from previous)::int) over (order by seq)"
_PARTS = "any_value({step}url), any_value({step}headers), {body}"


class ParcelReader:
    """Reads what is still to be sent, in the order of `seq`."""

    def __init__(
        self,
        outbox: Outbox,
        settlements: Settlements,
        *,
        batches: Mapping[str, Batch],
        steps: Sequence[str] = ("",),
        separator: str = ",",
        wrapper: int = 0,
    ) -> None:
        """Read batches of the routes in `batches`, and the changes of others one by one.

        The text around the items has `wrapper` bytes. `steps` are the prefixes of the columns that
        the requests have.
        """
        batch = max(batches.values(), key=lambda one: one.rows, default=None)
        self._outbox, self._settlements = outbox, settlements
        self._is_ordered = outbox.meta.order is ChangeOrder.EACH
        self._steps = tuple(steps)
        self._batches = batches
        self._separator = separator
        self._limit = None if batch is None or batch.bytes is None else batch.bytes - wrapper
        self.rows = self._rows(batch)
        self._con = connect(threads=1)
        self._con.execute(ONE_THREAD)
        self._has_settled = settlements.count(PENDING) < outbox.rows
        if self._has_settled:
            self._note_settled()

    def _rows(self, batch: Batch | None) -> int:
        """Return the changes of a batch: fewer than allowed, where the usual ones are too long."""
        if batch is None:
            return 1
        if self._limit is None or not self._outbox.meta.bytes:
            return batch.rows
        average = self._outbox.meta.bytes / self._outbox.rows + len(self._separator)
        return max(min(batch.rows, int(self._limit / average)), 1)

    def _note_settled(self) -> None:
        self._con.execute("create table settled (seq bigint)")
        for state in (1, 2):
            ranges = self._settlements.ranges(state)
            for start in range(0, len(ranges), _PER_INSERT):
                part = ranges[start : start + _PER_INSERT]
                self._con.execute(f"insert into settled {seq_list(part)}")

    def close(self) -> None:
        """Close the connection of the reader."""
        self._con.close()

    def errors(self) -> Iterator[tuple[int, str]]:
        """Yield the changes that cannot be sent, with the reason."""
        if not self._outbox.meta.errors:
            return
        cursor = self._con.cursor()
        cursor.execute(f"select seq, error from {self._outbox.relation} where error is not null")
        while rows := cursor.fetchmany(_AT_A_TIME):
            yield from rows

    def read(self) -> Iterator[Parcel]:
        """Yield a parcel for each request, each change once."""
        first = 1
        while first <= self._outbox.rows:
            last = first + self._page_rows() - 1
            if self._batches:
                first = (yield from self._groups(first, last)) + 1
            else:
                yield from self._single(first, last)
                first = last + 1

    def _page_rows(self) -> int:
        """Return how many rows a page has: whole batches, which fit into memory."""
        average = max(self._outbox.meta.bytes // max(self._outbox.rows, 1), 1)
        longest = self._outbox.meta.largest * _AT_A_TIME > _PAGE_BYTES
        size = min(_PAGE_ROWS, _PAGE_BYTES // (self._outbox.meta.largest if longest else average))
        if not self._batches:
            return max(size, 1) if longest or self._is_ordered else self._outbox.rows
        return max(size // self.rows, 1) * self.rows

    def _single(self, first: int, last: int) -> Iterator[Parcel]:
        cursor = self._con.cursor()
        cursor.execute(
            _SINGLE.format(
                parts=", ".join(f"{step}url, {step}headers, {step}body" for step in self._steps),
                keys=self._keys("[key]"),
                pending=self._pending(),
                first=first,
                last=last,
                sorting="order by seq" if self._is_ordered else "",
            )
        )
        while rows := cursor.fetchmany(_AT_A_TIME):
            for row in rows:
                yield self._parcel(row)

    def _groups(self, first: int, last: int) -> Generator[Parcel, None, int]:
        """Yield the batches of a page; return its end, or where batches became smaller."""
        limit = self.rows
        cursor = self._con.cursor()
        cursor.execute(self._batch_query(self._pending(), first, last, self._rows_of_a_batch()))
        while rows := cursor.fetchmany(8):
            for row in rows:
                parcel = self._parcel(row[:-1])
                if self._limit is not None and row[-1] > self._limit and parcel.rows > 1:
                    yield from self._by_size(parcel)
                else:
                    yield parcel
                if self.rows < limit:
                    return parcel.last
        return last

    def _rows_of_a_batch(self) -> str:
        """Return SQL of how many changes a batch has, by their route."""
        most = {route: batch.rows for route, batch in self._batches.items()}
        sizes = " ".join(f"when '{r}' then {min(most.get(r, 1), self.rows)}" for r in ROUTES)
        return f"(case route {sizes} end)"

    def _batch_query(self, relation: str, first: int, last: int, rows: str) -> str:
        body = f"string_agg(body, {quote_text(self._separator)} order by seq)"
        island = "0"
        if self._outbox.meta.is_mixed:
            relation = f"(select *, lag(route) over (order by seq) as previous from {relation})"
            island = _ISLAND
        return _BATCHES.format(
            parts=", ".join(_PARTS.format(step=step, body=body) for step in self._steps),
            keys=self._keys("list(key order by seq)"),
            separator_bytes=len(self._separator.encode()),
            island=island,
            pending=relation,
            first=first,
            last=last,
            rows=rows,
        )

    def _by_size(self, parcel: Parcel) -> Iterator[Parcel]:
        """Yield the changes of a batch that is too long as some that are not."""
        rows = self._con.execute(
            f"select seq, size from {self._only(self.seqs(parcel))} order by seq"
        ).fetchall()
        group: list[int] = []
        total = 0
        for seq, size in rows:
            added = size + (len(self._separator.encode()) if group else 0)
            if group and self._limit is not None and total + added > self._limit:
                yield self.parcel_of(group)
                group, total, added = [], 0, size
            group.append(seq)
            total += added
        if group:
            yield self.parcel_of(group)

    def seqs(self, parcel: Parcel) -> list[int]:
        """Return the changes of a parcel that has no answer yet."""
        states = self._settlements.states
        return [seq for seq in range(parcel.first, parcel.last + 1) if states[seq] == PENDING]

    def ages(self, parcel: Parcel) -> list[tuple[int, int, str | None]]:
        """Return each of those changes with its attempts in earlier runs, and the first of them."""
        return self._con.execute(
            f"select seq, attempts, first_at from {self._outbox.relation} "
            "where seq in (select unnest(?::bigint[])) order by seq",
            [self.seqs(parcel)],
        ).fetchall()

    def halves(self, parcel: Parcel) -> tuple[Parcel, Parcel]:
        """Return the two halves of a batch."""
        seqs = self.seqs(parcel)
        middle = len(seqs) // 2
        return self.parcel_of(seqs[:middle]), self.parcel_of(seqs[middle:])

    def parcel_of(self, seqs: Sequence[int]) -> Parcel:
        """Return these changes, of one route, as one batch."""
        query = self._batch_query(self._only(seqs), seqs[0], seqs[-1], str(1 << 60))
        row = self._con.execute(query).fetchone()
        if row is None:
            raise ValueError(f"no changes {seqs[0]} to {seqs[-1]} in {self._outbox.file}")
        return self._parcel(row[:-1])

    def failed_by_change(
        self, parcel: Parcel, failed: Sequence[FailedItem]
    ) -> dict[int, FailedItem]:
        """Return the items that an answer names by change; none if one of them cannot be told."""
        seqs = self.seqs(parcel)
        items = {}
        for item in failed:
            if isinstance(item.by, int):
                matches = seqs[item.by : item.by + 1] if item.by >= 0 else []
            else:
                matches = self.with_value(parcel, item.by)
            if len(matches) != 1:
                return {}
            items[matches[0]] = item
        return items

    def with_value(self, parcel: Parcel, text: str) -> list[int]:
        """Return the changes of a batch whose idempotency key, or whose item, has this value."""
        in_item = quote_text(f'"{in_json(text)}"')
        rows = self._con.execute(
            f"select seq from {self._only(self.seqs(parcel))} "
            f"where event_id = {quote_text(text)} or contains(body, {in_item}) limit 2"
        ).fetchall()
        return [row[0] for row in rows]

    # Numbers stand in the statements, because parameters make DuckDB import numpy and pyarrow.

    def _only(self, seqs: Sequence[int]) -> str:
        """Return SQL of these changes."""
        rows = f"select * from {self._outbox.relation} where seq between {seqs[0]} and {seqs[-1]}"
        if seqs[-1] - seqs[0] == len(seqs) - 1:
            return f"({rows})"
        return f"({rows} and seq in ({', '.join(map(str, seqs))}))"

    def _pending(self) -> str:
        unsettled = _UNSETTLED if self._has_settled else ""
        return _PENDING.format(relation=self._outbox.relation, unsettled=unsettled)

    def _keys(self, keys: str) -> str:
        """Return SQL of the keys of a parcel, if their order counts: where each change is sent."""
        return keys if self._is_ordered else "null"

    def _parcel(self, row: Sequence[Any]) -> Parcel:
        first, last, rows, route, event_id, *parts, keys, attempts, first_at = row
        if len(parts) == 3:
            texts = {"": tuple(parts)}
        else:
            texts = {
                step: tuple(parts[3 * index : 3 * index + 3])
                for index, step in enumerate(self._steps)
            }
        failure = self._settlements.failures.get(first) if self._settlements.failures else None
        if failure is not None:
            attempts, first_at = failure.attempts, failure.first_at
        return Parcel(first, last, rows, route, event_id, texts, keys or (), 0, attempts, first_at)
