"""Expressions: one value of one row, and nothing else."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.change_rows import Changes

from cdpsync.destinations.templates.rows import Names
from cdpsync.destinations.templates.sandbox import row_functions, sandbox
from cdpsync.destinations.templates.syntax import (
    ExpressionError,
    parse,
    to_sql,
    with_barriers,
    with_names,
)
from cdpsync.errors import ConfigError

ATTACKS = [
    "(select 1)",
    "exists (select 1)",
    "id in (select 2)",
    "(select content from read_text('/etc/passwd'))",
    "read_text('/etc/passwd')",
    "read_blob('/etc/passwd')",
    "read_csv('/etc/passwd')",
    "getenv('HOME')",
    "current_setting('memory_limit')",
    "getvariable('x')",
    "duckdb_secrets()",
    "which_secret('s3://x', 's3')",
    "nextval('x')",
    "sleep_ms(1000)",
    "write_log('x')",
    "error('x')",
    "random()",
    "uuid()",
    "pg_sleep(1)",
    "version()",
    "current_database()",
    "json_serialize_sql('select 1')",
    "query('select 1')",
    "main.upper(email); drop table changes",
    "1; attach 'x.db'",
    "1; copy changes to '/tmp/x'",
    "1) from range(3) t(id) where (true",
    "1), (2",
    "1) union select (2",
    "1 limit 1",
    "distinct 1",
    "1 as x",
    "*",
    "changes.*",
    "columns(*)",
    "count(*)",
    "sum(id)",
    "max(id) over ()",
    "row_number() over ()",
    "list(id)",
    "string_agg(email, ',')",
    "unnest([1, 2])",
    "$1",
    "?",
    "#1",
    "default",
    "grouping(id)",
    "row(1, 2)",
    "system.main.upper(email)",
    "lake.main.x(email)",
    "/* open",
    "attach 'x'",
    "set x = 1",
    "pragma version",
    "values (1)",
    "from changes",
    "",
]

EXPRESSIONS = [
    ("id + 1", 3),
    ("-id", -2),
    ("id::varchar || '!'", "2!"),
    ("upper(email)", "A'B@C.D"),
    ("email like '%@%'", True),
    ("email not ilike 'A%'", False),
    ("email ~ '.*@.*'", True),
    ("case when id > 1 then 'many' else 'one' end", "many"),
    ("if(id = 2, 'two', 'other')", "two"),
    ("coalesce(nothing, ifnull(nothing, 5))", 5),
    ("nullif(id, 2)", None),
    ("id between 1 and 3 and id in (1, 2)", True),
    ("nothing is null and id is not null", True),
    ("tags[1]", "x"),
    ("tags[-1:]", ["y"]),
    ("list_transform(tags, lambda tag: upper(tag))", ["X", "Y"]),
    ("list_filter(tags, lambda tag, index: index > 1)", ["y"]),
    ("[tag || id::varchar for tag in tags if tag <> 'x']", ["y2"]),
    ("list_reduce([1, 2, 3], lambda a, b: a + b)", 6),
    ("{'a': {'b': id}}", {"a": {"b": 2}}),
    ("{'s': epoch_s(created), 'i': iso(created)[:4]}", {"s": 1767225600, "i": "2026"}),
    ("map {'a': id}", {"a": 2}),
    ("address.city", "Bern"),
    ("address['city']", "Bern"),
    ("row.address.city", "Bern"),
    ("properties.plan.name", "pro"),
    ("properties->'$.plan'->>'name'", "pro"),
    ("properties->>'plan'", '{"name":"pro"}'),
    ("json_extract_string(properties, '$.plan.name')", "pro"),
    ("extract(year from created)", 2026),
    ("date_trunc('month', created)::date::varchar", "2026-01-01"),
    ("created + interval '1 day' > created", True),
    ("created at time zone 'Europe/Berlin' = timestamp '2026-01-01 01:00:00'", True),
    ("date '2026-02-01' - created::date", 31),
    ("cast('1.10' as decimal(4, 2)) * 2", 2.2),
    ("try_cast(email as integer)", None),
    ("'a }} b'", "a }} b"),
    ("'{{ {% -- /* | '' \"'", "{{ {% -- /* | ' \""),
    ("e'a\\'b'", "a'b"),
    ("(6 | 1)", 7),
    ("order", 9),
    ("row.order + old.id", None),
    ('"two words"', 1),
    ('row."two words"', 1),
    ("epoch_ms(created)", 1767225600000),
    ("lower_sha256('  A ')", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
    ("change", "update"),
    ("snapshot_id", 7),
    ("iso(changed_at)", "2026-01-02T03:04:05.000000Z"),
    ("md5(email)", "66815a78608e8a23937feb5c5ab2577e"),
]  # fmt: skip


@pytest.fixture(scope="module")
def shop() -> Changes:
    """One row with a column of each kind that expressions treat in their own way."""
    return Changes(
        """
        select {
            'id': 2, 'email': 'a''b@c.d', 'nothing': null::integer, 'tags': ['x', 'y'],
            'address': {'city': 'Bern'}, 'properties': '{"plan": {"name": "pro"}}'::json,
            'created': timestamptz '2026-01-01 00:00:00Z', 'order': 9, 'two words': 1
        }
        """
    )


@pytest.mark.parametrize("attack", ATTACKS)
def test_expression_is_one_value_of_one_row(shop: Changes, attack: str) -> None:
    """Queries, statements, functions of the session and of many rows are refused by one line."""
    with pytest.raises(ConfigError, match=r"^cdpsync\.yml:3: \{\{ .*\}\}: [^\n]+$"):
        shop.compile({"v": "{{ " + attack + " }}"})


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS)
def test_expression_is_plain_sql(shop: Changes, expression: str, expected: object) -> None:
    """Whatever DuckDB computes from a row goes into a body."""
    (value,) = shop.values({"v": "{{ " + expression + " }}"})
    got = value["v"]
    assert (float(got) if isinstance(expected, float) else got) == expected


def test_sandbox_reaches_nothing() -> None:
    """What binds expressions has no files, no network, and settings that stay."""
    with sandbox() as con:
        for statement in (
            f"select content from read_text('{Path(__file__)}')",
            "attach 'x.db'",
            "copy (select 1) to 'x.csv'",
            "set enable_external_access = true",
            "set lock_configuration = false",
            "install httpfs",
        ):
            with pytest.raises(duckdb.Error):
                con.execute(statement)


def test_functions_of_a_row_reach_nothing() -> None:
    """No function of the list reads files, settings, secrets or time that goes on."""
    for name in row_functions():
        assert not any(
            part in name
            for part in ("read_", "scan", "glob", "getenv", "setting", "secret", "sleep", "nextval")
        ), name


def test_cast_of_a_column_that_fails_stays_in_its_row() -> None:
    """DuckDB moves casts of a struct's fields into its scan, where TRY does not hold them."""
    changes = Changes(
        "select {'v': 'x', 's': {'w': 'x'}, 't': 'x'} "
        "union all select {'v': '5', 's': {'w': '6'}, 't': '2026-01-01'}"
    )
    body = {"a": "{{ v::integer }}", "b": "{{ s.w = 6 }}", "c": "{{ t | date: '%d' }}"}
    for key, expected in (("a", "5"), ("b", "true"), ("c", '"01"')):
        rows = changes.rendered({"v": body[key]})
        assert rows[0]["error"] == f"cdpsync.yml:3: {body[key]} fails for this row"
        assert (rows[1]["error"], rows[1]["body"]) == (None, f'{{"v":{expected}}}')


SAME = [
    "email like 'a!%' escape '!'",
    "[id]::varchar[]",
    "[1, 2, 3][2:]",
    "1e10 + 0.1",
    "1e-5",
    "1.5e300 * 2",
    "1e0::integer",
    "-1 - -id",
    "170141183460469231731687303715884105727",
    "0.12345678901234567890123456789",
    "interval 2 day + created",
    "id is not distinct from 2",
    "not (id = 1 or id = 3) and true",
    "date_diff('day', date '2026-01-01', created::date)",
    "strptime('2026', '%Y')",
    "{'a': [1, null], 'b': map {'k': {'c': 1.10}}}",
    "struct_extract(address, 'city')",
    "cast('{\"a\": 1}' as struct(a integer))",
    "['1', '2']::integer[]",
    "'ä😀' || chr(0)",
    "email collate nocase = 'A''B@C.D'",
    "position('@' in email)",
    "substring(email from 2 for 3)",
    "left(email, 1)",
    "id ** 2 % 3 // 1",
    "case id when 1 then 'a' when 2 then 'b' end",
    "greatest(id, 1) << 2",
    "null::decimal(5, 2)",
    "try_cast('x' as date)",
    "'x' in ('x', null)",
    "list_sort([3, 1], 'desc')",
    "len(tags)",
    "tags @> ['x']",
    "created at time zone 'UTC'",
    "email ^@ 'A'",
    "~id",
    "id != 3",
    "regexp_replace(email, '(.)@', '\\\\1!')",
    "printf('%05d', id)",
    "format('{} {:.1f}', email, 1.25)",
    "time '10:00' > time '09:00'",
    "'a' < 'b' and 1 <> 2",
]


@pytest.mark.parametrize("expression", SAME)
def test_expression_is_what_duckdb_computes(shop: Changes, expression: str) -> None:
    """The SQL that is run gives the value of the SQL that was written."""
    names = Names(shop.row, None)
    sql = to_sql(with_barriers(with_names(parse(expression), names.resolve), "changes"))
    same = f"select {sql} is not distinct from written, typeof({sql}) = typeof(written)"
    written = f'(select "row", ({expression}) as written from (select "row", "row".* from changes))'
    assert shop.con.execute(f"{same} from {written} as changes").fetchall() == [(True, True)]


NAMES = st.sampled_from(
    ["id", "email", "nothing", "tags", "row", "old.id", "change", '"two words"']
)
PARTS = st.one_of(
    NAMES,
    st.integers(0, 9).map(str),
    st.text("ab'\"|{}-/*;$%", max_size=4).map(lambda text: "'" + text.replace("'", "''") + "'"),
)


@settings(max_examples=150, deadline=None)
@given(st.recursive(PARTS, lambda inner: st.one_of(
    st.tuples(inner, st.sampled_from(["||", "=", "is distinct from", "and"]), inner).map(
        lambda parts: f"({' '.join(parts)})"
    ),
    inner.map(lambda part: f"coalesce({part}, null)"),
    inner.map(lambda part: f"[{part}]"),
    inner.map(lambda part: f"{{'k': {part}}}"),
), max_leaves=6))  # fmt: skip
def test_tree_written_again_is_the_same_tree(expression: str) -> None:
    """What DuckDB writes is what it has parsed."""
    tree = with_names(parse(expression), lambda name: name)
    written = to_sql(tree)
    assert to_sql(with_names(parse(written), lambda name: name)) == written


@settings(max_examples=300, deadline=None)
@given(st.text("idx'\"()[]{}|;,-/*$#\\ \n", max_size=14))
def test_any_text_is_an_expression_or_an_error(text: str) -> None:
    """No text makes the parser do anything else."""
    try:
        parse(text)
        lines = [text]
    except ExpressionError as error:
        lines = str(error).splitlines()
    assert len(lines) == 1


def test_column_with_the_name_of_a_word_of_sql() -> None:
    """Alone it is the column. In an expression the error names the way to write it."""
    changes = Changes("select {'order': 1, 'to': 2}")
    assert changes.values({"o": "{{ order }}", "t": "{{ row.to + 1 }}"}) == [{"o": 1, "t": 3}]
    with pytest.raises(ConfigError, match=r'"to" is a word of SQL: write row.to$'):
        changes.compile({"t": "{{ 1 + to }}"})
