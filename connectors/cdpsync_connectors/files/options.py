"""The options of a source of files: its path, and the format and dialect of its files."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from cdpsync.connector import ConnectorOptions
from cdpsync_connectors.files.csv import Dialect
from cdpsync_connectors.files.discover import table_name

_SPELLINGS = {
    "ndjson": "jsonl",
    "utf8": "utf-8",
    "utf16": "utf-16",
    "latin1": "latin-1",
    "iso-8859-1": "latin-1",
}


def _standard_spelling(value: object) -> object:
    if not isinstance(value, str):
        return value
    return _SPELLINGS.get(value.lower(), value.lower())


class FilesOptions(ConnectorOptions):
    """The keys of a source of `type: files`."""

    path: str
    format: Annotated[
        Literal["csv", "tsv", "jsonl", "parquet"] | None, BeforeValidator(_standard_spelling)
    ] = None
    stream: str | None = Field(default=None, min_length=1)
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    header: bool = True
    encoding: Annotated[
        Literal["utf-8", "utf-16", "latin-1"], BeforeValidator(_standard_spelling)
    ] = "utf-8"
    null: str = ""

    def default_table(self, stream: str) -> str:
        """Return the name in the lake of a stream's table."""
        return table_name(stream)

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str, info: ValidationInfo) -> str:
        """Begin a relative path at the config file's folder, whose name is never a glob."""
        if not path.strip():
            raise ValueError("name a file, a folder or a glob")
        expanded = Path(path).expanduser()
        folder = Path((info.context or {}).get("folder") or Path.cwd()).absolute()
        if expanded.is_absolute():
            return str(expanded)
        if glob.has_magic(path) and not (folder / path).exists():
            folder = Path(glob.escape(str(folder)))
        return str(folder / path)

    @field_validator("delimiter")
    @classmethod
    def _can_separate(cls, delimiter: str | None) -> str | None:
        if delimiter is not None and delimiter in '"\r\n\0':
            raise ValueError("a quote, a line end or a NUL cannot separate fields")
        return delimiter

    @model_validator(mode="after")
    def _null_is_a_field(self) -> FilesOptions:
        """Refuse a text of NULL that no unquoted field can be."""
        delimiters = self.delimiter or {"tsv": "\t", None: ",\t"}.get(self.format, ",")
        if any(sign in self.null for sign in '"\r\n\0' + delimiters):
            raise ValueError(
                "null: is the text of a field without quotes. It has no quote, line end, NUL or "
                "delimiter in it"
            )
        return self

    def dialect(self, format_: str) -> Dialect:
        """Return the dialect of this source's text files."""
        default = "\t" if format_ == "tsv" else ","
        return Dialect(self.delimiter or default, self.header, self.encoding, self.null)
