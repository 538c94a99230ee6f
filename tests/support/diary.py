"""A connector of the tests whose source reports states: a diary of changes, in a JSON file.

The file `diary.json` has for each stream a list of entries `[key, value]`, in the order in which
they were written. A read from a state gives the entries from its last one on, which so comes again.
The option `calls` names a file that gets a line for each call of `read` and `read_many`.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cdpsync.connector import ConnectorOptions
from cdpsync.errors import ConnectError, ReadError
from cdpsync.model import ChangeLog, Column, Cursor, CursorType, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import BaseModel

    from cdpsync.connector import Chunk, ReadRequest

_COLUMNS = (Column("id", "BIGINT", nullable=False), Column("value", "VARCHAR"))
_PER_CHUNK = 3


class DiaryOptions(ConnectorOptions):
    """The keys of a diary."""

    follows_changes: ClassVar[bool] = True
    follows_states: ClassVar[bool] = True

    path: str
    grouped: bool = True


@dataclass
class _Page:
    label: str
    entries: list[list[Any]]
    names: list[str]

    def relation(self, con: Any) -> Any:
        values = {"id": "cast(v[1] as bigint)", "value": "v[2]"}
        listed = ", ".join(f"{values[name]} as {name}" for name in self.names)
        texts = [[str(key), value] for key, value in self.entries]
        rows = f"(select unnest({texts or '[]::varchar[][]'}) as v)"
        return con.sql(f"select {listed} from {rows}")


class _Pages:
    def __init__(self, pages: list[_Page], state: Cursor | None) -> None:
        self.pages, self.state = pages, state

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self.pages)

    def safe_cursor(self, _: Cursor | None) -> Cursor | None:
        return self.state


class Diary:
    """The diary as a source."""

    Options: ClassVar[type[BaseModel]] = DiaryOptions
    extensions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: Any) -> None:
        self._folder = Path(options.path)
        if not options.grouped:
            self.read_many = None

    def _diary(self) -> dict[str, list[list[Any]]]:
        try:
            text = (self._folder / "diary.json").read_text()
        except OSError as error:
            raise ConnectError(f"{self._folder}: no diary.json there. Check path.") from error
        diary: dict[str, list[list[Any]]] = json.loads(text)
        return diary

    def check(self) -> None:
        self._diary()

    def discover(self) -> list[Stream]:
        log = ChangeLog(None)
        return [
            Stream(name, name, _COLUMNS, ("id",), key_enforced=False, changes=log)
            for name in self._diary()
        ]

    def _note(self, text: str) -> None:
        with (self._folder / "calls").open("a") as calls:
            calls.write(f"{text}\n")

    def _pages(self, request: ReadRequest) -> _Pages:
        entries = self._diary().get(request.stream.name)
        if entries is None:
            raise ReadError(f"there is no stream {request.stream.name}.")
        if any(value == "broken" for _, value in entries):
            raise ReadError(f"{request.stream.name}: the diary is torn. Mend it.")
        start = 0
        if request.follows_state and request.saved_cursor is not None:
            start = max(0, json.loads(str(request.saved_cursor.value))["read"] - 1)
        names = [column.name for column in request.columns]
        read = entries[start:]
        parts = [read[at : at + _PER_CHUNK] for at in range(0, len(read), _PER_CHUNK)] or [[]]
        pages = [_Page(f"page {n}", part, names) for n, part in enumerate(parts)]
        large = "x" * 2_000_000 if any(value == "large" for _, value in entries) else ""
        text = json.dumps({"read": len(entries), "large": large}, separators=(",", ":"))
        request.on_progress(len(read))
        return _Pages(pages, Cursor(CursorType.STATE, text) if request.follows_state else None)

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[_Pages]:
        self._note(request.stream.name)
        yield self._pages(request)

    @contextmanager
    def read_many(self, requests: Sequence[ReadRequest]) -> Iterator[dict[str, Any]]:
        self._note("+".join(request.stream.name for request in requests))
        results: dict[str, Any] = {}
        for request in requests:
            request.on_notice(f"{request.stream.name} was read with others")
            try:
                results[request.stream.name] = self._pages(request)
            except ReadError as error:
                results[request.stream.name] = error
        yield results

    def translate(self, _: Exception) -> None:
        return None

    def close(self) -> None:
        pass
