"""Tests of docs/guarantees.md: each claim links to its test."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def test_every_claim_links_to_a_test_that_exists() -> None:
    """Every link leads to a file, and every section but the last names a test."""
    page = (DOCS / "guarantees.md").read_text()
    links = re.findall(r"\]\(([^)#]+)\)", page)
    assert links
    assert [link for link in links if not (DOCS / link).is_file()] == []
    *claims, _ = page.split("\n## ")[1:]
    assert [claim.split("\n")[0] for claim in claims if "/test_" not in claim] == []
