"""Builds the requests of a destination from nodes: texts and bodies with `{{ expressions }}`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.config.credentials import build_credentials, template
from cdpsync.config.destination_schema import RequestSection
from cdpsync.config.nodes import Entry, Items, Node, Scalar, Section
from cdpsync.config.problems import Problems, quoted
from cdpsync.config.validate import validate
from cdpsync.model.destinations import Body, FindTemplate, RequestTemplate, Template

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAIN_KEYS = tuple(RequestSection.model_fields)
REQUEST_KEYS = (
    *PLAIN_KEYS,
    "url",
    "headers",
    "query",
    "body",
    "item",
    "as",
    "auth",
    "sign",
)
"""The keys of one request."""

STEPS = ("find", "create", "update")
"""The requests of a destination that looks for a record first."""


def body(node: Node) -> Body:
    """Return the tree of a body."""
    if isinstance(node, Section):
        return {key: body(entry.node) for key, entry in node.entries.items()}
    if isinstance(node, Items):
        return tuple(body(item) for item in node.items)
    return template(node) if isinstance(node.value, str) else node.value


def build_request(
    section: Section, subject: str, problems: Problems
) -> RequestTemplate | FindTemplate | None:
    """Return the request that a section's keys describe, or note what is wrong with it."""
    if "find" not in section.entries:
        return _request(section, subject, problems)
    steps = {step: section.entries.get(step) for step in STEPS}
    find = steps["find"]
    missing = [step for step, entry in steps.items() if entry is None]
    if missing or find is None:
        problems.add(
            section.entries["find"].place,
            f'{subject}: "find" needs {quoted(missing[0])} beside it. Add it',
        )
        return None
    if not isinstance(find.node, Section) or _text(find.node, "id") is None:
        problems.add(find.place, f'{subject}: "find" needs "id": SQL over its response. Add it')
        return None
    common = section.without(*STEPS)
    find_id = _text(find.node, "id")
    built = {
        step: _step(step, entry, common, subject, problems)
        for step, entry in steps.items()
        if entry is not None and not (step == "create" and _is_null(entry))
    }
    request, update = built["find"], built["update"]
    if find_id is None or request is None or update is None or None in built.values():
        return None
    return FindTemplate(request, find_id, built.get("create"), update)


def _is_null(entry: Entry) -> bool:
    return isinstance(entry.node, Scalar) and entry.node.value is None


def _step(
    step: str, entry: Entry, common: Section, subject: str, problems: Problems
) -> RequestTemplate | None:
    if not isinstance(entry.node, Section):
        problems.add(entry.place, f"{subject}: {quoted(step)} must be a mapping. Give it a url")
        return None
    return _request(overlay(common, entry.node.without("id")), f"{subject}, {step}", problems)


def overlay(base: Section, above: Section) -> Section:
    """Return a section with the keys of both; `headers`, `batch` and `retry` are merged, too."""
    entries = dict(base.entries)
    for key, entry in above.entries.items():
        below = entries.get(key)
        if (
            key in {"headers", "batch", "retry", "query"}
            and below is not None
            and isinstance(below.node, Section)
            and isinstance(entry.node, Section)
        ):
            merged = {**below.node.entries, **entry.node.entries}
            entries[key] = Entry(Section(merged, entry.node.place), entry.place)
        else:
            entries[key] = entry
    return Section(entries, above.place)


def _request(section: Section, subject: str, problems: Problems) -> RequestTemplate | None:
    url = _scalar(section, "url", subject, problems)
    if url is None:
        if "url" not in section.entries:
            problems.add(section.place, f'{subject}: "url" is missing. Add it')
        return None
    plain = validate(
        Entry(section.only(*PLAIN_KEYS), section.place), RequestSection, subject, problems
    )
    credentials = build_credentials(section, subject, problems)
    if plain is None or credentials is None:
        return None
    sign = _scalar(section, "sign", subject, problems)
    return RequestTemplate(
        method=plain.method.upper(),
        url=template(url),
        headers=_texts(section, "headers", subject, problems),
        query=_texts(section, "query", subject, problems),
        body=_body(section, "body"),
        item=_body(section, "item"),
        format=plain.format,
        gzip=plain.gzip,
        basic=credentials.basic,
        bearer=credentials.bearer,
        oauth=credentials.oauth,
        sign=template(sign) if sign else None,
    )


def _body(section: Section, key: str) -> Body:
    entry = section.entries.get(key)
    return None if entry is None else body(entry.node)


def _texts(section: Section, key: str, subject: str, problems: Problems) -> Mapping[str, Template]:
    entry = section.entries.get(key)
    if entry is None:
        return {}
    texts = {}
    node = entry.node
    for name, value in node.entries.items() if isinstance(node, Section) else ():
        if not isinstance(value.node, Scalar) or value.node.value is None:
            problems.add(value.place, f"{subject}: {key}: {quoted(name)} must be a text")
            continue
        texts[name] = template(value.node)
    if not isinstance(node, Section):
        problems.add(entry.place, f"{subject}: {quoted(key)} must be a mapping of names to texts")
    return texts


def _scalar(section: Section, key: str, subject: str, problems: Problems) -> Scalar | None:
    entry = section.entries.get(key)
    if entry is None:
        return None
    if isinstance(entry.node, Scalar) and entry.node.value is not None:
        return entry.node
    problems.add(entry.place, f"{subject}: {quoted(key)} must be a text")
    return None


def _text(section: Section, key: str) -> str | None:
    entry = section.entries.get(key)
    node = entry.node if entry else None
    return node.value if isinstance(node, Scalar) and isinstance(node.value, str) else None
