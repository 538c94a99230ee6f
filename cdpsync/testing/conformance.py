"""Conformance suite: the promises of every connector, checked by one call in a test.

    from cdpsync.testing import conforms

    def test_my_source():
        conforms(MyConnector, {"file": "tests/things.json"}, broken=[{"file": "nowhere.json"}])

It needs a source that can be read and does not change during the test, best with rows that share
a cursor value and rows without one. Nothing is written to the source.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from cdpsync import sync
from cdpsync.connector import ConnectorOptions, TypeChangeAware, source_identity_of
from cdpsync.connector.faults import code_fault
from cdpsync.errors import CdpsyncError, ConnectorError
from cdpsync.model import BY_VALUES, SyncMode
from cdpsync.model.cursors import cursor_sql, cursor_type_of, later
from cdpsync.model.types import lake_type
from cdpsync.sql import quote_name
from cdpsync.testing.harness import ConnectorCase, check, open_test_project, secrets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cdpsync.connector import Connector
    from cdpsync.model import Stream


class PromiseError(AssertionError):
    """A connector breaks promises; the message lists each of them with the reason."""


def conforms(
    connector: type[Connector],
    options: Mapping[str, object],
    *,
    broken: Sequence[Mapping[str, object]] = (),
    streams: Sequence[str] = ("*",),
) -> None:
    """Check every promise of a connector. Raises PromiseError, which lists the broken ones.

    `options` are those of a project file. `broken` are changes to them that make the source
    unusable: a wrong password, an unknown host. `streams` are globs of the streams to read.
    """
    case = ConnectorCase(connector, options, broken, streams)
    failures = []
    for promise in PROMISES:
        try:
            promise(case)
        except Exception as error:  # noqa: BLE001 - the other promises are checked after any error
            fault = code_fault(error, connector) if not isinstance(error, AssertionError) else None
            reason = fault.text if fault else f"{type(error).__name__}: {error}"
            failures.append(f"- {promise.__doc__}\n  {reason}")
    if failures:
        name = connector.__name__
        raise PromiseError(
            f"{name} breaks {len(failures)} of {len(PROMISES)} promises:\n" + "\n".join(failures)
        )


def options_are_strict(case: ConnectorCase) -> None:
    """Options reject unknown keys."""
    check(
        issubclass(case.connector.Options, ConnectorOptions),
        "Options must be a subclass of cdpsync.connector.ConnectorOptions",
    )
    try:
        case.validated(no_such_key_of_any_source=1)
    except ValidationError:
        return
    raise AssertionError("an unknown key was accepted")


def secrets_are_hidden(case: ConnectorCase) -> None:
    """No secret is in the repr of the options or of the connector."""
    with case.opened() as connector:
        for text in (repr(case.validated()), str(case.validated()), repr(connector)):
            check(not any(secret in text for secret in case.secrets()), "a secret is in the repr")


def check_passes(case: ConnectorCase) -> None:
    """check() returns where the source can be read."""
    with case.opened() as connector:
        connector.check()


def check_names_the_fault(case: ConnectorCase) -> None:
    """check() and discover() name the fault of an unusable source in one line without secrets."""
    for changes in case.broken:
        for method in ("check", "discover"):
            message = _error_message(case, changes, method)
            check(bool(message), f"{method}() returned with {sorted(changes)} broken")
            check("\n" not in message.strip(), f"{method}(): more than one line: {message!r}")
            secrets = [*case.secrets(), *_secrets_in(case, changes)]
            shows_secret = any(secret in message for secret in secrets)
            check(not shows_secret, f"the error of {method}() shows a secret")


def _error_message(case: ConnectorCase, changes: Mapping[str, object], method: str) -> str:
    try:
        with case.opened(**changes) as connector:
            getattr(connector, method)()
    except CdpsyncError as error:
        return error.message
    except ValidationError as error:
        return error.errors()[0]["msg"]
    return ""


def _secrets_in(case: ConnectorCase, changes: Mapping[str, object]) -> list[str]:
    try:
        return list(secrets_of(case.validated(**changes)))
    except ValidationError:
        return []


def close_is_idempotent(case: ConnectorCase) -> None:
    """close() may be called twice, also on a connector that was never used."""
    connector = case.connector(case.validated())
    connector.close()
    connector.close()
    with case.opened() as used:
        used.check()
        used.close()


def discovery_is_stable(case: ConnectorCase) -> None:
    """discover() of an unchanged source gives the same streams, in the same order."""
    with case.opened() as connector:
        first = [replace(stream, estimated_rows=None) for stream in connector.discover()]
        second = [replace(stream, estimated_rows=None) for stream in connector.discover()]
    check(first == second, "two discoveries differ")


def source_identity_is_stable(case: ConnectorCase) -> None:
    """source_identity(), where there is one, is the same for two connections to one source."""
    identities = []
    for _ in range(2):
        with case.opened() as connector:
            connector.discover()
            identities.append(source_identity_of(connector))
    first, second = identities
    check(first == second, f"source_identity() gave {first}, then {second}")
    if first is None:
        return
    check(bool(first.parts) and all(first.parts.values()), "the identity has a part without a name")
    check(bool(first.label.strip()), "the identity has no label")
    check("\n" not in first.label, f"the label has more than one line: {first.label!r}")
    text = f"{first.label} {dict(first.parts)}"
    check(not any(secret in text for secret in case.secrets()), "a secret is in the identity")


def streams_are_sound(case: ConnectorCase) -> None:
    """Streams and columns have unique names; keys and cursor fields are among the columns."""
    with case.opened() as connector:
        streams = case.selected_streams(connector)
        for stream in streams:
            _check_type_changes(connector, stream)
    for attribute in ("name", "table"):
        names = [getattr(stream, attribute).lower() for stream in streams]
        check(all(names), f"a stream has an empty {attribute}")
        check(len(set(names)) == len(names), f"two streams have the same {attribute}")
    for stream in streams:
        columns = {column.name: column.type for column in stream.columns}
        check(bool(columns) or stream.open_schema, f"{stream.name}: it has no column")
        check(len(columns) == len(stream.columns), f"{stream.name}: two columns have the same name")
        check(set(stream.primary_key) <= set(columns), f"{stream.name}: its key is not a column")
        for name in stream.cursor_fields:
            check(name in columns, f"{stream.name}: cursor field {name} is not a column")
            check(
                cursor_type_of(columns[name]) is not None,
                f"{stream.name}: the type of cursor field {name} has no order",
            )


def _check_type_changes(connector: Connector, stream: Stream) -> None:
    """Check that a type that stayed as it was keeps its values."""
    if not isinstance(connector, TypeChangeAware):
        return
    for column in stream.columns:
        type_ = column.source_type or column.type
        check(
            connector.keeps_values(type_, type_, column.type),
            f"{stream.name}: keeps_values says that {type_} does not keep its own values",
        )


def rows_have_the_discovered_columns(case: ConnectorCase) -> None:
    """A read gives the columns that discovery named, in order, with their types in the lake."""
    with open_test_project(case) as project:
        for stream in project.streams:
            columns = project.read(stream, "columns").columns
            expected = [(column.name, lake_type(column.type)) for column in stream.columns]
            actual = [(column.name, column.type) for column in columns]
            if stream.open_schema:
                read_names = {column.name for column in columns}
                expected = [(name, type_) for name, type_ in expected if name in read_names]
                expected_names = {name for name, _ in expected}
                actual = [(name, type_) for name, type_ in actual if name in expected_names]
            check(
                [name for name, _ in actual] == [name for name, _ in expected],
                f"{stream.name}: columns {[name for name, _ in actual]}, not as discovered",
            )
            open_names = {c.name for c in stream.columns if c.source_type == BY_VALUES}
            fixed = [
                (name, type_)
                for name, type_ in expected
                if "?" not in str(type_) and name not in open_names
            ]
            fixed_names = {name for name, _ in fixed}
            actual = [(name, type_) for name, type_ in actual if name in fixed_names]
            check(actual == fixed, f"{stream.name}: types {actual}, discovered as {fixed}")


def reading_twice_gives_the_same_rows(case: ConnectorCase) -> None:
    """Reads of an unchanged source give the same rows, with one worker or several."""
    with open_test_project(case) as project:
        for stream in project.streams:
            first = project.read(stream, "first")
            project.assert_same(stream, first, project.read(stream, "second", workers=4))


def a_chunk_can_be_read_again(case: ConnectorCase) -> None:
    """relation() gives the same rows when it is called again, as after a lost connection."""
    with open_test_project(case) as project:
        for stream in project.streams:
            once = project.read(stream, "once")
            project.assert_same(stream, once, project.read(stream, "again", again=True))


def some_columns_can_be_read_alone(case: ConnectorCase) -> None:
    """A read of some columns gives these columns alone, with the same rows."""
    with open_test_project(case) as project:
        for stream in project.streams:
            names = stream.primary_key or (stream.columns[-1].name,)
            all_columns = project.read(stream, "whole")
            key_columns = project.read(stream, "part", include=names)
            read_names = {column.name for column in key_columns.columns}
            check(
                read_names == set(names),
                f"{stream.name}: asked for {names}, got {sorted(read_names)}",
            )
            columns = tuple(column for column in all_columns.columns if column.name in read_names)
            project.assert_same(stream, all_columns, key_columns, columns)


def a_limited_read_gives_enough_rows(case: ConnectorCase) -> None:
    """A read with a limit gives as many rows of the stream, or all if there are fewer."""
    with open_test_project(case) as project:
        for stream in project.streams:
            whole, part = project.read(stream, "whole"), project.read(stream, "part", limit=2)
            wanted = min(2, whole.rows)
            check(part.rows == wanted, f"{stream.name}: {part.rows} rows in place of {wanted}")
            project.assert_part(stream, whole, part)


def reading_from_a_cursor_leaves_no_gap(case: ConnectorCase) -> None:
    """A read from a cursor gives every row at or beyond it, and every row without a cursor."""
    with open_test_project(case) as project:
        for stream in project.streams:
            for field in stream.cursor_fields:
                all_rows = project.read(stream, f"all-{field}", cursor_field=field)
                for number, low in enumerate(project.values_of(all_rows, field)):
                    rows = project.read(stream, f"{number}-{field}", cursor_field=field, low=low)
                    condition = f"{quote_name(field)} >= {cursor_sql(low)}"
                    project.assert_same(
                        stream,
                        all_rows,
                        rows,
                        where=f"{condition} or {quote_name(field)} is null",
                    )


def cursors_only_advance(case: ConnectorCase) -> None:
    """A read from the previous read's cursor does not end at a lower cursor."""
    with open_test_project(case) as project:
        for stream in project.streams:
            fields = [*stream.cursor_fields]
            if stream.changes:
                fields = [stream.changes.cursor.name] if stream.changes.cursor else []
            for field in fields:
                mode = SyncMode.INCREMENTAL if stream.changes else SyncMode.APPEND_ONLY
                first = project.read(stream, f"a-{field}", cursor_field=field, mode=mode)
                if first.cursor is None:
                    continue
                second = project.read(
                    stream, f"b-{field}", cursor_field=field, mode=mode, low=first.cursor
                )
                check(
                    later(first.cursor, second.cursor) == second.cursor,
                    f"{stream.name}: the cursor went from {first.cursor} back to {second.cursor}",
                )


def a_state_is_followed(case: ConnectorCase) -> None:
    """A read from the state of a complete read gives rows of the stream, and a state again."""
    with open_test_project(case) as project:
        for stream in project.streams:
            if not stream.follows_state:
                continue
            whole = project.read(stream, "a-state", mode=SyncMode.INCREMENTAL, from_state=True)
            if whole.cursor is None:
                continue
            rest = project.read(
                stream, "b-state", mode=SyncMode.INCREMENTAL, from_state=True, low=whole.cursor
            )
            check(rest.cursor is not None, f"{stream.name}: its state was lost")
            project.assert_part(stream, whole, rest)


def missing_streams_are_errors(case: ConnectorCase) -> None:
    """A read of a stream that does not exist raises a ConnectorError of one line."""
    with open_test_project(case) as project:
        missing = replace(project.streams[0], name="no_such_schema.no_such_stream")
        try:
            project.read(missing, "missing")
        except ConnectorError as error:
            check("\n" not in error.message, f"more than one line: {error.message!r}")
        else:
            raise AssertionError("reading a stream that does not exist raised no error")


def foreign_errors_are_not_translated(case: ConnectorCase) -> None:
    """translate() gives None for an error that is not the source's."""
    with case.opened() as connector:
        check(
            connector.translate(LookupError("of another library")) is None,
            "an error of another library was taken for the source's",
        )


def every_value_survives_to_the_query(case: ConnectorCase) -> None:
    """A run loads each row once, and a query gives every value as the source gave it."""
    with open_test_project(case) as project:
        result = sync.run(project.config)
        errors = [table.error for table in result.tables if table.error]
        check(not errors, f"the run failed: {errors}")
        for stream in project.streams:
            project.assert_in_lake(stream, project.read(stream, "query"))


PROMISES: tuple[Callable[[ConnectorCase], None], ...] = (
    options_are_strict,
    secrets_are_hidden,
    check_passes,
    check_names_the_fault,
    close_is_idempotent,
    discovery_is_stable,
    source_identity_is_stable,
    streams_are_sound,
    rows_have_the_discovered_columns,
    reading_twice_gives_the_same_rows,
    a_chunk_can_be_read_again,
    some_columns_can_be_read_alone,
    a_limited_read_gives_enough_rows,
    reading_from_a_cursor_leaves_no_gap,
    cursors_only_advance,
    a_state_is_followed,
    missing_streams_are_errors,
    foreign_errors_are_not_translated,
    every_value_survives_to_the_query,
)
"""The promises of a connector, in the order in which they are checked."""
