"""The states of a tap: cut into one for each table, and put together for the next run.

A tap reports one state for all streams: `{"bookmarks": {"issues": {…}, "users": {…}}}`. Tables are
committed one by one. So a table's cursor has its own bookmark, and whatever in the state belongs to
no stream. A stream may be read through another one, its parent: a state in which the parent is
ahead of it would lose its rows. So each cursor says of which run of the tap it is, and tables of
different runs are read by different processes.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from cdpsync.errors import ReadError
from cdpsync.model import Cursor, CursorType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cdpsync.connector import ReadRequest

Members = dict[str, msgspec.Raw]
"""The members of a JSON object, each as the tap wrote it."""

_members = msgspec.json.Decoder(Members)
_encode = msgspec.json.encode
_UNFINISHED = b'"progress_markers":'
_NO_VALUE = (b"null", b'""', b"{}")


@dataclass(frozen=True, slots=True)
class ReadGroup:
    """Requests that one process of a tap can answer, and the state that it goes on from."""

    requests: tuple[ReadRequest, ...]
    state: bytes | None


@dataclass(frozen=True, slots=True)
class TapState:
    """The last state that a tap reported."""

    members: Members

    @classmethod
    def parse(cls, raw: bytes) -> TapState:
        """Return the state in a message. Raises ReadError for one that is no object."""
        try:
            return cls(_members.decode(msgspec.json.format(raw, indent=-1)))
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ReadError(f"the tap reported a state that is no JSON object: {error}.") from error

    @property
    def unfinished_stream(self) -> str:
        """The stream that the tap was still reading; empty where it had read all."""
        raw = bytes(self.members.get("currently_syncing", b"null"))
        return "" if raw in _NO_VALUE else raw.decode(errors="replace").strip('"')

    @property
    def run(self) -> str:
        """Identifies the run of the tap that ended with this state."""
        return hashlib.sha256(_encode(self.members)).hexdigest()[:12]

    def is_resumable(self, stream: str) -> bool:
        """Whether a read of the stream may go on from here."""
        return _UNFINISHED not in bytes(self._bookmarks().get(stream, b""))

    def cursor_of(self, stream: str) -> Cursor | None:
        """Return the cursor of a stream's table; None where the state says nothing of it."""
        shared = {name: raw for name, raw in self.members.items() if name not in _NOT_SHARED}
        bookmark = self._bookmarks().get(stream)
        if bookmark is not None and bytes(bookmark) in _NO_VALUE:
            bookmark = None
        if bookmark is None and not shared:
            return None
        state: dict[str, object] = dict(shared)
        if bookmark is not None:
            state["bookmarks"] = {stream: bookmark}
        text = _encode({"run": self.run, "state": state}).decode()
        return Cursor(CursorType.STATE, text)

    def _bookmarks(self) -> Members:
        raw = self.members.get("bookmarks")
        try:
            return {} if raw is None else _members.decode(raw)
        except msgspec.MsgspecError:
            return {}


_NOT_SHARED = ("bookmarks", "currently_syncing")


def groups_of(requests: Iterable[ReadRequest]) -> list[ReadGroup]:
    """Divide requests into those that one process can answer.

    All that are read without a state are together: with one, a stream that is read through another
    would lack the rows of all parents that did not change.
    """
    together: dict[tuple[str, bytes], list[ReadRequest]] = defaultdict(list)
    for request in requests:
        run, members = _saved(request)
        shared = {name: raw for name, raw in members.items() if name not in _NOT_SHARED}
        together[run, _encode(shared)].append(request)
    return [ReadGroup(tuple(group), _joined(group)) for group in together.values()]


def _saved(request: ReadRequest) -> tuple[str, Members]:
    """Return the run and the state of a request's cursor; both empty where there is none."""
    if not request.follows_state or request.saved_cursor is None:
        return "", {}
    text = str(request.saved_cursor.value)
    try:
        document = _members.decode(msgspec.json.format(text.encode(), indent=-1))
        if set(document) != {"run", "state"}:  # a person has set a state as the tap knows it
            return text, document
        return bytes(document["run"]).decode(), _members.decode(document["state"])
    except msgspec.MsgspecError as error:
        raise ReadError(
            f"stream {request.stream.name}: its state is none of a tap ({error}). Reset it: "
            "cdpsync reset."
        ) from error


def _joined(requests: Sequence[ReadRequest]) -> bytes | None:
    """Return the state of several tables of one run; None where they have none."""
    state: dict[str, object] = {}
    bookmarks: Members = {}
    for request in requests:
        _, members = _saved(request)
        state |= {name: raw for name, raw in members.items() if name not in _NOT_SHARED}
        if "bookmarks" in members:
            bookmarks |= _members.decode(members["bookmarks"])
    if bookmarks:
        state["bookmarks"] = bookmarks
    return _encode(state) if state else None
