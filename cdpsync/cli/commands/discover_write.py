"""Adds the streams of a source to the text of its project file, which keeps all that it has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync import project
from cdpsync.cli.commands.discover_yaml import entries
from cdpsync.errors import ConfigError
from cdpsync.plan.configured import is_named, spelled_as_streams
from cdpsync.plan.selector import as_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    import yaml

    from cdpsync.model import Config, Stream


@dataclass(frozen=True, slots=True)
class Changed:
    """The file with the source, how many tables were added to it, and the difference."""

    file: Path
    count: int
    diff: str


def add_tables(config: Config, source: str, streams: Sequence[Stream]) -> Changed:
    """Add a line under `tables:` for each stream that no key there matches.

    Nothing else in the file changes. Raises ConfigError, and leaves the file as it was, where its
    form does not allow that, or where it would not load.
    """
    file = _file_of(config, source)
    section = spelled_as_streams(config.sources[source], [stream.name for stream in streams])
    new = [stream for stream in streams if not is_named(section, stream.name)]
    if not new:
        return Changed(file, 0, "")
    with file.open(encoding="utf-8", newline="") as opened:
        before = opened.read()
    after = _with_entries(before, source, entries(new), str(file))
    _replace(file, before, after, config, source, [stream.name for stream in new])
    old_lines, new_lines = before.splitlines(), after.splitlines()
    diff = unified_diff(old_lines, new_lines, str(file), str(file), n=1, lineterm="")
    return Changed(file, len(new), "".join(f"{line}\n" for line in diff))


def _file_of(config: Config, source: str) -> Path:
    """Return the file that describes a source."""
    name = config.sources[source].location.rpartition(":")[0]
    absolute = Path(name).absolute()
    return next((Path(name) for file in config.files if file == absolute), config.files[0])


def _with_entries(text: str, source: str, lines: Sequence[str], file: str) -> str:
    """Return the text of a project file with these lines under the source's `tables:`."""
    import yaml

    try:
        key, section = _pair(_pair(yaml.compose(text, yaml.SafeLoader), "sources")[1], source)
        _require_block(section, key)
        names = [name.value for name, _ in section.value]
        indent = " " * section.start_mark.column
        if "tables" in names:
            tables_key, tables = _pair(section, "tables")
            _require_block(tables, tables_key)
            new, after = [" " * tables.start_mark.column + line for line in lines], tables
        else:
            new = [f"{indent}tables:", *(f"{indent}  {line}" for line in lines)]
            after = section
    except _FormError as error:
        raise ConfigError(
            f"{file}: the tables cannot be added, because {error}. Paste them: cdpsync discover "
            f"{source} --yaml."
        ) from None
    newline = "\r\n" if "\r\n" in text else "\n"
    existing = text.splitlines(keepends=True)
    at = _last_line(after) + 1
    if not existing[at - 1].endswith("\n"):
        existing[at - 1] += newline
    return "".join([*existing[:at], *(line + newline for line in new), *existing[at:]])


class _FormError(ValueError):
    """A project file is valid, but not of a form that a few new lines can extend."""


def _pair(node: yaml.Node | None, name: str) -> tuple[yaml.Node, yaml.Node]:
    """Return a key of a mapping and its value."""
    import yaml

    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value == name:
            return key, value
    raise _FormError(f'"{name}:" does not stand in this file itself')


def _require_block(node: yaml.Node, key: yaml.Node) -> None:
    """Raise unless a node is a mapping of indented lines that begins below its key."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        raise _FormError(f'"{key.value}:" has no lines below it')
    if node.flow_style:
        raise _FormError(f'"{key.value}:" is written in braces')
    if node.start_mark.line <= key.start_mark.line:
        raise _FormError(f'"{key.value}:" has an anchor or an alias')


def _last_line(node: yaml.Node) -> int:
    """Return the line on which the last value of a node ends."""
    import yaml

    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        key, value = last if isinstance(last, tuple) else (last, last)
        # An alias has the place of its anchor, which is above its key.
        return _last_line(value) if value is key else max(key.end_mark.line, _last_line(value))
    end = node.end_mark
    return int(end.line if end.column else max(end.line - 1, node.start_mark.line))


def _replace(
    file: Path, before: str, after: str, config: Config, source: str, added: Sequence[str]
) -> None:
    """Write the new text, and the old one again if the project does not load as it should."""
    _write(file, after)
    try:
        # The files are those of the first load, a single one or all of a folder.
        path = file if len(config.files) == 1 else config.files[0].parent
        _require_added(config, project.load(path), source, added)
    except BaseException as error:
        _write(file, before)
        if isinstance(error, ConfigError):
            raise ConfigError(
                f"{error.message} {file} is as it was. Paste the tables: cdpsync discover {source} "
                "--yaml."
            ) from None
        raise


def _require_added(old: Config, new: Config, source: str, added: Sequence[str]) -> None:
    """Raise unless the new project is the old one with these tables."""
    rules = [rule.pattern for rule in new.sources[source].tables]
    old_rules = [rule.pattern for rule in old.sources[source].tables]
    if rules != [*old_rules, *map(as_pattern, added)] or set(new.sources) != set(old.sources):
        raise ConfigError("The tables cannot be added where they belong.")


def _write(file: Path, text: str) -> None:
    """Replace a file's content as a whole; a link stays a link, and permissions stay."""
    target = file.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as opened:
            opened.write(text)
        temporary.chmod(target.stat().st_mode & 0o7777)
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"{file}: cannot be written: {error.strerror}.") from error
