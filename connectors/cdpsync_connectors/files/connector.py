"""Files: CSV, TSV, JSON Lines and Parquet in a folder, read whole.

A stream is a file stem (`orders.csv`, `2024/orders.csv.gz`), or all the files under one name.

| in the file | in the lake |
| --- | --- |
| Parquet | as it is; of several files, the one of their types that holds the others exactly |
| CSV, canonical integers that fit 64 bits | BIGINT |
| CSV, canonical decimals, and larger integers | DECIMAL(38, longest fraction) |
| CSV, numbers some of which have an exponent, NaN, Infinity | DOUBLE, when it keeps each digit |
| CSV, true and false | BOOLEAN |
| CSV, ISO dates; date-times; date-times with an offset | DATE; TIMESTAMP; … WITH TIME ZONE |
| CSV, anything else: `01234`, `+1`, `-0.00`, a mixture | VARCHAR |
| JSON numbers | as in CSV; JSON when no such type fits |
| JSON strings; booleans | VARCHAR; BOOLEAN |
| JSON objects, arrays, a mixture | JSON, with the numbers as they were written |
| nothing but NULL | the type it has in the lake, else VARCHAR |

An unquoted empty field of a CSV is NULL, `""` is an empty text. A type asked for under
`columns: {types: …}` is taken when every value is exactly of it, and refused by name otherwise.
"""

from __future__ import annotations

import glob
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from cdpsync.connector import ConnectorOptions
from cdpsync.errors import ConfigError, ConnectorError, ReadError
from cdpsync.model import Column, Stream
from cdpsync_connectors.files import csv, errors, jsonl, parquet
from cdpsync_connectors.files.discover import (
    by_stream,
    find_files,
    one_format,
    refuse_changed,
    refuse_unopened,
    table_name,
)
from cdpsync_connectors.files.select import chunks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import duckdb
    from duckdb import DuckDBPyConnection
    from pydantic import BaseModel

    from cdpsync.connector import Chunk, ReadRequest
    from cdpsync_connectors.files.discover import File
    from cdpsync_connectors.files.schema import FileSchema

_SPELLINGS = {
    "ndjson": "jsonl",
    "utf8": "utf-8",
    "utf16": "utf-16",
    "latin1": "latin-1",
    "iso-8859-1": "latin-1",
}

# Discovery reads in a connection of its own, as the engine's are: no download, no local clock.
_SETTINGS = """
    set timezone = 'UTC';
    set autoinstall_known_extensions = false;
    set autoload_known_extensions = false;
"""


def _respelled(value: object) -> object:
    text = value.lower() if isinstance(value, str) else value
    return _SPELLINGS.get(text, text) if isinstance(text, str) else value


class FilesOptions(ConnectorOptions):
    """What a source of `type: files` may say."""

    path: str
    format: Annotated[
        Literal["csv", "tsv", "jsonl", "parquet"] | None, BeforeValidator(_respelled)
    ] = None
    stream: str | None = Field(default=None, min_length=1)
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    header: bool = True
    encoding: Annotated[Literal["utf-8", "utf-16", "latin-1"], BeforeValidator(_respelled)] = (
        "utf-8"
    )
    null: str = ""

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str, info: ValidationInfo) -> str:
        """Begin a relative path at the config file's folder, whose own signs are no glob."""
        if not path.strip():
            raise ValueError("name a file, a folder or a glob")
        home = Path(path).expanduser()
        folder = Path((info.context or {}).get("folder") or Path.cwd()).absolute()
        if home.is_absolute():
            return str(home)
        if glob.has_magic(path) and not (folder / path).exists():
            folder = Path(glob.escape(str(folder)))
        return str(folder / path)

    @field_validator("delimiter")
    @classmethod
    def _separates(cls, delimiter: str | None) -> str | None:
        if delimiter is not None and delimiter in '"\r\n':
            raise ValueError("a quote or a line end cannot separate fields")
        return delimiter

    def dialect(self, format_: str) -> csv.Dialect:
        """Return how the text files of this source are written."""
        usual = "\t" if format_ == "tsv" else ","
        return csv.Dialect(self.delimiter or usual, self.header, self.encoding, self.null)


class FilesConnector:
    """Files in a folder, a stream per stem, read whole and exactly typed."""

    Options: ClassVar[type[BaseModel]] = FilesOptions
    extensions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: BaseModel) -> None:
        if not isinstance(options, FilesOptions):
            raise ConfigError("the files connector was given another connector's options.")
        self._options = options
        self._shapes: dict[tuple[File, ...], FileSchema] = {}

    def check(self) -> None:
        """Return when the path means at least one file, and each can be opened."""
        for files in self._streams().values():
            refuse_unopened(files)

    def discover(self) -> Sequence[Stream]:
        """Return every stream, with the columns of all its files; refused where one is broken."""
        return [self._stream(name, files) for name, files in self._streams().items()]

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[Iterable[Chunk]]:
        """Hand over a stream's files; a file that changes meanwhile fails the read."""
        name = request.stream.name
        if request.window is not None:
            raise ReadError(
                f"stream {name}: files are read whole, without a cursor. Use mode: full_table."
            )
        files = self._streams().get(name)
        if files is None:
            raise ReadError(f"stream {name}: its files are gone. Check the source's path.")
        format_ = one_format(name, files)
        found = chunks(self._shape(name, files), format_, self._options.dialect(format_), request)
        if request.where is not None:
            _refuse_wrong_where(request, found[0])
        yield found
        refuse_changed(files)

    def translate(self, error: Exception) -> ConnectorError | None:
        """Name an error that came from a file or a value in it."""
        return errors.translate(error)

    def close(self) -> None:
        """Nothing is held open."""

    def _streams(self) -> dict[str, tuple[File, ...]]:
        files = find_files(self._options.path, self._options.format)
        return by_stream(files, self._options.stream)

    def _stream(self, name: str, files: tuple[File, ...]) -> Stream:
        try:
            shape = self._shape(name, files)
        except ConnectorError as error:
            return Stream(name, table_name(name), (), kind="files", unreadable_reason=error.message)
        columns = tuple(Column(column, type_ or "VARCHAR") for column, type_ in shape.types.items())
        return Stream(name, table_name(name), columns, estimated_rows=shape.rows, kind="files")

    def _shape(self, name: str, files: tuple[File, ...]) -> FileSchema:
        """Return what the files hold; looked at once, and again only when one has changed."""
        if files not in self._shapes:
            self._shapes[files] = self._look(name, files)
        return self._shapes[files]

    def _look(self, name: str, files: tuple[File, ...]) -> FileSchema:
        import duckdb

        refuse_unopened(files)
        format_ = one_format(name, files)
        with _own_connection() as con:
            try:
                return self._shape_of(con, format_, files)
            except duckdb.Error as error:
                raise self._named(con, format_, files, error) from error

    def _shape_of(self, con: DuckDBPyConnection, format_: str, files: Sequence[File]) -> FileSchema:
        if format_ == "parquet":
            return parquet.shape(con, files)
        if format_ == "jsonl":
            return jsonl.shape(con, files)
        return csv.shape(con, files, self._options.dialect(format_))

    def _named(
        self, con: DuckDBPyConnection, format_: str, files: Sequence[File], error: duckdb.Error
    ) -> Exception:
        """Return the error with the file's name, found by reading each file alone."""
        import duckdb

        for file in files:
            try:
                self._shape_of(con, format_, [file])
            except duckdb.Error as own:
                return errors.of_file(file.path, own) or own
        return errors.translate(error) or error


@contextmanager
def _own_connection() -> Iterator[DuckDBPyConnection]:
    import duckdb

    with duckdb.connect(config={"temp_directory": ""}) as con:
        con.execute(_SETTINGS)
        yield con


def _refuse_wrong_where(request: ReadRequest, chunk: Chunk) -> None:
    import duckdb

    try:
        with _own_connection() as con:
            chunk.relation(con)
    except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
        said = " ".join(str(error).split("\nLINE ")[0].split())
        raise ReadError(
            f"stream {request.stream.name}: where: {request.where}: {said}. Mend the where of the "
            "table."
        ) from error
