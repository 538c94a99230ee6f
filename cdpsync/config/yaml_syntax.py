"""Parses the text of a YAML file, and words a syntax error plainly."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from cdpsync.config.problems import Place, Problems

if TYPE_CHECKING:
    import yaml

DEEPEST = 50

_MEANINGS = (
    ("undefined alias", "a value that begins with * names no anchor. Put it in quotes"),
    ("second occurrence", "an anchor (&name) is defined for the second time. Give it another name"),
    ("tag handle", "a value cannot begin with !. Put it in quotes"),
    ("cannot start any token", "a value cannot begin with this character. Put it in quotes"),
    ("escape character", r"an unknown \ in double quotes. Use single quotes, or write \\"),
    ("another document", "a second document begins here. Keep one in a file"),
    ("mapping values", "a colon is not allowed here. Check the indentation, or use quotes"),
    ("expected ':'", "a key without its colon. Write key: value, with a space after the colon"),
    ("document start", "the indentation does not fit the lines above. Align the keys"),
    ("expected key", "the indentation does not fit the lines above. Align the keys"),
    ("<block end>", "the indentation does not fit the lines above. Align the keys"),
)


def compose(text: str, file: str, problems: Problems) -> yaml.Node | None:
    """Return the root node of a YAML text, or note its syntax error and return None.

    The message quotes nothing of the text, because it may be a secret.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if line := _line_too_deep(text):
            problems.add(Place(file, line), f"more than {DEEPEST} levels deep. Nest it less")
            return None
        root: yaml.Node | None = yaml.compose(text, loader)
    except yaml.MarkedYAMLError as error:
        line, meaning = _meaning(error, text)
        problems.add(Place(file, line), f"not valid YAML: {meaning}")
        return None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problems.add(Place(file, line), "a control character. Write it as \\x… in double quotes")
        return None
    if root is None:
        problems.add(Place(file, 1), "the file is empty. Give it a warehouse: or a sources: key")
    return root


def _line_too_deep(text: str) -> int:
    """Return the line where nesting goes too deep, or 0.

    libyaml's composer recurses in C and crashes on such a text, so the events are checked first.
    The scanner reads ahead of the events, and since PyYAML 6.0.4 it refuses 1,000 levels itself.
    So the text before an error is checked again: too deep nesting is always our own message.
    """
    import yaml

    try:
        return _line_of_depth(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        if mark and mark.index < len(text):
            with contextlib.suppress(yaml.YAMLError):
                if line := _line_of_depth(text[: mark.index]):
                    return line
        raise


def _line_of_depth(text: str) -> int:
    """Return the line of the first event that is too deep, or 0; raises what the parser raises."""
    import yaml

    depth = 0
    for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            return event.start_mark.line + 1 if event.start_mark else 1
    return 0


def _meaning(error: yaml.MarkedYAMLError, text: str) -> tuple[int, str]:
    """Return the line of a syntax error, and its meaning."""
    problem, context_mark = error.problem or "", error.context_mark
    at = error.problem_mark or context_mark
    line = at.line + 1 if at else 1
    source = text.splitlines()[line - 1 : line]
    if source and "\t" in source[0][: len(source[0]) - len(source[0].lstrip())]:
        return line, "a tab cannot indent. Use spaces"
    if context_mark and "end of stream" in problem:
        return context_mark.line + 1, "a quote opens here and is never closed. Close it"
    if context_mark and "flow" in (error.context or ""):
        return context_mark.line + 1, (
            "a [ or { opens here and is not closed, or holds a value that must be in quotes, "
            "as ${…} must. Close it, or add the quotes"
        )
    if context_mark and "expected ':'" in problem:
        line = context_mark.line + 1
    meanings = (meaning for sign, meaning in _MEANINGS if sign in problem)
    return line, next(meanings, "the structure is not clear. Check quotes and indentation")
