"""Builds the warehouse and the sources of a project into the values of `cdpsync.model`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from cdpsync.config.nodes import Entry, Scalar, Section, filled, plain, without_outside
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
from cdpsync.model import Source, SyncMode, TableOptions, TableRule, Warehouse

MANIFEST_FOLDER = "manifests"
"""The folder beside the project file whose manifests win over those of packages."""

OptionsFor = Callable[[str], type[BaseModel]]

_YAML = (".yml", ".yaml")
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
        memory=section.memory,
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
    """Return the source that a key under `sources:` describes, or note what is wrong with it.

    If only values from outside the file are wrong, the source has a `problem` instead of options.
    """
    subject, entry = f"source {quoted(name)}", filled(entry)
    problems = problems.of_source(name)
    section = entry.node
    if not isinstance(section, Section):
        problems.add(
            entry.place, f"{subject} must be a mapping. Write {{type: …}}, or its keys indented"
        )
        return None
    model = _options_model(section, subject, folder, options_for, problems)
    common = validate(_common(entry, section), SourceSection, subject, problems)
    options = _connector_options(entry, section, model, subject, folder, problems)
    defaults, tables = _table_rules(section, model, subject, problems)
    if problems.of_values:
        return _incomplete_source(name, entry, section, model, folder, problems.of_values)
    if common is None or options is None or defaults is None:
        return None
    return Source(
        name,
        source_type(common.type, folder),
        options,
        str(entry.place),
        common.every,
        defaults,
        tables,
        omitted_schema=getattr(options, "omitted_schema", None),
        ignores_case=_ignores_case(model),
    )


def _incomplete_source(
    name: str,
    entry: Entry,
    section: Section,
    model: type[BaseModel] | None,
    folder: Path,
    problem: str,
) -> Source:
    """Return a source as far as the project file alone describes it, with its problem."""
    section, unheard = without_outside(section), Problems()
    common = validate(_common(entry, section), SourceSection, "", unheard)
    defaults, tables = _table_rules(section, model, "", unheard)
    return Source(
        name,
        source_type(common.type, folder) if common else "?",
        None,
        str(entry.place),
        common.every if common else None,
        defaults or TableOptions(),
        tables,
        problem=problem,
        omitted_schema=_omitted_schema(section, model),
        ignores_case=_ignores_case(model),
    )


def _omitted_schema(section: Section, model: type[BaseModel] | None) -> str | None:
    """Return the schema that a connector omits, if that needs no value from outside the file."""
    if model is None:
        return None
    names = {field.alias or name for name, field in model.model_fields.items()}
    values = {name: plain(entry.node) for name, entry in section.only(*names).entries.items()}
    # A connector may need an option that has no value yet; then there is no attribute.
    return getattr(model.model_construct(None, **values), "omitted_schema", None)


def _common(entry: Entry, section: Section) -> Entry:
    return Entry(section.only("type", "every"), entry.place)


def _table_rules(
    section: Section, model: type[BaseModel] | None, subject: str, problems: Problems
) -> tuple[TableOptions | None, tuple[TableRule, ...]]:
    """Return a source's `defaults:` and `tables:`, or note what is wrong with them."""
    defaults = read_defaults(section, subject, problems)
    rules = read_tables(section, defaults, subject, problems, _need_cursor(model))
    return defaults, tuple(replace(rule, ignores_case=_ignores_case(model)) for rule in rules)


def _need_cursor(model: type[BaseModel] | None) -> set[SyncMode]:
    """Return the modes that need a cursor_field at a connector with these options.

    None at one that follows no cursors, or states in their place: its tables of other modes are
    refused when they are planned, each by itself.
    """
    modes = {SyncMode.INCREMENTAL, SyncMode.APPEND_ONLY}
    if not getattr(model, "follows_cursors", True) or getattr(model, "follows_states", False):
        return set()
    return modes - {SyncMode.INCREMENTAL} if getattr(model, "follows_changes", False) else modes


def _ignores_case(model: type[BaseModel] | None) -> bool:
    return bool(getattr(model, "ignores_case", False))


def source_type(type_: str, folder: Path) -> str:
    """Return a type as the registry knows it: a Python file, or a manifest, by its full path.

    A manifest in the folder `manifests/` beside the project file wins over an installed type.
    """
    if type_.endswith((".py", *_YAML)):
        return str(absolute(type_, folder))
    if not re.fullmatch(r"[\w-]+", type_):
        return type_
    own = (folder / MANIFEST_FOLDER / f"{type_}{suffix}" for suffix in _YAML)
    return next((str(file) for file in own if file.is_file()), type_)


def _options_model(
    section: Section, subject: str, folder: Path, options_for: OptionsFor, problems: Problems
) -> type[BaseModel] | None:
    """Return the options model of a source's type, or None if the type is missing or wrong."""
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
        return options_for(source_type(type_node.value, folder))
    except ConfigError as error:
        text = hidden_if_filled_in(error.message, type_node)
        note = problems.add_of_value if type_node.is_from_outside else problems.add
        note(type_entry.place, f"{subject}: {text}")
        return None


def _connector_options(
    entry: Entry,
    section: Section,
    model: type[BaseModel] | None,
    subject: str,
    folder: Path,
    problems: Problems,
) -> BaseModel | None:
    """Return the connector's own options, or None if they are wrong."""
    if model is None:
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
