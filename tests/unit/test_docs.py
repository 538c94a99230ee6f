"""The pages for readers: links lead somewhere, indexes are complete, decisions have their form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DECISIONS = sorted((DOCS / "decisions").glob("0*.md"))
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted(DOCS.rglob("*.md"))


def links(page: Path) -> list[tuple[Path, str]]:
    """Return the files that a page links to, each with the heading it names or an empty text."""
    targets = re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", page.read_text())
    return [(page.parent / path if path else page, anchor) for path, anchor in targets]


def anchors(page: Path) -> set[str]:
    """Return the headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    """A moved file or a renamed heading leaves no dead link."""
    dead = [
        (str(target), anchor)
        for target, anchor in links(page)
        if not target.exists() or (anchor and anchor not in anchors(target))
    ]
    assert dead == []


def test_readme_is_short_and_links_no_module() -> None:
    """The README is read in five minutes; modules are not for its readers."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 170
    assert [target for target, _ in links(ROOT / "README.md") if target.suffix == ".py"] == []


def test_index_has_every_page() -> None:
    """docs/README.md leads to each page of docs/."""
    listed = {target.resolve() for target, _ in links(DOCS / "README.md")}
    assert {page for page in DOCS.glob("*.md") if page.name != "README.md"} - listed == set()


def test_index_of_decisions_is_complete() -> None:
    """Each decision has a line, under its own title."""
    rows = re.findall(
        r"^\| (\d+) \| \[(.*)\]\((\S+)\) \| .+ \|$",
        (DOCS / "decisions/README.md").read_text(),
        re.MULTILINE,
    )
    titles = [(file.read_text().splitlines()[0], file.name) for file in DECISIONS]
    assert [(f"# {number}. {title}", name) for number, title, name in rows] == titles


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda file: file.stem)
def test_decision_has_three_sections(decision: Path) -> None:
    """Context, Decision, Consequences."""
    sections = re.findall(r"^## (.*)$", decision.read_text(), re.MULTILINE)
    assert sections == ["Context", "Decision", "Consequences"]


def test_map_names_every_module() -> None:
    """docs/architecture.md has each module under its package, so that it stays a map."""
    tree = (DOCS / "architecture.md").read_text().split("```")[3]
    engine, connectors = tree.split("connectors/cdpsync_connectors/")
    packages = dict(re.findall(r"^  (\w+)/((?:.*\n)(?:(?!  \w+/).*\n)*)", engine, re.MULTILINE))
    missing = []
    for root, default in (("cdpsync", engine), ("connectors/cdpsync_connectors", connectors)):
        for module in sorted((ROOT / root).rglob("*.py")):
            package = module.relative_to(ROOT / root).parts[0]
            section = packages.get(package, "") if default is engine else connectors
            listed = default if module.parent == ROOT / root else section
            if module.stem != "__init__" and not re.search(rf"\b{module.stem}\b", listed):
                missing.append(str(module.relative_to(ROOT)))
    assert missing == []
