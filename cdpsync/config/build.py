"""Builds the warehouse and the sources of a project into the values of `cdpsync.model`."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel

from cdpsync.config.nodes import Entry, Scalar, Section, filled
from cdpsync.config.paths import absolute, warehouse_path
from cdpsync.config.problems import Problems, quoted
from cdpsync.config.schema import (
    KEY_ALIASES,
    SourceSection,
    SpoolSection,
    TableSection,
    WarehouseSection,
)
from cdpsync.config.tables import read_defaults, read_tables
from cdpsync.config.validate import hidden_if_filled_in, validate
from cdpsync.errors import ConfigError
from cdpsync.model import Source, Warehouse

OptionsFor = Callable[[str], type[BaseModel]]

_SOURCE_KEYS = ("type", "every", "defaults", "tables")
_TABLE_KEYS = {*TableSection.model_fields, *KEY_ALIASES}
_SOURCE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_RESERVED = frozenset({"cdpsync", "lake", "information_schema", "pg_catalog", "system", "temp"})


def build_warehouse(entry: Entry, folder: Path, problems: Problems) -> Warehouse | None:
    """Return the warehouse that a `warehouse:` key describes, or note what is wrong with it."""
    section = validate(filled(entry), WarehouseSection, "warehouse", problems)
    return _warehouse(section, folder, str(entry.place)) if section else None


def default_warehouse(folder: Path, location: str) -> Warehouse:
    """Return the warehouse of a project that describes none: beside its files."""
    return _warehouse(WarehouseSection(path="./warehouse"), folder, location)


def _warehouse(section: WarehouseSection, folder: Path, location: str) -> Warehouse:
    return Warehouse(
        path=warehouse_path(section.path, folder),
        catalog=absolute(section.catalog, folder),
        state=absolute(section.state, folder),
        storage=section.storage,
        location=location,
        spool_max=(section.spool or SpoolSection()).max,
        keep=section.keep,
        publish=section.publish,
    )


def check_source_names(sources: Mapping[str, Entry], problems: Problems) -> None:
    """Note each name that cannot be a schema of the lake, and names that differ only in case."""
    first_names: dict[str, str] = {}
    for name, entry in sources.items():
        subject = f"source {quoted(name)}"
        if not _SOURCE_NAME.fullmatch(name):
            problems.add(
                entry.place,
                f"{subject}: a name is made of letters, digits, _ and -, and begins with a letter "
                "or _. Rename it",
            )
        elif name.casefold() in _RESERVED:
            problems.add(
                entry.place,
                f"{subject}: this name is reserved, because the lake's database has one of its own "
                "under it. Rename it",
            )
        first = first_names.setdefault(name.casefold(), name)
        if first != name:
            problems.add(
                entry.place,
                f"{subject}: differs only in case from {quoted(first)} at {sources[first].place}, "
                "and the lake ignores case. Rename one",
            )


def build_source(
    name: str, entry: Entry, folder: Path, options_for: OptionsFor, problems: Problems
) -> Source | None:
    """Return the source that a key under `sources:` describes, or note what is wrong with it."""
    subject, entry = f"source {quoted(name)}", filled(entry)
    section = entry.node
    if not isinstance(section, Section):
        problems.add(
            entry.place, f"{subject} must be a mapping. Write {{type: …}}, or its keys indented"
        )
        return None
    common = Entry(section.only("type", "every"), entry.place)
    common_section = validate(common, SourceSection, subject, problems)
    options = _connector_options(entry, section, subject, folder, options_for, problems)
    defaults = read_defaults(section, subject, problems)
    follows = bool(getattr(options, "follows_changes", False))
    tables = read_tables(section, defaults, subject, problems, follows_changes=follows)
    if common_section is None or options is None or defaults is None:
        return None
    type_, every = source_type(common_section.type, folder), common_section.every
    return Source(name, type_, options, str(entry.place), every, defaults, tables)


def source_type(type_: str, folder: Path) -> str:
    """Return a type as the registry knows it: a Python file by its full path."""
    return str(absolute(type_, folder)) if type_.endswith(".py") else type_


def _connector_options(
    entry: Entry,
    section: Section,
    subject: str,
    folder: Path,
    options_for: OptionsFor,
    problems: Problems,
) -> BaseModel | None:
    """Return the connector's own options, or None if they or the type are wrong."""
    type_entry = section.entries.get("type")
    type_node = type_entry.node if type_entry else None
    if (
        type_entry is None
        or not isinstance(type_node, Scalar)
        or not isinstance(type_node.value, str)
    ):
        return None
    if not type_node.value:
        return None
    try:
        model = options_for(source_type(type_node.value, folder))
    except ConfigError as error:
        text = hidden_if_filled_in(error.message, type_node)
        problems.add(type_entry.place, f"{subject}: {text}")
        return None
    own = section.without(*_SOURCE_KEYS)
    misplaced = own.only(*_TABLE_KEYS - set(model.model_fields))
    for key, table_entry in misplaced.entries.items():
        problems.add(
            table_entry.place,
            f'{subject}: {quoted(key)} belongs to a table. Move it under "defaults" or "tables"',
        )
    own = own.without(*misplaced.entries)
    return validate(
        Entry(own, entry.place), model, subject, problems, folder=folder, more_keys=_SOURCE_KEYS
    )
