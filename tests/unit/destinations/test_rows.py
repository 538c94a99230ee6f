"""Names of a row: whatever its columns are called, each is reached, and covers nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.change_rows import Changes

from cdpsync.errors import ConfigError
from cdpsync.sql import quote_name, quote_text


def test_names_of_a_change_come_before_columns_of_the_same_name() -> None:
    """`row.x` and the alias reach a column that another name covers."""
    columns = ("row", "old", "change", "event_id", "snapshot_id", "changed_at", "p", "changes")
    fields = ", ".join(f"{quote_text(name)}: {quote_text('own ' + name)}" for name in columns)
    changes = Changes(f"select {{{fields}}}", alias="p")
    body = {name: f"{{{{ row.{name} }}}}" for name in columns}
    assert changes.values(body) == [{name: f"own {name}" for name in columns}]
    assert changes.values(["{{ p.change }}", "{{ p.p }}", "{{ p.old }}", "{{ changes }}"]) == [
        ["own change", "own p", "own old", "own changes"]
    ]
    assert changes.values(["{{ change }}", "{{ snapshot_id }}", "{{ old }}"]) == [
        ["update", 7, None]
    ]


def test_old_image() -> None:
    """`old` is the row as it was; a new row has none."""
    changes = Changes("select {'id': 1, 'n': 'new'}", old="{'id': 1, 'n': 'old'}")
    body = {"now": "{{ n }}", "before": "{{ old.n }}", "all": "{{ old }}"}
    assert changes.values(body) == [{"now": "new", "before": "old", "all": {"id": 1, "n": "old"}}]
    assert Changes("select {'id': 1}").values("{{ old.id }}") == [None]


def test_unknown_names_are_told_with_those_that_exist() -> None:
    """Of many columns, the first twenty."""
    fields = ", ".join(f"'column_{n}': {n}" for n in range(30))
    with pytest.raises(ConfigError, match=r"there is no column \"b\".* column_19 and 10 more$"):
        Changes(f"select {{{fields}}}").compile("{{ row.b }}")
    with pytest.raises(ConfigError, match=r'there is no column "x"'):
        Changes("select {'id': 1}").compile("{{ old.x }}")
    with pytest.raises(ConfigError, match=r"^cdpsync.yml:3: \{\{ id.x \}\}: "):
        Changes("select {'id': 1}").compile("{{ id.x }}")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
        min_size=1,
        max_size=3,
        unique_by=lambda name: name.casefold(),
    )
)
def test_any_name_is_only_a_name(names: list[str]) -> None:
    """Quoted as SQL quotes names, each column is reached, and the row has its name in JSON."""
    fields = ", ".join(f"{quote_name(name)} := {n}" for n, name in enumerate(names))
    changes = Changes(f"select struct_pack({fields})")
    expected = {name: n for n, name in enumerate(names)}
    assert changes.values("{{ row }}") == [expected]
    body = ["{{ row." + quote_name(name) + " }}" for name in names]
    assert changes.values(body) == [list(expected.values())]
