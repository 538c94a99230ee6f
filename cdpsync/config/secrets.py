"""Secrets of a project file, handed to `redact` before any message is made."""

import re
from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel, SecretStr

from cdpsync.config.nodes import Items, Node, Scalar, Section, scalars
from cdpsync.redact import remember, remember_url

_WORDS = "password|secret|token|api_?key|passphrase|credential|private_?key"
_SECRET_KEY = re.compile(_WORDS, re.IGNORECASE)
_PAIR = re.compile(
    rf"(?:{_WORDS})[\w-]{{0,40}}[\"']?\s{{0,9}}[=:]\s{{0,9}}(?:'([^']*)'|\"([^\"]*)\"|([^\s&;'\"]+))",
    re.IGNORECASE,
)


def hide_secrets(node: Node, keys: tuple[str, ...] = (), *, secret: bool = False) -> None:
    """Hide each value under a key that sounds secret, and each password in a URL.

    Of SQL, hide the values of its `${…}`, because SQL does not show which of them are secret.
    """
    if isinstance(node, Section):
        for key, entry in node.entries.items():
            path = (*keys, key)
            hide_secrets(entry.node, path, secret=secret or sounds_secret(path))
    elif isinstance(node, Items):
        for item in node.items:
            hide_secrets(item, keys, secret=secret)
    else:
        is_table = keys[:1] == ("sources",) and bool({"tables", "defaults"} & set(keys[2:3]))
        _hide(node, is_secret=secret, pairs=not is_table)
        for value in node.put_in if is_table and keys[-1] == "where" else ():
            remember(value)


def hide_fields(node: Section, model: type[BaseModel]) -> None:
    """Hide the file's values for a model's secret fields, before the model validates them."""
    for name, field in model.model_fields.items():
        entry = node.entries.get(name) or node.entries.get(field.alias or name)
        if entry is None:
            continue
        if _holds_secret(field.annotation):
            for scalar in scalars(entry.node):
                _hide(scalar, is_secret=True)
        elif isinstance(entry.node, Section) and (inner := model_in(field.annotation)):
            hide_fields(entry.node, inner)


def hide_values(value: object) -> None:
    """Hide the secret values of a validated model, also those that it computed."""
    if isinstance(value, SecretStr):
        remember(value.get_secret_value())
        remember_url(value.get_secret_value())
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            hide_values(getattr(value, name))
    elif isinstance(value, list | tuple):
        for item in value:
            hide_values(item)
    elif isinstance(value, dict):
        hide_values(list(value.values()))


def model_in(annotation: object) -> type[BaseModel] | None:
    """Return the model that a field's annotation names, alone or in a union, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for arg in get_args(annotation) if (model := model_in(arg))), None)


def paired_secrets(text: str) -> Iterator[str]:
    """Go through the values in a text after `password=` or a similar word."""
    for match in _PAIR.finditer(text):
        yield match[1] or match[2] or match[3] or ""


def sounds_secret(path: tuple[str, ...]) -> bool:
    """Whether the last key of a path sounds secret; names of sources, tables and columns do not."""
    is_source = path[:-1] == ("sources",)
    is_table = len(path) == 4 and path[0] == "sources" and path[2] == "tables"
    is_column = path[-3:-1] == ("columns", "types")
    is_path = path[-1].endswith("_file") or path[-1] == "token_url"
    return not (is_source or is_table or is_column or is_path) and bool(
        _SECRET_KEY.search(path[-1].replace("-", "_"))
    )


def _holds_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(
        _holds_secret(argument) for argument in get_args(annotation)
    )


def _hide(scalar: Scalar, *, is_secret: bool, pairs: bool = True) -> None:
    if scalar.value is None or isinstance(scalar.value, bool):
        return
    text = str(scalar.value)
    remember_url(text)
    for secret in paired_secrets(text) if pairs else ():
        remember(secret)
    if is_secret:
        remember(text)
