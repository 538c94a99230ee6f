"""Validates a section with its pydantic model, and words the problems plainly."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cdpsync.config.nodes import (
    Entry,
    Items,
    Node,
    Scalar,
    Section,
    follow,
    is_broken,
    is_from_outside,
    plain,
    scalars,
)
from cdpsync.config.problems import Problems, quoted, unknown_key
from cdpsync.config.secrets import hide_fields, hide_values, model_in
from cdpsync.redact import HIDDEN

M = TypeVar("M", bound=BaseModel)

_SHORTEST_INSIDE = 4  # characters; in a message about a section, shorter values are parts of words
_WHOLE = "must be a whole number"
_NUMBER = "must be a number"
_BOOL = "must be true or false"
_LIST = "must be a list. Write [a, b]"
_MAPPING = "must be a mapping. Write {key: value}, or indented lines of key: value"
_MESSAGES = {
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "bool_type": _BOOL,
    "bool_parsing": _BOOL,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "string_too_short": "must not be empty. Give it a value, or remove the key",
    "too_short": "must not be empty. Name at least one, or remove the key",
}
_BOUNDS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("greater than or equal to", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("less than or equal to", "le"),
}


def validate(
    entry: Entry,
    model: type[M],
    subject: str,
    problems: Problems,
    *,
    folder: Path | None = None,
    more_keys: Iterable[str] = (),
) -> M | None:
    """Return the validated model, or note every problem and return None.

    `subject` begins each message: `source "shop"`. `more_keys` are valid beside the model's own.
    A validator has `folder`, where relative paths start, in its `info.context`.
    """
    section = entry.node
    if not isinstance(section, Section):
        problems.add(entry.place, f"{subject} {_MAPPING}")
        return None
    hide_fields(section, model)
    try:
        value = model.model_validate(plain(section), context={"folder": folder})
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        _note(details, entry, model, subject, problems, tuple(more_keys))
        return None
    hide_values(value)
    return None if is_broken(section) else value


def note_unfilled(node: Node, problems: Problems) -> None:
    """Note each reference at or under a node that no variable and no file fills in."""
    for scalar in scalars(node):
        for text in scalar.unfilled:
            problems.add_of_value(scalar.place, text)


def hidden_if_filled_in(text: str, node: Node) -> str:
    """Return a text with the values that a `${…}` filled in, at or under a node, hidden."""
    shortest = 1 if isinstance(node, Scalar) else _SHORTEST_INSIDE
    for scalar in scalars(node):
        if scalar.interpolated and isinstance(scalar.value, str) and len(scalar.value) >= shortest:
            text = text.replace(scalar.value, HIDDEN)
    return text


def _note(
    details: Iterable[ErrorDetails],
    root: Entry,
    model: type[BaseModel],
    subject: str,
    problems: Problems,
    more_keys: tuple[str, ...],
) -> None:
    """Note each of pydantic's errors, except those that follow from a broken `${…}`."""
    for detail in details:
        at, keys = follow(root, detail["loc"])
        if detail["type"] == "extra_forbidden":
            valid = [*(() if keys[1:] else more_keys), *_keys_of(model, keys[:-1])]
            inside = f"{quoted('.'.join(keys[:-1]))}: " if keys[1:] else ""
            text = f"{subject}: {inside}{unknown_key(keys[-1], valid)}"
        elif detail["type"] == "missing":
            missing = quoted(".".join([*keys, str(detail["loc"][-1])]))
            text = f"{subject}: {missing} is missing. Add it"
        elif is_broken(at.node):
            continue
        else:
            text = _joined(subject, keys, hidden_if_filled_in(_message(detail, at.node), at.node))
            if is_from_outside(at.node):
                problems.add_of_value(at.place, text)
                continue
        problems.add(at.place, text)


def _joined(subject: str, keys: tuple[str, ...], message: str) -> str:
    """Return subject, key and message as one sentence.

    The key is quoted, because `redact` would take `password: …` for a secret.
    """
    key = f": {quoted('.'.join(keys))}" if keys else ""
    return f"{subject}{key}{' ' if message.startswith(('must ', 'has ')) else ': '}{message}"


def _message(detail: ErrorDetails, node: Node) -> str:
    """Return one error of pydantic's in plain words, without the value."""
    kind = detail["type"]
    if isinstance(node, Scalar) and node.value is None and kind.endswith("_type"):
        return "has no value. Give it one (in quotes if it has a comma), or remove the key"
    if kind == "string_type":
        if isinstance(node, Items | Section):
            return f"must be text, not a {'list' if isinstance(node, Items) else 'mapping'}"
        return "must be text. Put it in quotes"
    if kind in _MESSAGES:
        return _MESSAGES[kind]
    context = detail.get("ctx", {})
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        bound = context[name]
        return f"must be {words} {f'{bound:.15g}' if isinstance(bound, float) else bound}"
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind in {"value_error", "assertion_error"}:
        return str(context.get("error", "is not valid"))
    return detail["msg"].replace("Input should ", "must ")


def _keys_of(model: type[BaseModel], keys: Iterable[str]) -> list[str]:
    """Return the keys of a model, or of the model inside it that `keys` lead to."""
    at: type[BaseModel] | None = model
    for key in keys:
        field = at.model_fields.get(key) if at else None
        at = model_in(field.annotation) if field else None
    return [field.alias or name for name, field in at.model_fields.items()] if at else []
