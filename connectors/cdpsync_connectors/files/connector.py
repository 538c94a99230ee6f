"""The files connector: CSV, TSV, JSON Lines and Parquet in a folder, read as a whole.

A stream is a file stem (`orders.csv`, `2024/orders.csv.gz`), or all files under one name.

| in the file | in the lake |
| --- | --- |
| Parquet | its own type; of several files, the type that holds all their values exactly |
| Parquet, decimals beyond 38 digits, nanoseconds in UTC or of a time, INT96 | refused by name |
| CSV, canonical integers that fit 64 bits | BIGINT |
| CSV, canonical decimals, and larger integers | DECIMAL(38, longest fraction) |
| CSV, numbers of which some have an exponent, NaN, Infinity | DOUBLE, if it keeps each digit |
| CSV, true and false | BOOLEAN |
| CSV, ISO dates; date-times; date-times with an offset | DATE; TIMESTAMP; … WITH TIME ZONE |
| CSV, other values: `01234`, `+1`, `-0.00`, a mixture | VARCHAR |
| JSON numbers | as in CSV; JSON if no such type fits |
| JSON strings; booleans | VARCHAR; BOOLEAN |
| JSON objects, arrays, a mixture | JSON, with the numbers as they were written |
| only NULL | the lake's type, else VARCHAR |

An unquoted empty field of a CSV is NULL, `""` is an empty text. A type that is requested under
`columns: {types: …}` is used if every value is exactly of it; otherwise the first such value is
an error.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from cdpsync.errors import ConfigError, ConnectorError, ReadError
from cdpsync.model import Column, Stream
from cdpsync_connectors.files import csv, errors, jsonl, parquet
from cdpsync_connectors.files.compressed import require_whole
from cdpsync_connectors.files.discover import (
    common_format,
    find_files,
    group_by_stream,
    require_readable,
    require_unchanged,
    table_name,
)
from cdpsync_connectors.files.options import FilesOptions
from cdpsync_connectors.files.select import chunks_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import duckdb
    from duckdb import DuckDBPyConnection
    from pydantic import BaseModel

    from cdpsync.connector import Chunk, ReadRequest
    from cdpsync_connectors.files.discover import File
    from cdpsync_connectors.files.schema import FileSchema

# Discovery has a connection of its own, with the engine's settings: no download, time in UTC.
_SETTINGS = """
    set timezone = 'UTC';
    set autoinstall_known_extensions = false;
    set autoload_known_extensions = false;
"""


_MEMORY = 1_000_000_000  # bytes, where the caller sets no other limit


class FilesConnector:
    """Files in a folder: a stream per stem, read as a whole, with exact types."""

    Options: ClassVar[type[BaseModel]] = FilesOptions
    extensions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: BaseModel) -> None:
        if not isinstance(options, FilesOptions):
            raise ConfigError("the files connector was given another connector's options.")
        self._options = options
        self._schemas: dict[tuple[File, ...], FileSchema] = {}
        self.memory_limit = _MEMORY

    def check(self) -> None:
        """Return if the path matches at least one file, and each file can be opened."""
        for files in self._streams().values():
            require_readable(files)

    def discover(self) -> Sequence[Stream]:
        """Return every stream with the columns of its files; a broken one with its reason."""
        return [self._stream(name, files) for name, files in self._streams().items()]

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[Iterable[Chunk]]:
        """Yield the chunks of a stream's files; raise ReadError if a file changes meanwhile."""
        name = request.stream.name
        if request.window is not None:
            raise ReadError(
                f"stream {name}: files are read whole, without a cursor. Use mode: full_table."
            )
        files = self._streams().get(name)
        if files is None:
            raise ReadError(f"stream {name}: its files no longer exist. Check the source's path.")
        format_ = common_format(name, files)
        dialect = self._options.dialect(format_)
        chunks = chunks_of(self._schema(name, files), format_, dialect, request)
        if request.where is not None:
            _check_where(request, chunks[0])
        yield chunks
        require_unchanged(files)

    def translate(self, error: Exception) -> ConnectorError | None:
        """Return the error of a file, or of a value in it, as a ReadError."""
        known = errors.translate(error, self._options.dialect(self._options.format or "csv"))
        if known is None or not known.message.startswith(errors.UNNAMED):
            return known
        return self._error_of_parquet() or known

    def _error_of_parquet(self) -> ConnectorError | None:
        """Return the error of the first Parquet file that cannot be read to its end.

        DuckDB's errors about damaged pages do not name the file, and pages are read with the rows.
        """
        import duckdb

        parquets = [
            schema for files, schema in self._schemas.items() if files[0].format == "parquet"
        ]
        for layout in (layout for schema in parquets for layout in schema.layouts):
            try:
                with _own_connection(self.memory_limit) as con:
                    con.execute(f"select count(hash(t)) from ({parquet.select_rows([layout])}) t")
            except duckdb.Error as error:
                return errors.translate_for_file(layout.file.path, error, self._options.dialect(""))
        return None

    def close(self) -> None:
        """Do nothing, because the connector keeps nothing open."""

    def _streams(self) -> dict[str, tuple[File, ...]]:
        files = find_files(self._options.path, self._options.format)
        return group_by_stream(files, self._options.stream)

    def _stream(self, name: str, files: tuple[File, ...]) -> Stream:
        try:
            schema = self._schema(name, files)
        except ConnectorError as error:
            return Stream(name, table_name(name), (), kind="files", unreadable_reason=error.message)
        except Exception as error:  # noqa: BLE001 - any error is this stream's, the others go on
            reason = f"{files[0].path}: cannot be read ({errors.describe_unknown(error)})."
            return Stream(name, table_name(name), (), kind="files", unreadable_reason=reason)
        columns = tuple(
            Column(column, type_ or "VARCHAR") for column, type_ in schema.types.items()
        )
        return Stream(name, table_name(name), columns, estimated_rows=schema.rows, kind="files")

    def _schema(self, name: str, files: tuple[File, ...]) -> FileSchema:
        """Return the schema of the files; it is read again only if one of them has changed."""
        if files not in self._schemas:
            self._schemas[files] = self._read_schema(name, files)
        return self._schemas[files]

    def _read_schema(self, name: str, files: tuple[File, ...]) -> FileSchema:
        import duckdb

        require_readable(files)
        format_ = common_format(name, files)
        require_whole(files)
        with _own_connection(self.memory_limit) as con:
            try:
                return self._schema_of(con, format_, files)
            except duckdb.OutOfMemoryException:
                con.execute("set threads = 1")  # each thread holds rows of its own
            except duckdb.Error as error:
                raise self._with_file_name(con, format_, files, error) from error
            try:
                return self._schema_of(con, format_, files)
            except duckdb.OutOfMemoryException as error:
                raise ReadError(
                    f"stream {name}: memory ran out while its types were read: its rows are too "
                    "large. Set a higher warehouse.memory, or split its files."
                ) from error

    def _schema_of(
        self, con: DuckDBPyConnection, format_: str, files: Sequence[File]
    ) -> FileSchema:
        if format_ == "parquet":
            return parquet.read_schema(con, files)
        if format_ == "jsonl":
            return jsonl.read_schema(con, files)
        return csv.read_schema(con, files, self._options.dialect(format_))

    def _with_file_name(
        self, con: DuckDBPyConnection, format_: str, files: Sequence[File], error: duckdb.Error
    ) -> Exception:
        """Return the error with the name of the broken file, which is found by reading each."""
        import duckdb

        dialect = self._options.dialect(format_)
        for file in files:
            try:
                self._schema_of(con, format_, [file])
            except duckdb.Error as file_error:
                return errors.translate_for_file(file.path, file_error, dialect) or file_error
        return errors.translate(error, dialect) or error


@contextmanager
def _own_connection(memory_limit: int) -> Iterator[DuckDBPyConnection]:
    import duckdb

    config: dict[str, Any] = {"temp_directory": "", "memory_limit": f"{memory_limit}B"}
    with duckdb.connect(config=config) as con:
        con.execute(_SETTINGS)
        yield con


def _check_where(request: ReadRequest, chunk: Chunk) -> None:
    """Raise ReadError if the condition is not SQL over the stream's columns."""
    import duckdb

    try:
        with _own_connection(_MEMORY) as con:
            chunk.relation(con)
    except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
        message = " ".join(str(error).split("\nLINE ")[0].split())
        raise ReadError(
            f"stream {request.stream.name}: where: {request.where}: {message}. Fix the where of "
            "the table."
        ) from error
