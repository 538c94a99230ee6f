"""Sections of the project file as pydantic models."""

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    field_validator,
    model_validator,
)

from cdpsync.config.durations import parse_duration, parse_every, parse_lookback
from cdpsync.config.paths import is_bucket, is_file_url, is_url
from cdpsync.config.sizes import parse_size
from cdpsync.errors import suggest
from cdpsync.model import Deletes, Lookback, SchemaChanges, SyncMode, TableOptions
from cdpsync.system.memory import LEAST

KEY_ALIASES = {
    "replication_key": "cursor_field",
    "update_key": "cursor_field",
    "incremental_key": "cursor_field",
    "cursor": "cursor_field",
}
_MODE_ALIASES = {
    "append": "append_only",
    "append-only": "append_only",
    "full": "full_table",
    "full-table": "full_table",
    "full_refresh": "full_table",
    "merge": "incremental",
}


Kind = TypeVar("Kind", bound=StrEnum)


def _parse_mode(value: object) -> SyncMode:
    text = str(value)
    try:
        return SyncMode(_MODE_ALIASES.get(text, text))
    except ValueError:
        names = [mode.value for mode in SyncMode]
        near = suggest(text, [*names, *_MODE_ALIASES])
        hint = f". Did you mean {_MODE_ALIASES.get(near, near)}?" if near else ""
        raise ValueError(f"must be {', '.join(names[:-1])} or {names[-1]}{hint}") from None


def one_of(kind: type[Kind]) -> Callable[[object], Kind]:
    """Return a parser of the words of an enumeration."""
    names = [member.value for member in kind]

    def parse(value: object) -> Kind:
        if str(value) not in names:
            near = suggest(str(value), names)
            hint = f". Did you mean {near}?" if near else ""
            raise ValueError(f"must be {', '.join(names[:-1])} or {names[-1]}{hint}")
        return kind(str(value))

    return parse


def _parse_memory(value: object) -> int:
    size = parse_size(value)
    if size < LEAST:
        raise ValueError(f"must be at least {LEAST // 1_000_000}MB. Write 4GB, or leave it out")
    return size


def as_list(value: object) -> object:
    """Return a single name as a list of one."""
    return [value] if isinstance(value, str) else value


def _absent_if_empty(value: object) -> object:
    return None if value == "" else value


Text = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Text, ...], Field(min_length=1)]
Every = Annotated[timedelta, PlainValidator(parse_every)]
MaybeText = Annotated[str | None, BeforeValidator(_absent_if_empty)]
MaybeSecret = Annotated[SecretStr | None, BeforeValidator(_absent_if_empty)]


class StrictSection(BaseModel):
    """The base of a section: no other keys than its own, and no value in an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ColumnsSection(StrictSection):
    """`columns:` of a table: the columns to read, and their types."""

    include: Names | None = None
    exclude: Names | None = None
    types: dict[str, Text] | None = None

    @model_validator(mode="after")
    def _include_or_exclude(self) -> Self:
        if self.include is not None and self.exclude is not None:
            raise ValueError("include and exclude cannot both be given. Keep one of them")
        return self


class DefaultsSection(StrictSection):
    """`defaults:` of a source: the options of its tables that give no others."""

    enabled: bool | None = None
    mode: Annotated[SyncMode, PlainValidator(_parse_mode)] | None = None
    cursor_field: Text | None = None
    primary_key: Annotated[Names, BeforeValidator(as_list)] | None = None
    lookback: Annotated[Lookback, PlainValidator(parse_lookback)] | None = None
    every: Every | None = None
    where: Text | None = None
    columns: ColumnsSection | None = None
    allow_shrink: bool | None = None
    deletes: Annotated[Deletes, PlainValidator(one_of(Deletes))] | None = None
    deletes_every: Every | None = None
    schema_changes: Annotated[SchemaChanges, PlainValidator(one_of(SchemaChanges))] | None = None

    def options(self) -> TableOptions:
        """Return the options of this section."""
        columns = self.columns or ColumnsSection()
        return TableOptions(
            enabled=self.enabled,
            mode=self.mode,
            cursor_field=self.cursor_field,
            primary_key=self.primary_key,
            lookback=self.lookback,
            every=self.every,
            where=self.where,
            include=columns.include,
            exclude=columns.exclude,
            types=columns.types,
            allow_shrink=self.allow_shrink,
            deletes=self.deletes,
            deletes_every=self.deletes_every,
            schema_changes=self.schema_changes,
        )


class TableSection(DefaultsSection):
    """One table's options: those of `defaults:`, and the table's name in the lake."""

    name: Text | None = None

    @field_validator("name")
    @classmethod
    def _without_dots(cls, name: str | None) -> str | None:
        if name is not None and "." in name:
            raise ValueError(
                "must not contain a dot. Give the table's name alone: its schema is the source"
            )
        return name

    def options(self) -> TableOptions:
        """Return the options of this section, with the name."""
        return TableOptions(name=self.name).over(super().options())


class SourceSection(StrictSection):
    """The keys of a source of any type."""

    type: Text
    every: Every | None = None


class StorageSection(StrictSection):
    """`warehouse.storage`: access to a bucket. None: from the usual credential chain.

    An empty text counts as absent, because `${S3_ENDPOINT:-}` is empty without the variable.
    """

    endpoint: MaybeText = None
    region: MaybeText = None
    access_key_id: MaybeText = None
    secret_access_key: MaybeSecret = None
    session_token: MaybeSecret = None
    profile: MaybeText = None
    account_id: MaybeText = None
    credentials: MaybeSecret = None

    @field_validator("endpoint")
    @classmethod
    def _without_password(cls, endpoint: str | None) -> str | None:
        if endpoint and "@" in endpoint:
            raise ValueError(
                "must not hold a user or password. Use access_key_id and secret_access_key"
            )
        return endpoint


class SpoolSection(StrictSection):
    """`warehouse.spool`: the local files between a source and the warehouse."""

    max: Annotated[int, PlainValidator(parse_size)] = 4 << 30


class WarehouseSection(StrictSection):
    """`warehouse:` as the file has it; paths are still relative."""

    path: Text
    catalog: Text = ".cdpsync/catalog.ducklake"
    state: Text = ".cdpsync/state.json"
    storage: StorageSection | None = None
    spool: SpoolSection | None = None
    memory: Annotated[int, PlainValidator(_parse_memory)] | None = None
    publish: bool = False
    keep: Annotated[timedelta, PlainValidator(parse_duration)] = timedelta(days=7)

    @field_validator("path")
    @classmethod
    def _folder_or_bucket(cls, path: str) -> str:
        if is_url(path) and not (is_bucket(path) or is_file_url(path)):
            raise ValueError(
                "must be a folder, or a bucket as s3://bucket/prefix, r2://bucket/prefix or "
                "gs://bucket/prefix, with its keys under storage"
            )
        return path

    @field_validator("catalog", "state")
    @classmethod
    def _local(cls, path: str) -> str:
        if is_url(path):
            raise ValueError("must be a file on this machine. Write a path")
        return path
