"""The probe of `check`: does with one small object what a run does in a bucket."""

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
    """Single operations in a bucket. Each raises LandingError, `forbidden` without permission."""

    @property
    def root(self) -> str:
        """The bucket's address for DuckDB."""

    def write(self, name: str, content: bytes) -> bool:
        """Write a new object; return False, and change nothing, if the name exists."""

    def read(self, name: str) -> bytes:
        """Return an object's content."""

    def list(self, name: str) -> bool:
        """Whether a listing has the object."""

    def remove(self, name: str) -> None:
        """Remove an object."""

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Give a connection access."""


def probe(objects: Objects, url: str, rights: dict[str, str]) -> None:
    """Write, read, overwrite, list and delete a probe.

    `rights` names the permission that "write", "read", "list" and "delete" each need. Raises
    LandingError that names all missing ones, or the first other error.
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

    if attempt("write", lambda name: _write(objects, url, name)):
        try:
            attempt("read", lambda name: _read(objects, url, name))
            attempt("list", lambda name: _list(objects, url, name))
        finally:
            attempt("delete", objects.remove)
    else:
        attempt("list", objects.list)
    if missing:
        verbs = " or ".join(missing)
        needed = ", ".join(rights[right] for right in missing)
        raise LandingError(
            f"{url}: these credentials may not {verbs} objects. Grant: {needed}.", forbidden=True
        )


def _write(objects: Objects, url: str, name: str) -> None:
    objects.write(name, _CONTENT)
    if objects.write(name, b"other"):
        raise LandingError(
            f"{url}: this service overwrites an object although the request forbids it, so a "
            "lake is not safe there. Use one that supports conditional writes (If-None-Match)."
        )


def _read(objects: Objects, url: str, name: str) -> None:
    import duckdb

    if objects.read(name) != _CONTENT:
        raise LandingError(f"{url}: a probe object reads back with another content.")
    con = engine.connect(threads=1)
    try:
        objects.prepare(con)
        row = con.execute("select content from read_blob(?)", [objects.root + name]).fetchone()
    except duckdb.Error as error:
        raise LandingError(
            f"{url}: DuckDB cannot read the probe object ({engine.first_line(error)}). "
            "Check region and endpoint under warehouse.storage."
        ) from error
    finally:
        con.close()
    if row is None or row[0] != _CONTENT:
        raise LandingError(f"{url}: DuckDB reads the probe object with another content.")


def _list(objects: Objects, url: str, name: str) -> None:
    if not objects.list(name):
        raise LandingError(
            f"{url}: a new object is not listed at once, so a lake is not safe there."
        )
