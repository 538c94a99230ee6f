"""The public door: requests, conditions and texts over the relation `changes`."""

from __future__ import annotations

import pytest
from support.change_rows import Changes, body_of, text

from cdpsync.destinations.templates.compile import (
    Marks,
    compile_condition,
    compile_requests,
    compile_text,
)
from cdpsync.errors import ConfigError
from cdpsync.model.destinations import FindTemplate, RequestTemplate


@pytest.fixture
def shop() -> Changes:
    """Two orders, of which the second has no e-mail address."""
    return Changes(
        """
        select {'id': 1, 'email': 'a@b.c', 'total': 9.50::decimal(10, 2), 'status': 'paid'}
        union all select {'id': 2, 'email': null, 'total': 20, 'status': 'open'}
        """,
        alias="Profile",
    )


def test_seed_example_works(shop: Changes) -> None:
    """The row has the name that `from: … as Profile` gives it, and a default where it is NULL."""
    body = {"to": '{{ Profile.Email | default: "test@gmail.com" }}'}
    assert shop.values(body) == [{"to": "a@b.c"}, {"to": "test@gmail.com"}]


def test_row_in_which_an_expression_fails_is_told_apart(shop: Changes) -> None:
    """One bad row does not stop the others."""
    rows = shop.rendered({"n": "{{ coalesce(email, '7')::int }}"})
    assert [row["error"] for row in rows] == [
        "cdpsync.yml:3: {{ coalesce(email, '7')::int }} fails for this row",
        None,
    ]
    assert rows[1]["body"] == '{"n":7}'


def test_what_all_rows_share_is_text(shop: Changes) -> None:
    """A body without expressions is in no row."""
    compiled = shop.compile({"a": 1, "b": ["x", None, True]})
    assert compiled.steps[""].body == '{"a":1,"b":["x",null,true]}'
    assert compiled.columns == ()


def test_batch_has_items_and_the_text_around_them(shop: Changes) -> None:
    """The body of a batch is put together from text and items alone."""
    request = RequestTemplate(
        "POST",
        text("https://example.com/"),
        body=body_of({"sent": "{{ 1 + 1 }}", "batch": "{{ items }}", "end": True}),
        item=body_of({"id": "{{ id }}"}),
    )
    compiled = compile_requests(shop.row, request)
    step = compiled.steps[""]
    assert step.around == ('{"sent":2,"batch":[', '],"end":true}')
    assert step.separator == ","
    assert [row["body"] for row in shop.rows(compiled)] == ['{"id":1}', '{"id":2}']


def test_expression_that_names_no_row_is_computed_for_a_batch(shop: Changes) -> None:
    """The URL, the headers and the body of a batch may have the time, say."""
    request = RequestTemplate(
        "POST",
        text("https://example.com/{{ 1 + 1 }}"),
        headers={"X-A": text("{{ 'b' | upcase }}"), "X-B": text("c")},
        item=body_of({"id": "{{ id }}"}),
    )
    compiled = compile_requests(shop.row, request)
    assert compiled.steps[""].url == "https://example.com/2"
    assert compiled.steps[""].headers == {"X-A": "B", "X-B": "c"}
    assert compiled.columns == ("body",)


def test_batch_without_a_body_is_an_array(shop: Changes) -> None:
    """With `batch`, a body is what one row has."""
    compiled = shop.compile({"id": "{{ id }}"}, batched=True)
    assert compiled.steps[""].around == ("[", "]")


@pytest.mark.parametrize(
    ("url", "body"),
    [("https://example.com/{{ id }}", "{{ items }}"), ("https://example.com/", "{{ id }}")],
)
def test_batch_does_not_name_a_row_outside_its_items(shop: Changes, url: str, body: str) -> None:
    """One request for many rows cannot depend on one of them."""
    request = RequestTemplate(
        "POST", text(url), body=body_of({"a": body}), item=body_of({"id": "{{ id }}"})
    )
    with pytest.raises(ConfigError, match="so this goes into `item`"):
        compile_requests(shop.row, request)


def test_search_has_three_requests_and_a_mark_for_the_id(shop: Changes) -> None:
    """The id that a search finds is put in when the request is sent."""
    search = FindTemplate(
        request=RequestTemplate(
            "POST", text("https://example.com/search"), body=body_of({"q": "{{ email }}"})
        ),
        id="response->>'id'",
        create=RequestTemplate("POST", text("https://example.com/c"), body=body_of("{{ row }}")),
        update=RequestTemplate(
            "PUT", text("https://example.com/c/{{ found }}"), body=body_of({"id": "{{ found }}"})
        ),
    )
    compiled = compile_requests(shop.row, search)
    assert list(compiled.steps) == ["find_", "create_", "update_"]
    assert compiled.steps["update_"].url == f"https://example.com/c/{compiled.found}"
    assert compiled.steps["update_"].body == f'{{"id":"{compiled.found}"}}'
    assert shop.rows(compiled)[0]["find_body"] == '{"q":"a@b.c"}'


def test_found_is_no_part_of_an_expression(shop: Changes) -> None:
    """Its value is not known while SQL is run."""
    update = RequestTemplate("PUT", text("https://example.com/{{ found | upcase }}"))
    other = RequestTemplate("GET", text("https://example.com/"))
    with pytest.raises(ConfigError, match="known only when the request is sent"):
        compile_requests(shop.row, FindTemplate(other, "id", other, update))


def test_changes_may_be_a_query(shop: Changes) -> None:
    """What is sent may be a part of the changes."""
    compiled = shop.compile({"id": "{{ id + 1 }}"})
    query = compiled.select("(select * from changes where ord = 2)")
    assert shop.con.execute(f"select body from ({query})").fetchall() == [('{"id":3}',)]


def test_condition_is_true_or_false(shop: Changes) -> None:
    """NULL is false, and a row in which the condition fails is kept for its error."""
    kept = "select ord from changes where {} order by ord"
    where = compile_condition(shop.row, text("email like '%@%'"))
    assert shop.con.execute(kept.format(where)).fetchall() == [(1,)]
    failing = compile_condition(shop.row, text("id = 1 and email::int = 1"))
    assert shop.con.execute(kept.format(failing)).fetchall() == [(1,)]
    rows = shop.rendered({"id": "{{ id }}"}, where=text("id = 1 and email::int = 1"))
    assert [row["error"] for row in rows] == ["cdpsync.yml:3: where: it fails for this row", None]


def test_condition_of_the_old_image() -> None:
    """A row leaves `where` when the condition held for its old image."""
    changes = Changes("select {'id': 1, 'status': 'open'}", old="{'id': 1, 'status': 'paid'}")
    for image, expected in (("row", []), ("old", [(1,)])):
        where = compile_condition(changes.row, text("status = 'paid'"), image=image)
        query = f"select ord from changes where {where}"
        assert changes.con.execute(query).fetchall() == expected


def test_condition_that_is_no_condition_is_refused(shop: Changes) -> None:
    """A number is neither true nor false."""
    with pytest.raises(ConfigError, match=r"^cdpsync.yml:3: .* is true or false, and .* INTEGER"):
        compile_condition(shop.row, text("id"))


def test_text_is_one_expression_over_changes(shop: Changes) -> None:
    """A mask's text is SQL in one piece."""
    sql = compile_text(shop.row, text("{{ id | plus: 1 }}-{{ status }}"))
    query = f"select {sql} from changes order by ord"
    assert shop.con.execute(query).fetchall() == [("2-paid",), ("3-open",)]


def test_all_wrong_expressions_are_told_at_once(shop: Changes) -> None:
    """One line for each, with its place, its text, the reason and what to do."""
    with pytest.raises(ConfigError) as error:
        shop.compile({"a": "{{ emial }}", "b": "{{ id | upcas }}", "c": "{{ id + }}"})
    hint = '"emial". Did you mean "email"?'
    columns = "The row has id, email, total, status"
    assert error.value.message.splitlines() == [
        f"cdpsync.yml:3: {{{{ emial }}}}: there is no column {hint} {columns}",
        'cdpsync.yml:3: {{ id | upcas }}: there is no filter "upcas". Did you mean "upcase"?',
        "cdpsync.yml:3: {{ id + }}: syntax error at end of input",
    ]


def test_secrets_are_in_no_statement(shop: Changes) -> None:
    """A mark stands for a value from outside, in the URL, in headers and in the body."""
    request = RequestTemplate(
        "POST",
        text("https://example.com/\0/{{ id }}", "hush-url"),
        headers={"Authorization": text("Bearer \0", "hush-header"), "X": text("{{ id }}\0", "h3")},
        body={"key": text("\0", "hush-body"), "id": text("{{ id }} \0", "hush-text")},
        basic=(text("\0", "hush-user"), text("\0", "hush-password")),
    )
    compiled = compile_requests(shop.row, request)
    rows = shop.rows(compiled)
    assert set(compiled.marks.values()) == {
        "hush-url", "hush-header", "h3", "hush-body", "hush-text", "hush-user", "hush-password",
    }  # fmt: skip
    for visible in (compiled.select(), repr(compiled), str(rows)):
        assert "hush" not in visible
    mark = next(mark for mark, value in compiled.marks.items() if value == "hush-text")
    assert rows[0]["body"].endswith(f'"id":"1 {mark}"}}')


def test_marks_stay_where_they_are_when_a_secret_changes(shop: Changes) -> None:
    """An outbox that waits gets the new values, each at its place."""
    compiled = []
    for values in (("same", "same"), ("new", "other")):
        body = {"a": text("\0", values[0]), "b": text("{{ id }} \0", values[1])}
        compiled.append(shop.compile(body, marks=Marks("nonce")))
    before, after = compiled
    assert before.select() == after.select()
    assert list(before.marks) == list(after.marks)
    assert list(after.marks.values()) == ["new", "other"]


def test_row_cannot_forge_a_mark() -> None:
    """A row that has the mark of another outbox, or looks like one, is text as any other."""
    old = Marks()
    mark = old.of("hush")
    changes = Changes(f"select {{'id': '{mark}'}}")
    compiled = changes.compile({"id": text("{{ id }}"), "key": text("\0", "hush")})
    assert mark not in compiled.marks
    assert changes.rows(compiled)[0]["body"].startswith(f'{{"id":"{mark}"')
