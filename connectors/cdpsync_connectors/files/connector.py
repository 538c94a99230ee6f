"""The files connector: CSV, TSV, JSON Lines, Parquet and workbooks, read as a whole.

A stream is a file stem (`orders.csv`, `2024/orders.csv.gz`), a sheet of several in a workbook, or
all files under one name.

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
| workbook (.xlsx), numbers | as in CSV; DOUBLE if no such type fits |
| workbook, texts; booleans; times of day | VARCHAR; BOOLEAN; TIME |
| workbook, days; moments, or both | DATE; TIMESTAMP |
| workbook, a duration, a mixture | VARCHAR |
| only NULL | the lake's type, else VARCHAR |

An unquoted empty field of a CSV is NULL, `""` is an empty text. A type that is requested under
`columns: {types: …}` is used if every value is exactly of it; otherwise the first such value is
an error.
"""

from __future__ import annotations

import logging
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cdpsync.connector.faults import unknown_error
from cdpsync.errors import ConfigError, ConnectorError, ReadError
from cdpsync.model import Column, Stream
from cdpsync.redact import label
from cdpsync_connectors.files import csv, errors, hive, jsonl, parquet
from cdpsync_connectors.files.compressed import require_whole
from cdpsync_connectors.files.copies import Copies
from cdpsync_connectors.files.discover import (
    common_format,
    find_files,
    former_table_name,
    group_by_stream,
    other_data,
    require_readable,
    require_unchanged,
    table_name,
)
from cdpsync_connectors.files.options import FilesOptions
from cdpsync_connectors.files.rejected import write_rejected
from cdpsync_connectors.files.select import FileColumns, chunks_of, require_keys
from cdpsync_connectors.files.sheets import notices as sheet_notices
from cdpsync_connectors.files.sheets import with_cell_types, with_sheets
from cdpsync_connectors.files.suggest import suggestions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

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

log = logging.getLogger("cdpsync.files")

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
        self._copies = Copies(options.text_source())
        self.memory_limit = _MEMORY

    def check(self) -> None:
        """Return if the path matches at least one file, and each file can be opened."""
        for files in self._streams().values():
            require_readable(files)

    def discover(self) -> Sequence[Stream]:
        """Return every stream with the columns of its files; a broken one with its reason."""
        streams = [self._stream(name, files) for name, files in self._streams().items()]
        others = other_data(self._options.path)
        if others:
            log.warning(
                "%s: not read, because the format is not known: %s",
                self._options.path,
                ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else ""),
            )
        return streams

    def suggest(self, streams: Sequence[Stream]) -> Sequence[str]:
        """Return a sentence for each set of streams that looks like one table."""
        return suggestions(self._streams(), streams, self._options.folder)

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[Iterable[Chunk]]:
        """Yield the chunks of a stream's files; raise ReadError if a file changes meanwhile."""
        name = request.stream.name
        if request.window is not None:
            raise ReadError(
                f"stream {label(name)}: files are read whole, without a cursor. "
                "Use mode: full_table."
            )
        files = self._streams().get(name)
        if files is None:
            raise ReadError(
                f"stream {label(name)}: its files no longer exist. Check the source's path."
            )
        format_ = common_format(name, files)
        schema = self._schema(name, files)
        with _temp_folder(request.folder) as folder:
            readable = self._copies.readable(files, folder)
            schema = schema.read_from(readable)
            chunks = chunks_of(schema, format_, request)
            if self._options.on_error == "reject" and format_ != "parquet":
                columns = FileColumns(schema, format_, request.types, request.lake_types)
                self._reject(request, files, columns, folder())
            if request.where is not None:
                _check_where(request, chunks[0])
            yield chunks
        require_unchanged(files)

    def _reject(
        self, request: ReadRequest, files: Sequence[File], columns: FileColumns, folder: Path
    ) -> None:
        """Hand over the records that are no rows."""
        target = folder / "rejected.parquet"
        copies = [layout.file for layout in columns.schema.layouts]
        with _own_connection(self.memory_limit) as con:
            count = write_rejected(con, files, copies, columns, target)
        request.on_rejected(target, count)

    def translate(self, error: Exception) -> ConnectorError | None:
        """Return the error of a file, or of a value in it, as a ReadError."""
        read_error = errors.translate(error)
        if read_error is None:
            return None
        if read_error.message.startswith(errors.UNNAMED):
            read_error = self._error_of_parquet() or read_error
        return ReadError(self._copies.renamed(read_error.message))

    def _error_of_parquet(self) -> ReadError | None:
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
                return errors.translate_for_file(layout.file.path, error)
        return None

    def close(self) -> None:
        """Do nothing, because the connector keeps nothing open."""

    def _streams(self) -> dict[str, tuple[File, ...]]:
        options = self._options
        files = find_files(options.path, options.format, hive=options.hive)
        return group_by_stream(with_sheets(files, options.sheet), options.stream)

    def _stream(self, name: str, files: tuple[File, ...]) -> Stream:
        stream = Stream(
            name, table_name(name), (), kind="files", former_table=former_table_name(name)
        )
        try:
            schema = self._schema(name, files)
        except ConnectorError as error:
            return replace(stream, unreadable_reason=error.message)
        except Exception as error:  # noqa: BLE001 - any error is this stream's, the others go on
            reason = unknown_error(files[0].path, error, self).message
            return replace(stream, unreadable_reason=reason)
        columns = tuple(
            Column(column, type_ or "VARCHAR") for column, type_ in schema.types.items()
        )
        return replace(
            stream,
            columns=columns,
            estimated_rows=schema.rows,
            notices=(*schema.notices, *hive.notices(schema)),
        )

    def _schema(self, name: str, files: tuple[File, ...]) -> FileSchema:
        """Return the schema of the files; it is read again only if one of them has changed."""
        if files not in self._schemas:
            self._schemas[files] = self._read_schema(name, files)
        return self._schemas[files]

    def _read_schema(self, name: str, files: tuple[File, ...]) -> FileSchema:
        require_readable(files)
        format_ = common_format(name, files)
        require_whole(files)
        try:
            with (
                _temp_folder() as folder,
                _own_connection(self.memory_limit) as con,
            ):
                readable = self._copies.readable(files, folder)
                schema = self._with_few_threads(con, name, format_, readable)
                _require_content(name, files, schema)
                notices = tuple(map(self._copies.renamed, schema.notices))
                if format_ == "xlsx":
                    notices += tuple(sheet_notices(files, self._options.sheet))
                return replace(schema.read_from(files), notices=notices)
        except ReadError as error:
            raise ReadError(self._copies.renamed(error.message)) from error

    def _with_few_threads(
        self, con: DuckDBPyConnection, name: str, format_: str, files: tuple[File, ...]
    ) -> FileSchema:
        """Return the schema; where memory runs out, it is read again by a single thread."""
        import duckdb

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
                f"stream {label(name)}: memory ran out while its types were read: its rows are too "
                "large. Set a higher warehouse.memory, or split its files."
            ) from error

    def _schema_of(
        self, con: DuckDBPyConnection, format_: str, files: Sequence[File]
    ) -> FileSchema:
        if format_ == "parquet":
            schema = parquet.read_schema(con, files)
        elif format_ == "jsonl":
            schema = jsonl.read_schema(con, files, self._copies.with_lines)
        else:
            schema = csv.read_schema(con, files, self._options.dialect(format_))
            if format_ == "xlsx":
                schema = with_cell_types(schema, self._copies.kinds)
        if any(file.keys for file in files):
            schema = hive.with_keys(schema)
            require_keys(con, schema, format_)
        return schema

    def _with_file_name(
        self, con: DuckDBPyConnection, format_: str, files: Sequence[File], error: duckdb.Error
    ) -> Exception:
        """Return the error with the name of the broken file, which is found by reading each."""
        import duckdb

        for file in files:
            try:
                self._schema_of(con, format_, [file])
            except duckdb.Error as file_error:
                return errors.translate_for_file(file.path, file_error) or file_error
        return errors.translate(error) or error


@contextmanager
def _own_connection(memory_limit: int) -> Iterator[DuckDBPyConnection]:
    import duckdb

    config: dict[str, Any] = {"temp_directory": "", "memory_limit": f"{memory_limit}B"}
    with duckdb.connect(config=config) as con:
        con.execute(_SETTINGS)
        yield con


@contextmanager
def _temp_folder(parent: Path | None = None) -> Iterator[Callable[[], Path]]:
    """Lend a private folder, which is created when it is asked for, and removed at the end."""
    with ExitStack() as stack:
        folders: list[Path] = []

        def folder() -> Path:
            if not folders:
                temp = tempfile.TemporaryDirectory(
                    prefix="cdpsync-", dir=parent, ignore_cleanup_errors=True
                )
                folders.append(Path(stack.enter_context(temp)))
            return folders[0]

        yield folder


def _require_content(name: str, files: Sequence[File], schema: FileSchema) -> None:
    """Raise ReadError if no file has a column: they are empty, or their records are."""
    if not schema.types:
        raise ReadError(
            f"{files[0].path}: is empty, as is each file of stream {label(name)}: there is no "
            "column in it. Write a header or a record into it, or narrow path."
        )


def _check_where(request: ReadRequest, chunk: Chunk) -> None:
    """Raise ReadError if the condition is not SQL over the stream's columns."""
    import duckdb

    try:
        with _own_connection(_MEMORY) as con:
            chunk.relation(con)
    except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
        message = " ".join(str(error).split("\nLINE ")[0].split())
        raise ReadError(
            f"stream {label(request.stream.name)}: where: {request.where}: {message}. Fix the "
            "where of the table."
        ) from error
