"""Which values of a project file are secrets, told to `redact` before any message is made."""

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
    """Hide whatever stands under a key that sounds secret, or as a password in a URL.

    Of SQL, that is what a `${…}` put into it from outside the file: nothing tells what it is.
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
        _hide(node, whole=secret, pairs=not is_table)
        for value in node.put_in if is_table and keys[-1] == "where" else ():
            remember(value)


def hide_fields(node: Section, model: type[BaseModel]) -> None:
    """Hide what the file gives to a model's secret fields; done before it is validated."""
    for name, field in model.model_fields.items():
        entry = node.entries.get(name) or node.entries.get(field.alias or name)
        if entry is None:
            continue
        if _holds_secret(field.annotation):
            for scalar in scalars(entry.node):
                _hide(scalar, whole=True)
        elif isinstance(entry.node, Section) and (inner := model_in(field.annotation)):
            hide_fields(entry.node, inner)


def hide_values(value: object) -> None:
    """Hide the secret values of a validated model, wherever it made them from."""
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
    return next((found for arg in get_args(annotation) if (found := model_in(arg))), None)


def paired_secrets(text: str) -> Iterator[str]:
    """Go through what stands in a text as `password=…`, or after a like word."""
    for found in _PAIR.finditer(text):
        yield found[1] or found[2] or found[3] or ""


def sounds_secret(path: tuple[str, ...]) -> bool:
    """Tell by its last key whether what is under it is secret; names of things say nothing."""
    is_source = path[:-1] == ("sources",)
    is_table = len(path) == 4 and path[0] == "sources" and path[2] == "tables"
    is_column = path[-3:-1] == ("columns", "types")
    is_path = path[-1].endswith("_file")
    return not (is_source or is_table or is_column or is_path) and bool(
        _SECRET_KEY.search(path[-1].replace("-", "_"))
    )


def _holds_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(
        _holds_secret(argument) for argument in get_args(annotation)
    )


def _hide(scalar: Scalar, *, whole: bool, pairs: bool = True) -> None:
    if scalar.value is None or isinstance(scalar.value, bool):
        return
    text = str(scalar.value)
    remember_url(text)
    for found in paired_secrets(text) if pairs else ():
        remember(found)
    if whole:
        remember(text)
