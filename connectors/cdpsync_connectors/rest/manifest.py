"""Manifests: an API as a YAML file, with the few values that a user must give.

A manifest has the keys of a source of `type: rest`, and `needs`: the values that stand in it as
`${name}`. Its file's name is the source's type.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, cast

import yaml
from pydantic import BaseModel, BeforeValidator, Field, SecretStr, ValidationError, create_model

from cdpsync.connector import ConnectorOptions
from cdpsync.errors import ConfigError, suggest
from cdpsync_connectors._shared.options import Names, Seconds
from cdpsync_connectors._shared.rates import Rate  # noqa: TC001 - pydantic needs it
from cdpsync_connectors.rest.connector import RestConnector
from cdpsync_connectors.rest.options import OptionSection, RestOptions, Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_REFERENCE = re.compile(r"\$\{(\w+)\}")
_WHOLE = re.compile(r"\$\{(\w+)\}\Z")
_OWN = ("base_url", "concurrency", "rate", "timeout")

Value = str | tuple[str, ...] | None
"""A value that a user gave: a text, a list, or none for an optional one."""


class Need(OptionSection):
    """A value that a user must give; one with a default, or that is optional, may be left out."""

    about: str = ""
    secret: bool = False
    default: Text | None = None
    optional: bool = False
    list: bool = False
    example: Text | None = None


class Manifest(OptionSection):
    """The file: `about` and `docs` for people, `needs`, and what `type: rest` has."""

    about: str = ""
    docs: Names = ()
    needs: dict[str, Annotated[Need, BeforeValidator(lambda value: value or {})]] = Field(
        default_factory=dict
    )
    client: dict[str, Any]
    resources: dict[str, Any]


class ManifestOptions(ConnectorOptions):
    """The keys that a source of each manifest has, beside what the manifest needs."""

    base_url: str | None = None
    rate: Rate | None = None
    concurrency: Annotated[int, Field(ge=1, le=100)] | None = None
    timeout: Seconds | None = None


def connector_class(file: Path) -> type[RestConnector]:
    """Return the connector of a manifest. Raises ConfigError with file, line and key."""
    text = file.read_text(encoding="utf-8")
    manifest = _parse(file, text)
    values = {name: _sample(need) for name, need in manifest.needs.items()}
    unused = ManifestOptions.model_construct()
    _rest_options(manifest, values, unused, file, text)
    fields: dict[str, Any] = {name: _field(need) for name, need in manifest.needs.items()}
    options_class = create_model(
        f"{file.stem.title()}Options", __base__=ManifestOptions, __module__=__name__, **fields
    )

    class ManifestConnector(RestConnector):
        """The API of one manifest."""

        Options = options_class

        @classmethod
        def rest_options(cls, options: BaseModel) -> RestOptions:
            given = {name: _given(getattr(options, name)) for name in manifest.needs}
            return _rest_options(manifest, given, cast("ManifestOptions", options), file, text)

    return ManifestConnector


def _parse(file: Path, text: str) -> Manifest:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not YAML: {' '.join(str(error).split())}.") from error
    except RecursionError as error:
        raise ConfigError(f"{file}: nested too deep.") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: a manifest is a mapping with client: and resources:.")
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as error:
        raise _problem(file, text, error) from None
    for name in manifest.needs:
        if name in _OWN or not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in {"type", "every"}:
            raise ConfigError(f'{file}: needs: "{name}" cannot be the name of a value.')
    for name in _references(data):
        if name not in manifest.needs:
            near = suggest(name, manifest.needs)
            hint = f' Did you mean "{near}"?' if near else ""
            raise ConfigError(f"{file}: ${{{name}}} is not among its needs:.{hint}")
    return manifest


def _references(value: object) -> set[str]:
    if isinstance(value, str):
        return set(_REFERENCE.findall(value))
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {name for item in items for name in _references(item)}


def _field(need: Need) -> tuple[Any, Any]:
    type_: Any = SecretStr if need.secret else Names if need.list else Text
    if need.default is not None:
        return type_, SecretStr(need.default) if need.secret else need.default
    return (type_ | None, None) if need.optional else (type_, ...)


def _sample(need: Need) -> Value:
    """Return a value with which the manifest itself is checked."""
    if need.optional:
        return None
    return ("sample",) if need.list else need.default or need.example or "sample"


def _given(value: object) -> Value:
    return value.get_secret_value() if isinstance(value, SecretStr) else cast("Value", value)


def _rest_options(
    manifest: Manifest,
    values: Mapping[str, Value],
    own: ManifestOptions,
    file: Path,
    text: str,
) -> RestOptions:
    """Return client and resources with the values filled in."""
    filled = _filled({"client": manifest.client, "resources": manifest.resources}, values)
    changes = {name: value for name in _OWN if (value := getattr(own, name, None)) is not None}
    filled["client"] = {**filled["client"], **changes}
    try:
        return RestOptions.model_validate(filled)
    except ValidationError as error:
        raise _problem(file, text, error) from None


def _filled(value: Any, values: Mapping[str, Value]) -> Any:  # noqa: ANN401 - any YAML value
    if isinstance(value, dict):
        members = {name: _filled(inner, values) for name, inner in value.items()}
        return {
            name: inner
            for name, inner in members.items()
            if inner is not None or value[name] is None
        }
    if isinstance(value, list):
        return [_filled(inner, values) for inner in value]
    if not isinstance(value, str):
        return value
    whole = _WHOLE.match(value)
    if whole:
        given = values[whole[1]]
        return list(given) if isinstance(given, tuple) else given
    return _REFERENCE.sub(lambda match: _text(values[match[1]]), value)


def _text(value: Value) -> str:
    return ",".join(value) if isinstance(value, tuple) else value or ""


def _problem(file: Path, text: str, error: ValidationError) -> ConfigError:
    """Return the first problem of a manifest: file, line, key, what to do. It shows no value."""
    detail = error.errors(include_url=False, include_input=False)[0]
    steps = detail["loc"]
    line, keys = _line(text, steps)
    key = ".".join(keys)
    if detail["type"] == "missing":
        what = f'"{steps[-1]}" is missing. Add it'
    else:
        context = detail.get("ctx", {})
        what = str(context.get("error", detail["msg"]))
    return ConfigError(f"{file}:{line}: {key + ': ' if key else ''}{what}.".replace("?.", "?"))


def _line(text: str, steps: Sequence[int | str]) -> tuple[int, list[str]]:
    """Return the line of the innermost node on a path, and the keys that lead there."""
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    line, keys = 1, []
    for step in steps:
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == str(step)), None)
            if pair is None:
                continue
            line, node = pair[0].start_mark.line + 1, pair[1]
            keys.append(str(step))
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line, keys
