"""What `check` does in a bucket: everything that a run does, with one small object."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Protocol

from cdpsync import engine
from cdpsync.errors import LandingError

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

_CONTENT = b"probe"


class Objects(Protocol):
    """The single steps in a bucket. Each raises LandingError, `forbidden` where it is not let."""

    @property
    def root(self) -> str:
        """The place as DuckDB names it."""

    def write(self, name: str, content: bytes) -> bool:
        """Write an object; False where one of this name was there, which stays as it was."""

    def read(self, name: str) -> bytes:
        """Return what an object holds."""

    def list(self, name: str) -> bool:
        """Tell whether an object is listed."""

    def remove(self, name: str) -> None:
        """Remove an object."""

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Let DuckDB read."""


def probe(objects: Objects, place: str, rights: dict[str, str]) -> None:
    """Write, read, re-write, list and delete a probe.

    `rights` names, for "write", "read", "list" and "delete", what must be granted for it. Raises
    LandingError that names all that are missing, or the first other thing that goes wrong.
    """
    name = f".cdpsync-probe-{uuid.uuid4().hex}"
    missing: list[str] = []

    def attempt(right: str, step: Callable[[str], object]) -> bool:
        try:
            step(name)
        except LandingError as error:
            if not error.forbidden:
                raise
            missing.append(right)
            return False
        return True

    if attempt("write", lambda name: _write(objects, place, name)):
        try:
            attempt("read", lambda name: _read(objects, place, name))
            attempt("list", lambda name: _list(objects, place, name))
        finally:
            attempt("delete", objects.remove)
    else:
        attempt("list", objects.list)
    if missing:
        verbs = " or ".join(missing)
        needed = ", ".join(rights[right] for right in missing)
        raise LandingError(
            f"{place}: these credentials may not {verbs} objects. Grant: {needed}.", forbidden=True
        )


def _write(objects: Objects, place: str, name: str) -> None:
    objects.write(name, _CONTENT)
    if objects.write(name, b"other"):
        raise LandingError(
            f"{place}: this service overwrites an object although it is told not to, so it cannot "
            "keep a lake whole. Use one that knows conditional writes (If-None-Match)."
        )


def _read(objects: Objects, place: str, name: str) -> None:
    import duckdb

    if objects.read(name) != _CONTENT:
        raise LandingError(f"{place}: what was written does not read back the same.")
    con = engine.connect(threads=1)
    try:
        objects.prepare(con)
        found = con.execute("select content from read_blob(?)", [objects.root + name]).fetchone()
    except duckdb.Error as error:
        raise LandingError(
            f"{place}: DuckDB cannot read what was written there ({engine.first_line(error)}). "
            "Check region and endpoint under warehouse.storage."
        ) from error
    finally:
        con.close()
    if found is None or found[0] != _CONTENT:
        raise LandingError(f"{place}: DuckDB does not read back what was written there.")


def _list(objects: Objects, place: str, name: str) -> None:
    if not objects.list(name):
        raise LandingError(f"{place}: a new object is not listed at once: no lake can rest on it.")
