"""The options of a source of files: its path, and the format and dialect of its files."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationInfo, field_validator

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

    follows_cursors: ClassVar[bool] = False

    path: str
    format: Annotated[
        Literal["csv", "tsv", "jsonl", "parquet"] | None, BeforeValidator(_standard_spelling)
    ] = None
    stream: str | None = Field(default=None, min_length=1)
    hive: bool = True
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    header: bool = True
    encoding: Annotated[
        Literal["utf-8", "utf-16", "latin-1"], BeforeValidator(_standard_spelling)
    ] = "utf-8"
    null: str = ""

    _folder: Path | None = PrivateAttr(default=None)

    def model_post_init(self, context: object) -> None:
        """Keep the config file's folder, from which paths are shown."""
        self._folder = context.get("folder") if isinstance(context, dict) else None

    @property
    def folder(self) -> Path | None:
        """The folder of the config file, where it is known."""
        return self._folder

    def default_table(self, stream: str) -> str:
        """Return the name in the lake of a stream's table."""
        return table_name(stream)

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str, info: ValidationInfo) -> str:
        """Begin a relative path at the config file's folder, whose name is never a glob."""
        if not path.strip():
            raise ValueError("name a file, a folder or a glob")
        scheme = re.match(r"([a-z][a-z0-9+.-]*)://", path, re.IGNORECASE)
        if scheme:
            raise ValueError(
                f"{scheme[0]} is not supported yet: files are read from this machine's disks. Copy "
                "them there, and name the folder"
            )
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
        if delimiter is not None and delimiter in '"\r\n':
            raise ValueError("a quote or a line end cannot separate fields")
        return delimiter

    def dialect(self, format_: str) -> Dialect:
        """Return the dialect of this source's text files."""
        default = "\t" if format_ == "tsv" else ","
        return Dialect(self.delimiter or default, self.header, self.encoding, self.null)
