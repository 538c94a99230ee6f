"""Builds the destinations of a project: the keys of its file over those of their presets."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from cdpsync.config.credentials import template
from cdpsync.config.destination_schema import DeleteSection, DestinationSection, parse_from
from cdpsync.config.document import read_document
from cdpsync.config.nodes import (
    Entry,
    Items,
    Node,
    Scalar,
    Section,
    filled,
    plain,
    scalars,
    without_outside,
)
from cdpsync.config.presets import preset_file
from cdpsync.config.problems import Problems, quoted, unknown_key
from cdpsync.config.templates import REQUEST_KEYS, STEPS, body, build_request, overlay
from cdpsync.config.validate import note_unfilled, validate
from cdpsync.errors import ConfigError
from cdpsync.model import TableName
from cdpsync.model.destinations import Body, ChangeKind, Destination, Mask, Template
from cdpsync.redact import remember

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXPRESSION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_LITERAL = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_SHORTEST_SECRET = 8  # characters; a shorter value from outside is a region or the like

_OWN_KEYS = tuple(field.alias or name for name, field in DestinationSection.model_fields.items())
_TEMPLATE_KEYS = ("sql", "where", "delete", "action")
_PRESET_KEYS = ("docs", "about", "needs", "defaults", "inputs", "actions")
_KEYS = (*_OWN_KEYS, *_TEMPLATE_KEYS, *REQUEST_KEYS, *STEPS)


def build_destination(
    name: str, entry: Entry, folder: Path, problems: Problems
) -> Destination | None:
    """Return the destination that a key under `destinations:` describes, or note what is wrong.

    If only values from outside the file are missing, it has a `problem` instead of a request.
    """
    subject = f"destination {quoted(name)}"
    section = filled(entry).node
    if not _NAME.fullmatch(name):
        problems.add(
            entry.place,
            f"{subject}: a name is made of letters, digits, _ and -, and begins with a letter or "
            "_. Rename it",
        )
        return None
    if not isinstance(section, Section):
        problems.add(entry.place, f"{subject} must be a mapping. Write {{type: …, from: …}}")
        return None
    _hide(section)
    type_ = section.entries.get("type")
    if type_ is None or not isinstance(type_.node, Scalar) or not type_.node.value:
        problems.add(
            entry.place,
            f'{subject}: "type" is missing. Add it: cdpsync destinations types lists them',
        )
        return None
    try:
        file = preset_file(str(type_.node.value), folder)
    except ConfigError as error:
        problems.add(type_.place, f"{subject}: {error.message}")
        return None
    builder = _Builder(name, subject, section, problems.of_source(f"destination:{name}"))
    return builder.build(file, entry)


class _Builder:
    """One destination: its keys, and where its problems are noted."""

    def __init__(self, name: str, subject: str, section: Section, problems: Problems) -> None:
        self._name, self._subject = name, subject
        self._section, self._problems = section, problems
        self._values_asked: set[str] = set()

    def build(self, file: Path, entry: Entry) -> Destination | None:
        """Return the destination; with a `problem` where only values from outside are missing."""
        note_unfilled(self._section, self._problems)
        if problem := self._problems.of_values:
            return self._incomplete(entry, problem)
        preset = self._preset(file)
        if preset is None:
            return None
        inputs = _section(preset, "inputs")
        needs = self._values_asked
        known = {
            *_KEYS,
            *needs,
            *inputs.entries,
            *(_free_names(preset) if not inputs.entries else ()),
        }
        own = self._section
        for key in own.entries:
            if key not in known:
                valid = [*inputs.entries, *sorted(needs), *_KEYS]
                self._problems.add(
                    own.entries[key].place, f"{self._subject}: {unknown_key(key, valid)}"
                )
        base = preset.without(*_PRESET_KEYS)
        if "item" in own.entries and "item" not in base.entries:
            base = base.without("body")  # that of a single change; a batch is a list of items
        if "as" in own.entries:
            base = base.without("body")
            if "body" in own.entries:
                self._problems.add(
                    own.entries["as"].place,
                    f'{self._subject}: "as: array" is a batch without a body. Remove it, or "body"',
                )
        merged = overlay(base, own)
        given = {key: own.entries[key] for key in own.entries if key not in {*_KEYS, *needs}}
        structure = self._structure(merged)
        if structure is None:
            return None
        source = self._source(structure, merged, entry)
        if source is None:
            return None
        destination = replace(
            source,
            inputs=self._inputs(inputs, given),
            where=self._template(merged, "where"),
            mask=self._mask(merged, structure),
        )
        return self._with_requests(destination, merged)

    def _incomplete(self, entry: Entry, problem: str) -> Destination:
        """Return a destination as far as the file alone describes it."""
        known = without_outside(self._section)
        table = known.entries.get("from")
        name = None
        if table is not None and isinstance(table.node, Scalar):
            with suppress(ValueError):
                name = TableName.parse(parse_from(str(table.node.value))[0])
        type_ = plain(self._section.entries["type"].node)
        return Destination(self._name, str(type_), str(entry.place), name, problem=problem)

    # ---- the preset

    def _preset(self, file: Path) -> Section | None:
        """Return the preset with the destination's values in its texts, and its action's keys."""
        bare = read_document(file, _Anything(), Problems())
        if bare is None:
            read_document(file, _Anything(), self._problems)
            return None
        parts = (bare, self._action_of(bare))
        needs = {name for part in parts for name in _names(part, "needs")}
        values = {
            key: str(plain(entry.node))
            for part in parts
            for key, entry in _section(part, "defaults").entries.items()
        }
        self._values_asked = {*needs, *values}
        for name in sorted(needs - set(self._section.entries)):
            self._problems.add(
                self._section.place, f"{self._subject}: {quoted(name)} is missing. Add it"
            )
        for name in self._values_asked & set(self._section.entries):
            given = self._section.entries[name]
            if not isinstance(given.node, Scalar) or given.node.value is None:
                self._problems.add(given.place, f"{self._subject}: {quoted(name)} must be a text")
                return None
            values[name] = str(given.node.value)
        if needs - set(values):
            return None
        preset = read_document(file, values, self._problems)
        return preset and self._with_action(preset)

    def _action_of(self, preset: Section) -> Section:
        """Return the keys of the action that is asked for; empty ones where it is unknown."""
        actions, given = _section(preset, "actions"), self._section.entries.get("action")
        name = next(iter(actions.entries), "")
        if given is not None and isinstance(given.node, Scalar):
            name = str(given.node.value)
        return _section(actions, name)

    def _with_action(self, preset: Section) -> Section | None:
        actions = _section(preset, "actions").entries
        given = self._section.entries.get("action")
        if not actions:
            if given is not None:
                self._problems.add(given.place, f"{self._subject}: this type has no actions")
            return preset
        name = next(iter(actions))
        if given is not None:
            name = str(given.node.value) if isinstance(given.node, Scalar) else ""
        if name not in actions:
            place = given.place if given else self._section.place
            self._problems.add(
                place, f'{self._subject}: "action" must be {" or ".join(actions)}. Correct it'
            )
            return None
        action = actions[name].node
        if not isinstance(action, Section):
            return preset
        above = overlay(preset, action.without(*_PRESET_KEYS))
        inputs = {**_section(preset, "inputs").entries, **_section(action, "inputs").entries}
        entries = {**above.entries, "inputs": Entry(Section(inputs, action.place), action.place)}
        return Section(entries, preset.place)

    # ---- the parts

    def _structure(self, merged: Section) -> DestinationSection | None:
        own = merged.only(*_OWN_KEYS)
        mask = own.entries.get("mask")
        if mask is not None and isinstance(mask.node, Section):
            entries = {**own.entries, "mask": Entry(mask.node.without("by"), mask.place)}
            own = Section(entries, own.place)
        return validate(Entry(own, merged.place), DestinationSection, self._subject, self._problems)

    def _source(
        self, structure: DestinationSection, merged: Section, entry: Entry
    ) -> Destination | None:
        """Return the destination as far as it says what feeds it."""
        sql = self._query(merged)
        if (sql is None) == (structure.from_ is None):
            self._problems.add(
                entry.place,
                f'{self._subject}: needs either "from" (a table of the lake) or "sql" with "key". '
                "Give one of them",
            )
            return None
        if sql is not None and structure.key is None:
            self._problems.add(
                merged.entries["sql"].place,
                f'{self._subject}: "sql" needs "key": the columns that tell its rows apart. Add '
                "key: [id]",
            )
            return None
        table, alias = parse_from(structure.from_) if structure.from_ else (None, None)
        return Destination(
            name=self._name,
            type=structure.type,
            location=str(entry.place),
            table=TableName.parse(table) if table else None,
            sql=sql,
            alias=alias,
            key=structure.key,
            on=frozenset(structure.on),
            on_exit=structure.on_exit,
            order=structure.changes,
            start=structure.start,
            every=structure.every,
            hold=structure.hold,
            keep=structure.keep,
            answers=structure.answer_rules(),
            batch=structure.batch_limits(),
            rate=structure.rate,
            connections=structure.connections,
            retry=structure.retries(),
            allow_hosts=structure.allow_hosts or (),
            big_integers=structure.big_integers,
            idempotency=structure.idempotency_header,
            enabled=structure.enabled,
        )

    def _inputs(self, declared: Section, given: Mapping[str, Entry]) -> dict[str, Body]:
        """Return each input's value: the destination's own, or the preset's default."""
        inputs: dict[str, Body] = {}
        for name, entry in {**declared.entries, **given}.items():
            if name not in given and isinstance(entry.node, Scalar) and entry.node.value is None:
                self._problems.add(
                    self._section.place,
                    f"{self._subject}: {quoted(name)} is missing. Add it, such as {name}: "
                    '"{{ column }}"',
                )
                continue
            inputs[name] = body(entry.node)
        return inputs

    def _mask(self, merged: Section, structure: DestinationSection) -> Mask | None:
        entry = merged.entries.get("mask")
        if entry is None or structure.mask is None or not isinstance(entry.node, Section):
            return None
        by = self._template(entry.node, "by")
        if by is None:
            self._problems.add(
                entry.place,
                f'{self._subject}: mask needs "by". Add by: "{{{{ customer_id }}}}"',
            )
            return None
        return Mask(by, structure.mask.every, structure.mask.after)

    def _with_requests(self, destination: Destination, merged: Section) -> Destination | None:
        """Return a destination with its requests, or note what is wrong with them."""
        requests = merged.only(*REQUEST_KEYS, *STEPS)
        request = build_request(requests, self._subject, self._problems)
        delete = merged.entries.get("delete")
        wants_deletes = ChangeKind.DELETE in destination.on or destination.on_exit
        if delete is None and wants_deletes:
            self._problems.add(
                merged.place,
                f'{self._subject}: deletes need a request of their own. Add "delete": {{method: '
                "DELETE, url: …}, or remove delete from on",
            )
            return None
        removal, delete_batch = None, destination.batch
        if delete is not None:
            section = filled(delete).node
            if not isinstance(section, Section):
                self._problems.add(delete.place, f'{self._subject}: "delete" must be a mapping')
                return None
            base = requests.without(*STEPS) if "url" in section.entries else requests
            subject = f"{self._subject}, delete"
            removal = build_request(overlay(base, section), subject, self._problems)
            if "batch" in section.entries:
                own = Entry(section.only("batch"), section.place)
                structure = validate(own, DeleteSection, subject, self._problems)
                delete_batch = structure.batch.limits() if structure and structure.batch else None
        is_array = merged.entries.get("as")
        if is_array is not None and plain(is_array.node) != "array":
            self._problems.add(is_array.place, f'{self._subject}: "as" must be array')
        if request is None or (delete is not None and removal is None):
            return None
        return replace(
            destination,
            request=request,
            delete=removal if wants_deletes else None,
            delete_batch=delete_batch if wants_deletes else None,
        )

    def _query(self, merged: Section) -> Template | None:
        """Return the query with its values from outside: it is not rendered, but run."""
        sql, entry = self._template(merged, "sql"), merged.entries.get("sql")
        if sql is None or entry is None or not isinstance(entry.node, Scalar):
            return None
        return Template(str(entry.node.value), sql.location)

    def _template(self, section: Section, key: str) -> Template | None:
        entry = section.entries.get(key)
        if entry is None:
            return None
        if isinstance(entry.node, Scalar) and isinstance(entry.node.value, str | bool | int):
            return template(entry.node)
        self._problems.add(entry.place, f"{self._subject}: {quoted(key)} must be a text")
        return None


class _Anything(dict[str, str]):
    """Fills in every `${name}` of a preset, to read its keys before its values are known."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> str:
        return ""


def _hide(section: Section) -> None:
    """Hide the values from outside the file, because a webhook's URL is a secret by itself."""
    for scalar in scalars(section):
        for value in scalar.put_in:
            if len(value) >= _SHORTEST_SECRET:
                remember(value)


def _section(section: Section, key: str) -> Section:
    entry = section.entries.get(key)
    node = entry.node if entry else None
    return node if isinstance(node, Section) else Section({}, section.place)


def _names(section: Section, key: str) -> tuple[str, ...]:
    """Return the names of a list, or the keys of a mapping."""
    entry = section.entries.get(key)
    if entry is None:
        return ()
    if isinstance(entry.node, Section):
        return tuple(entry.node.entries)
    nodes: Iterable[Node] = entry.node.items if isinstance(entry.node, Items) else (entry.node,)
    return tuple(str(node.value) for node in nodes if isinstance(node, Scalar))


def _free_names(preset: Section) -> set[str]:
    """Return the names in the expressions of a preset that declares no inputs."""
    names: set[str] = set()
    for scalar in scalars(preset):
        for expression in _EXPRESSION.findall(scalar.own):
            names.update(_IDENTIFIER.findall(_LITERAL.sub("", expression)))
    return names
