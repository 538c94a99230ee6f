"""What every connector promises, as one call that its author makes in a test.

    from cdpsync.testing import conforms

    def test_my_source():
        conforms(MyConnector, {"file": "tests/things.json"}, broken=[{"file": "nowhere.json"}])

It needs a source that can be read and does not change meanwhile, best with rows that share a
cursor value and rows without one. Nothing is written to it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from cdpsync import sync
from cdpsync.connector import ConnectorOptions
from cdpsync.errors import CdpsyncError, ConnectorError
from cdpsync.model import SyncMode
from cdpsync.model.cursors import cursor_sql, cursor_type_of, later
from cdpsync.model.types import lake_type
from cdpsync.sql import quote_name
from cdpsync.testing.harness import ConnectorCase, reading_of, require, secrets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cdpsync.connector import Connector


class PromiseError(AssertionError):
    """One or more promises of a connector do not hold; the message tells each, with its reason."""


def conforms(
    connector: type[Connector],
    options: Mapping[str, object],
    *,
    broken: Sequence[Mapping[str, object]] = (),
    streams: Sequence[str] = ("*",),
) -> None:
    """Hold a connector to every promise of its contract. Raises PromiseError, naming each.

    `options` are as a project file says them. `broken` are changes to them with which the source
    cannot be used: a wrong password, a host that is none. `streams` are globs of those to read.
    """
    subject = ConnectorCase(connector, options, broken, streams)
    found = []
    for promise in PROMISES:
        try:
            promise(subject)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are tried
            found.append(f"- {promise.__doc__}\n  {type(error).__name__}: {error}")
    if found:
        name = connector.__name__
        raise PromiseError(
            f"{name} breaks {len(found)} of {len(PROMISES)} promises:\n" + "\n".join(found)
        )


def options_are_strict(subject: ConnectorCase) -> None:
    """Options take no key they do not know, and never change."""
    require(
        issubclass(subject.connector.Options, ConnectorOptions),
        "Options must be a subclass of cdpsync.connector.ConnectorOptions",
    )
    try:
        subject.validated(no_such_key_of_any_source=1)
    except ValidationError:
        return
    raise AssertionError("a key that means nothing was taken")


def secrets_are_hidden(subject: ConnectorCase) -> None:
    """No secret stands in what options or connector print of themselves."""
    with subject.opened() as connector:
        for shown in (repr(subject.validated()), str(subject.validated()), repr(connector)):
            require(not any(secret in shown for secret in subject.secrets()), "a secret is printed")


def check_passes(subject: ConnectorCase) -> None:
    """check() returns where the source can be read."""
    with subject.opened() as connector:
        connector.check()


def check_says_what_is_wrong(subject: ConnectorCase) -> None:
    """Of a source that cannot be used, check() and discover() say why: a line, no secret in it."""
    for changes in subject.broken:
        for ask in ("check", "discover"):
            message = _refusal(subject, changes, ask)
            require(bool(message), f"{ask}() returned with {sorted(changes)} broken")
            require("\n" not in message.strip(), f"{ask}(): more than one line: {message!r}")
            secrets = [*subject.secrets(), *_secrets_in(subject, changes)]
            told = any(secret in message for secret in secrets)
            require(not told, f"{ask}() tells a secret")


def _refusal(subject: ConnectorCase, changes: Mapping[str, object], ask: str) -> str:
    try:
        with subject.opened(**changes) as connector:
            getattr(connector, ask)()
    except CdpsyncError as error:
        return error.message
    except ValidationError as error:
        return error.errors()[0]["msg"]
    return ""


def _secrets_in(subject: ConnectorCase, changes: Mapping[str, object]) -> list[str]:
    try:
        return list(secrets_of(subject.validated(**changes)))
    except ValidationError:
        return []


def close_is_idempotent(subject: ConnectorCase) -> None:
    """close() may be called twice, also of a connector that was never used."""
    connector = subject.connector(subject.validated())
    connector.close()
    connector.close()
    with subject.opened() as used:
        used.check()
        used.close()


def discovery_is_stable(subject: ConnectorCase) -> None:
    """discover() of an unchanged source gives the same streams, in the same order."""
    with subject.opened() as connector:
        first = [replace(stream, estimated_rows=None) for stream in connector.discover()]
        again = [replace(stream, estimated_rows=None) for stream in connector.discover()]
    require(first == again, "two discoveries differ")


def streams_are_sound(subject: ConnectorCase) -> None:
    """Streams and columns have names of their own; keys and cursor fields are among the columns."""
    with subject.opened() as connector:
        streams = subject.chosen(connector)
    for what in ("name", "table"):
        names = [getattr(stream, what).lower() for stream in streams]
        require(all(names), f"a stream has an empty {what}")
        require(len(set(names)) == len(names), f"two streams have one {what}")
    for stream in streams:
        columns = {column.name: column.type for column in stream.columns}
        require(bool(columns) or stream.open_schema, f"{stream.name}: no column")
        require(len(columns) == len(stream.columns), f"{stream.name}: a column stands twice")
        require(set(stream.primary_key) <= set(columns), f"{stream.name}: its key is no column")
        for name in stream.cursor_fields:
            require(name in columns, f"{stream.name}: cursor field {name} is no column")
            require(
                cursor_type_of(columns[name]) is not None, f"{stream.name}: {name} has no order"
            )


def rows_have_the_discovered_columns(subject: ConnectorCase) -> None:
    """A read gives the columns that discovery named, in order, with their types in the lake."""
    with reading_of(subject) as reading:
        for stream in reading.streams:
            columns = reading.read(stream, "columns").columns
            wanted = [(column.name, lake_type(column.type)) for column in stream.columns]
            got = [(column.name, column.type) for column in columns]
            if stream.open_schema:
                wanted = [one for one in wanted if one[0] in {column.name for column in columns}]
                got = [one for one in got if one[0] in {name for name, _ in wanted}]
            fixed = [one for one in wanted if "?" not in str(one[1])]
            kept = [one for one in got if one[0] in {name for name, _ in fixed}]
            require(
                [name for name, _ in got] == [name for name, _ in wanted],
                f"{stream.name}: columns {[name for name, _ in got]}, not as discovered",
            )
            require(kept == fixed, f"{stream.name}: types {kept}, discovered as {fixed}")


def reading_twice_gives_the_same_rows(subject: ConnectorCase) -> None:
    """Reads of an unchanged source give the same rows, whole chunks or many small ones."""
    with reading_of(subject) as reading:
        for stream in reading.streams:
            first = reading.read(stream, "first")
            reading.assert_same(stream, first, reading.read(stream, "second", workers=4))


def some_columns_can_be_read_alone(subject: ConnectorCase) -> None:
    """A read of some columns gives those and no others, the same rows."""
    with reading_of(subject) as reading:
        for stream in reading.streams:
            names = stream.primary_key or (stream.columns[-1].name,)
            whole = reading.read(stream, "whole")
            part = reading.read(stream, "part", include=names)
            got = {column.name for column in part.columns}
            require(got == set(names), f"{stream.name}: asked for {names}, got {sorted(got)}")
            reading.assert_same(
                stream, whole, part, tuple(c for c in whole.columns if c.name in got)
            )


def reading_from_a_cursor_leaves_no_gap(subject: ConnectorCase) -> None:
    """From each value of a cursor on, a read gives every row at or beyond it, and those without."""
    with reading_of(subject) as reading:
        for stream in reading.streams:
            for field in stream.cursor_fields:
                whole = reading.read(stream, f"all-{field}", cursor_field=field)
                for number, low in enumerate(reading.values_of(whole, field)):
                    part = reading.read(stream, f"{number}-{field}", cursor_field=field, low=low)
                    condition = f"{quote_name(field)} >= {cursor_sql(low)}"
                    reading.assert_same(
                        stream,
                        whole,
                        part,
                        where=f"{condition} or {quote_name(field)} is null",
                    )


def cursors_only_advance(subject: ConnectorCase) -> None:
    """A read that begins at the last one's cursor does not end before it."""
    with reading_of(subject) as reading:
        for stream in reading.streams:
            fields = [*stream.cursor_fields]
            if stream.changes:
                fields = [stream.changes.cursor.name]
            for field in fields:
                mode = SyncMode.INCREMENTAL if stream.changes else SyncMode.APPEND_ONLY
                first = reading.read(stream, f"a-{field}", cursor_field=field, mode=mode)
                if first.cursor is None:
                    continue
                again = reading.read(
                    stream, f"b-{field}", cursor_field=field, mode=mode, low=first.cursor
                )
                require(
                    later(first.cursor, again.cursor) == again.cursor,
                    f"{stream.name}: the cursor went from {first.cursor} back to {again.cursor}",
                )


def missing_streams_are_told(subject: ConnectorCase) -> None:
    """A read of what is not there is a ConnectorError of one line."""
    with reading_of(subject) as reading:
        gone = replace(reading.streams[0], name="no_such_schema.no_such_stream")
        try:
            reading.read(gone, "gone")
        except ConnectorError as error:
            require("\n" not in error.message, f"more than one line: {error.message!r}")
        else:
            raise AssertionError("reading a stream that does not exist went well")


def strange_errors_are_left_alone(subject: ConnectorCase) -> None:
    """translate() gives None for an error that is not the source's."""
    with subject.opened() as connector:
        require(
            connector.translate(LookupError("of somebody else")) is None,
            "an error of somebody else was taken for the source's",
        )


def every_value_survives_to_the_query(subject: ConnectorCase) -> None:
    """A run lands each row once, and a query gives every value as the source gave it."""
    with reading_of(subject) as reading:
        result = sync.run(reading.config)
        bad = [table.error for table in result.tables if table.error]
        require(not bad, f"the run failed: {bad}")
        for stream in reading.streams:
            read = reading.read(stream, "query")
            reading.assert_in_lake(stream, read)


PROMISES: tuple[Callable[[ConnectorCase], None], ...] = (
    options_are_strict,
    secrets_are_hidden,
    check_passes,
    check_says_what_is_wrong,
    close_is_idempotent,
    discovery_is_stable,
    streams_are_sound,
    rows_have_the_discovered_columns,
    reading_twice_gives_the_same_rows,
    some_columns_can_be_read_alone,
    reading_from_a_cursor_leaves_no_gap,
    cursors_only_advance,
    missing_streams_are_told,
    strange_errors_are_left_alone,
    every_value_survives_to_the_query,
)
"""All that a connector promises, in the order in which they are tried."""
