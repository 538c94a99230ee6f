"""The options of a source of files: its path, and the format and dialect of its files."""

from __future__ import annotations

import codecs
import glob
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cdpsync.connector import ConnectorOptions
from cdpsync_connectors.files.copies import TextSource
from cdpsync_connectors.files.dialect import Dialect
from cdpsync_connectors.files.discover import table_name
from cdpsync_connectors.files.records import RecordRules
from cdpsync_connectors.files.rewrite import STANDARD
from cdpsync_connectors.files.sheets import SheetRules
from cdpsync_connectors.files.value_formats import ValueFormats, check_format

_FORMAT_SPELLINGS = {"ndjson": "jsonl", "json": "jsonl", "xlsm": "xlsx"}
_SIGN_SPELLINGS = {"\\t": "\t", "none": ""}


def _standard_format(value: object) -> object:
    if not isinstance(value, str):
        return value
    return _FORMAT_SPELLINGS.get(value.lower(), value.lower())


def _sign(value: object) -> object:
    r"""Return a sign of the dialect: `\\t` is a tab, `none` is no sign."""
    return _SIGN_SPELLINGS.get(value, value) if isinstance(value, str) else value


def _list(value: object) -> object:
    return [value] if isinstance(value, str) else value


SheetName = Annotated[str, Field(min_length=1)]
Sign = Annotated[str, BeforeValidator(_sign), Field(max_length=1)]


class FilesOptions(ConnectorOptions):
    """The keys of a source of `type: files`."""

    follows_cursors: ClassVar[bool] = False

    path: str
    format: Annotated[
        Literal["csv", "tsv", "jsonl", "parquet", "xlsx"] | None, BeforeValidator(_standard_format)
    ] = None
    stream: str | None = Field(default=None, min_length=1)
    sheet: Annotated[tuple[SheetName, ...], BeforeValidator(_list)] = ()
    hive: bool = True
    delimiter: Annotated[Sign, Field(min_length=1)] | None = None
    header: bool = True
    encoding: str | None = None
    skip: int = Field(default=0, ge=0)
    comment: str = ""
    quote: Sign = '"'
    escape: Sign = ""
    null: Annotated[tuple[str, ...], BeforeValidator(_list)] = ("",)
    empty_as_null: bool = False
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " ", "'", "\u00a0", "\u202f"] = ""
    date_format: str = ""
    timestamp_format: str = ""
    on_error: Literal["stop", "reject"] = "stop"

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

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str | None) -> str | None:
        if encoding is None:
            return None
        try:
            codec = codecs.lookup(encoding)
            "".encode(encoding)  # a codec that is none of text is a LookupError here
        except LookupError:
            raise ValueError(
                "is no encoding that is known; such are utf-8, utf-16, windows-1252, latin-1, gbk, "
                "shift_jis"
            ) from None
        return codec.name

    @field_validator("null")
    @classmethod
    def _distinct(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        """Leave out a text that is there again: DuckDB 1.5.5 would read an empty line twice."""
        return tuple(dict.fromkeys(texts))

    @field_validator("delimiter", "quote", "escape")
    @classmethod
    def _can_be_a_sign(cls, sign: str | None) -> str | None:
        if sign and sign in "\r\n\0":
            raise ValueError("a line end or a NUL cannot be a sign of the dialect")
        return sign

    @field_validator("date_format", "timestamp_format")
    @classmethod
    def _tells_a_moment(cls, format_: str, info: ValidationInfo) -> str:
        if format_:
            check_format(format_, with_time=info.field_name == "timestamp_format")
        return format_

    @model_validator(mode="after")
    def _signs_differ(self) -> Self:
        signs = [sign for sign in (self.delimiter or ",", self.quote) if sign]
        if len(set(signs)) < len(signs) or (self.escape and self.escape == self.delimiter):
            raise ValueError("delimiter, quote and escape must differ")
        if self.decimal == self.thousands:
            raise ValueError("decimal and thousands must differ")
        delimiters = self.delimiter or {"tsv": "\t", None: ",\t"}.get(self.format, ",")
        never_bare = {"\r", "\n", "\0", *delimiters, *self.quote}
        for text in self.null:
            if never_bare & set(text):
                raise ValueError(
                    "null: a text with the delimiter, a quote, a line end or a NUL is never an "
                    'unquoted field. For "" in quotes set empty_as_null: true'
                )
        return self

    @model_validator(mode="after")
    def _has_records(self) -> Self:
        if self.format == "parquet" and self.on_error == "reject":
            raise ValueError(
                "on_error: reject sets aside records of CSV, JSON and workbooks. A Parquet file "
                "has no lines, and its values are of its own types: remove on_error"
            )
        return self

    def dialect(self, format_: str) -> Dialect:
        """Return the dialect in which this source's text files, or their copies, are read."""
        if format_ == "xlsx":
            rejects = self.on_error == "reject"
            return replace(STANDARD, header=self.header, has_origin=rejects)
        values = ValueFormats(self.decimal, self.thousands, self.date_format, self.timestamp_format)
        if self._rules() is not None:
            return Dialect(
                STANDARD.delimiter,
                self.header,
                empty_as_null=self.empty_as_null,
                has_origin=self.on_error == "reject",
                values=values,
            )
        default = "\t" if format_ == "tsv" else ","
        return Dialect(
            self.delimiter or default,
            self.header,
            self.quote,
            self.null,
            self.empty_as_null,
            delimiter_is_set=self.delimiter is not None,
            values=values,
        )

    def text_source(self) -> TextSource:
        """Return how the text files are read before DuckDB does."""
        return TextSource(
            self.encoding,
            self.skip,
            RecordRules(self.delimiter or "", self.quote, nulls=()),
            self._rules(),
            header=self.header,
            rejects=self.on_error == "reject",
            sheets=self._sheet_rules(),
        )

    def _sheet_rules(self) -> SheetRules:
        nulls = {text for text in self.null if text} | ({""} if self.empty_as_null else set())
        return SheetRules(self.sheet, self.header, self.skip, frozenset(nulls))

    def _rules(self) -> RecordRules | None:
        """Return the rules by which records are written anew; None where DuckDB is exact."""
        escape = "" if self.escape == self.quote else self.escape
        if not escape and not self.comment and self.on_error == "stop":
            return None
        return RecordRules(self.delimiter or "", self.quote, escape, self.comment, self.null)
