"""Reads `defaults:` and `tables:` of a source, and checks them against each other."""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from cdpsync.config.nodes import Entry, Section, filled
from cdpsync.config.problems import Place, Problems, quoted
from cdpsync.config.schema import KEY_ALIASES, DefaultsSection, TableSection
from cdpsync.config.validate import validate
from cdpsync.model import SyncMode, TableOptions, TableRule


def read_defaults(source: Section, subject: str, problems: Problems) -> TableOptions | None:
    """Return the options of `defaults:`, empty ones without it, or None if it is wrong."""
    entry = source.entries.get("defaults")
    if entry is None:
        return TableOptions()
    subject = f"{subject}, defaults"
    proper = _with_proper_keys(filled(entry), subject, problems)
    section = validate(proper, DefaultsSection, subject, problems)
    return section.options() if section else None


def read_tables(
    source: Section,
    defaults: TableOptions | None,
    subject: str,
    problems: Problems,
    need_cursor: Collection[SyncMode],
) -> tuple[TableRule, ...]:
    """Return a rule for each key under `tables:`, in the order of the file.

    A problem of a key, or between two of them, is noted, and a wrong key is left out. Modes in
    `need_cursor` need a cursor_field.
    """
    entry = filled(source.entries.get("tables", Entry(Section({}, source.place), source.place)))
    if not isinstance(entry.node, Section):
        problems.add(
            entry.place,
            f'{subject}: "tables" must be a mapping of stream names to options. Write '
            "tables: {public.orders: {}, public.users: {}}",
        )
        return ()
    keys = entry.node.entries
    rules = {pattern: _rule(pattern, key, problems) for pattern, key in keys.items()}
    good = [(keys[pattern].place, rule) for pattern, rule in rules.items() if rule]
    wrong_glob = any(_is_glob(pattern) for pattern, rule in rules.items() if rule is None)
    if defaults is not None and not wrong_glob:
        _check(good, defaults, need_cursor, problems)
        defaults_entry = source.entries.get("defaults")
        only_off = all(rule and rule.options.enabled is False for rule in rules.values())
        if defaults_entry and only_off:  # then the defaults alone decide for all other streams
            _check_cursor(
                defaults_entry.place, f"{subject}, defaults", defaults, need_cursor, problems
            )
    return tuple(rule for _, rule in good)


def _check_cursor(
    place: Place,
    subject: str,
    options: TableOptions,
    need_cursor: Collection[SyncMode],
    problems: Problems,
) -> None:
    """Note a mode that follows a cursor and has none."""
    if options.mode in need_cursor and options.cursor_field is None:
        problems.add(
            place,
            f'{subject}: {options.mode} needs a cursor_field. Add "cursor_field: updated_at", '
            "or use mode: full_table",
        )


def _is_glob(pattern: str) -> bool:
    return TableRule(pattern, TableOptions(), "").is_glob


def _rule(pattern: str, entry: Entry, problems: Problems) -> TableRule | None:
    subject = f"table {quoted(pattern)}"
    if not pattern:
        problems.add(entry.place, 'a key under "tables" is empty. Write the name of a stream')
        return None
    proper = _with_proper_keys(filled(entry), subject, problems)
    section = validate(proper, TableSection, subject, problems)
    return TableRule(pattern, section.options(), str(entry.place)) if section else None


def _with_proper_keys(entry: Entry, subject: str, problems: Problems) -> Entry:
    """Return a section with the proper key in the place of each accepted other name."""
    if not isinstance(entry.node, Section):
        return entry
    proper: dict[str, tuple[str, Entry]] = {}
    for key, value in entry.node.entries.items():
        name = KEY_ALIASES.get(key, key)
        if name in proper:
            first_key, first_entry = proper[name]
            problems.add(
                value.place,
                f"{subject}: {quoted(key)} means the same as {quoted(first_key)} on line "
                f"{first_entry.place.line}. Keep only {name}",
            )
            continue
        proper[name] = key, value
    entries = {name: value for name, (_, value) in proper.items()}
    return Entry(Section(entries, entry.node.place), entry.place)


def _check(
    rules: Sequence[tuple[Place, TableRule]],
    defaults: TableOptions,
    need_cursor: Collection[SyncMode],
    problems: Problems,
) -> None:
    """Note each table whose mode lacks its cursor, and each name in the lake that repeats."""
    globs = [rule for _, rule in rules if rule.is_glob]
    named: dict[str, tuple[Place, str]] = {}
    for place, rule in rules:
        options = _merged(rule, globs, defaults)
        if options.enabled is False:
            continue
        _check_cursor(place, f"table {quoted(rule.pattern)}", options, need_cursor, problems)
        if options.name is None or rule.is_glob:
            continue
        first, pattern = named.setdefault(options.name.casefold(), (place, rule.pattern))
        if pattern != rule.pattern:
            problems.add(
                place,
                f"table {quoted(rule.pattern)}: table {quoted(pattern)} at {first} has the same "
                "name in the lake. Give one of them another name",
            )


def _merged(rule: TableRule, globs: Sequence[TableRule], defaults: TableOptions) -> TableOptions:
    """Return a rule's options over those of the globs that cover it, over the defaults.

    A glob covers another when it matches it as text: `*` covers `public.*`.
    """
    merged = defaults
    for glob in globs:
        if glob is not rule and fnmatchcase(rule.pattern, glob.pattern):
            merged = glob.options.over(merged)
    return rule.options.over(merged)
