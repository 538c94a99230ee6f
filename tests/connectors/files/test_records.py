"""The records of a CSV text, read by its signs: whole, and with work that is linear."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cdpsync_connectors.files import records
from cdpsync_connectors.files.records import RecordRules, read_lines, read_records

if TYPE_CHECKING:
    import re


class CountingPattern:
    """A pattern that counts the characters of the texts that it is given."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern = pattern
        self.characters = 0

    def match(self, text: str, position: int) -> re.Match[str] | None:
        self.characters += len(text)
        return self.pattern.match(text, position)


@pytest.mark.parametrize("escape", ["", "\\"])
@pytest.mark.parametrize("longest", [1 << 24, 1000])
def test_quote_that_is_never_closed_is_read_in_linear_work(monkeypatch, escape, longest):
    """Each line is looked at twice at most, also where fields in quotes follow, and each lands."""
    monkeypatch.setattr(records, "_LONGEST", longest)
    rules = RecordRules(",", escape=escape)
    quoted = '"x"' if escape else '""'
    lines = ['1,"a\n', *[f"{number},b\n" for number in range(2000)], f"3,{quoted}\n"]
    if escape:
        lines[-1] = "3,\\x\n"
    pattern = CountingPattern(records._quoted_pattern(rules))
    monkeypatch.setattr(records, "_quoted_pattern", lambda _rules: pattern)
    read = list(read_records(["".join(lines)], rules))
    assert [record.text for record in read] == lines
    assert [record.line for record in read] == list(range(1, len(lines) + 1))
    assert read[0].fault == "a quote is not closed"
    assert not any(record.fault for record in read[1:])
    assert pattern.characters <= 2 * len("".join(lines))


def test_lines_over_several_blocks():
    """A line end may be divided by blocks, and a line may be longer than many of them."""
    text = "ab\r\n\r\nc\rd\n\n" + "e" * 20 + "\r"
    expected = ["ab\r\n", "\r\n", "c\r", "d\n", "\n", "e" * 20 + "\r"]
    for size in range(1, len(text) + 1):
        blocks = [text[start : start + size] for start in range(0, len(text), size)]
        assert list(read_lines(blocks)) == expected
        assert list(read_lines(["", *blocks, ""])) == expected
    assert list(read_lines(["a", "b"])) == ["ab"]
    assert list(read_lines([])) == []
