"""Every option of every connector is shown in an example."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from cdpsync.config.destination_schema import DestinationSection, OAuthSection, RequestSection
from cdpsync.config.secrets import model_in
from cdpsync.config.templates import REQUEST_KEYS, STEPS

EXAMPLES = Path(__file__).parents[2] / "examples/configs"
CONNECTORS = sorted(entry_points(group="cdpsync.connectors"), key=lambda point: point.name)


@pytest.mark.parametrize("point", CONNECTORS, ids=lambda point: point.name)
def test_every_option_is_in_an_example(point: EntryPoint) -> None:
    """Each key is in every_key.yml or the connector's own example; one of several in a comment."""
    shown = (EXAMPLES / "every_key.yml").read_text()
    own_example = EXAMPLES / f"{point.name}.yml"
    if own_example.exists():
        shown = own_example.read_text()
    keys = set(re.findall(r"^ {4}(?:# )?(\w+):", shown, re.MULTILINE))
    fields = point.load().Options.model_fields
    assert {field.alias or name for name, field in fields.items()} - keys == set()


def test_every_key_of_a_destination_is_in_an_example() -> None:
    """In every_key.yml, whose destinations have each key once, wherever it stands."""
    text = (EXAMPLES / "every_key.yml").read_text()
    shown = set(re.findall(r"(\w+)\??:", text[text.index("\ndestinations:") :]))
    keys = {"sql", "where", "delete", "action", *REQUEST_KEYS, *STEPS}
    models = [DestinationSection, OAuthSection, RequestSection]
    for model in models:
        for name, field in model.model_fields.items():
            keys.add(field.alias or name)
            inner = model_in(field.annotation)
            models += [inner] if inner else []
    assert keys - shown - {"again", "others"} == set()
