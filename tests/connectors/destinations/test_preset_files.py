"""Preset files of destinations: each says what it is, where that stands, and what it needs."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import cdpsync_connectors.destinations

FOLDER = Path(cdpsync_connectors.destinations.__file__).parent
PRESETS = sorted(path.stem for path in FOLDER.glob("*.yml"))

ABOUT = {"about", "docs", "needs", "defaults", "inputs", "actions"}
REQUEST = {
    "method",
    "url",
    "headers",
    "query",
    "body",
    "item",
    "as",
    "format",
    "gzip",
    "auth",
    "sign",
}
DELIVERY = {"batch", "rate", "connections", "retry", "big_integers", "idempotency_header", "on"}
STEPS = {"delete", "find", "create", "update"}
ANSWER = {"ok", "partial", "retry_after", "done", "retry", "drop", "unauthorized"}
KEYS = ABOUT | REQUEST | DELIVERY | STEPS | ANSWER


def preset(name: str) -> dict[str, Any]:  # Any: the tree of a YAML file
    document = yaml.safe_load((FOLDER / f"{name}.yml").read_text())
    assert isinstance(document, dict)
    return document


def actions(name: str) -> list[dict[str, Any]]:
    """Return the preset as each of its actions has it; an action's keys win."""
    document = preset(name)
    merged = []
    for action in (document.pop("actions", None) or {"": {}}).values():
        needs = [*document.get("needs", ()), *action.get("needs", ())]
        named = {
            key: {**document.get(key, {}), **action.get(key, {})} for key in ("inputs", "defaults")
        }
        merged.append({**document, **action, **named, "needs": needs})
    return merged


def texts(tree: object) -> list[str]:
    if isinstance(tree, dict):
        return [text for pair in tree.items() for part in pair for text in texts(part)]
    if isinstance(tree, list):
        return [text for part in tree for text in texts(part)]
    return [tree] if isinstance(tree, str) else []


def test_there_are_presets() -> None:
    """The folder is not empty, so that the tests below test something."""
    assert {"webhook", "slack", "posthog", "hubspot", "mixpanel"} <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_has_known_keys_only(name: str) -> None:
    """A key that no one reads would be a rule that does not hold."""
    for action in actions(name):
        assert set(action) <= KEYS
        for step in STEPS & set(action):
            assert set(action[step]) <= REQUEST | STEPS | {"id", "batch"} | ANSWER


@pytest.mark.parametrize("name", PRESETS)
def test_says_what_it_is_and_where_that_stands(name: str) -> None:
    """`destinations types` prints the line, and a reader can check each fact."""
    document = preset(name)
    assert document["about"].endswith(".")
    assert document["docs"]
    assert all(page.startswith("https://") for page in document["docs"])


@pytest.mark.parametrize("name", PRESETS)
def test_names_only_values_that_it_asks_for(name: str) -> None:
    """Each `${name}` is in `needs` or `defaults`, and each of those is used."""
    for action in actions(name):
        given = {*action["needs"], *action["defaults"]}
        rest = {key: part for key, part in action.items() if key not in ("needs", "docs", "about")}
        used = {name for text in texts(rest) for name in re.findall(r"\$\{(\w+)\}", text)}
        assert used == given


@pytest.mark.parametrize("name", PRESETS)
def test_every_input_is_used(name: str) -> None:
    """An input that stands in no body would be a key without effect."""
    for action in actions(name):
        rest = " ".join(texts({key: part for key, part in action.items() if key != "inputs"}))
        expressions = " ".join(re.findall(r"\{\{(.*?)\}\}", rest, re.DOTALL))
        for input_name in action["inputs"]:
            assert re.search(rf"\b{input_name}\b", expressions), input_name


@pytest.mark.parametrize("name", PRESETS)
def test_a_batch_has_items_and_a_limit(name: str) -> None:
    """A body that stands for many rows has a place for them, and a number of rows."""
    for action in actions(name):
        if "item" not in action:
            assert "batch" not in action
            continue
        assert action["batch"]["rows"] > 1
        in_body = any("{{ items }}" in text for text in texts(action.get("body")))
        assert in_body != (action.get("as") == "array")
