"""`conforms` finds what bites authors of connectors, and says where it stands."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pytest

from cdpsync.connector import ConnectorOptions
from cdpsync.errors import ReadError
from cdpsync.model import Column, Stream
from cdpsync.testing import conforms
from cdpsync.testing.conformance import PromiseError

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = pa.schema([("id", pa.int32())])


class Options(ConnectorOptions):
    """No key of its own."""


class Page:
    label = "page 1"

    def __init__(self) -> None:
        self.reader = self.new_reader()

    def new_reader(self) -> pa.RecordBatchReader:
        table = pa.table({"id": [1, 2, 3]}, SCHEMA)
        return pa.RecordBatchReader.from_batches(SCHEMA, table.to_batches())

    def relation(self, con: Any) -> Any:
        return con.from_arrow(self.new_reader())


class PageReadOnce(Page):
    def relation(self, con: Any) -> Any:
        return con.from_arrow(self.reader)


class Good:
    Options: ClassVar[Any] = Options
    extensions: ClassVar[tuple[str, ...]] = ()
    page: ClassVar[type[Page]] = Page

    def __init__(self, options: Any) -> None:
        self.options = options

    def check(self) -> None:
        """Nothing to reach."""

    def discover(self) -> list[Stream]:
        column = Column("id", "INTEGER", nullable=False)
        return [Stream("things", "things", (column,), ("id",), ("id",))]

    @contextmanager
    def read(self, request: Any) -> Iterator[list[Page]]:
        if request.stream.name != "things":
            raise ReadError("there is no such stream")
        yield [self.page()]

    def translate(self, _error: Exception) -> None:
        return None

    def close(self) -> None:
        """Nothing is open."""


class ReadsOnce(Good):
    page = PageReadOnce


class Raises(Good):
    def check(self) -> None:
        raise KeyError("x")


def broken_promises(connector: Any) -> str:
    with pytest.raises(PromiseError) as caught:
        conforms(connector, {})
    return str(caught.value)


def test_chunk_that_can_be_read_only_once_is_found() -> None:
    """Its rows would be lost when the connection breaks in the middle of it."""
    text = broken_promises(ReadsOnce)
    assert "relation() gives the same rows when it is called again" in text
    assert "things: 3 rows are missing" in text


def test_exception_of_an_author_is_named_with_its_line() -> None:
    """As in a run."""
    text = broken_promises(Raises)
    assert "KeyError: 'x' (test_conformance.py:" in text
