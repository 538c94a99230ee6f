"""Answers: what they mean, by their status and by rules."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdpsync.destinations.delivery.answers import FailedItem, Judge, Outcome, Verdict
from cdpsync.destinations.delivery.connections import HttpAnswer
from cdpsync.errors import ConfigError
from cdpsync.model.destinations import AnswerRules

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def answer(status: int, body: object = None, headers: str = "") -> HttpAnswer:
    text = b"" if body is None else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} Said\r\n{headers}\r\n\r\n".encode()
    return HttpAnswer(status, text, head, 0.01)


def judged(rules: AnswerRules, *answers: HttpAnswer) -> list[Verdict]:
    return Judge(rules, "p.yml:3").judge(answers, NOW)


@pytest.mark.parametrize(
    ("status", "outcome", "is_fault"),
    [
        (200, Outcome.TAKEN, False),
        (204, Outcome.TAKEN, False),
        (299, Outcome.TAKEN, False),
        (301, Outcome.REFUSED, False),
        (400, Outcome.REFUSED, False),
        (404, Outcome.REFUSED, False),
        (401, Outcome.UNAUTHORIZED, False),
        (403, Outcome.UNAUTHORIZED, False),
        (408, Outcome.RETRY, False),
        (409, Outcome.REFUSED, False),
        (410, Outcome.GONE, False),
        (413, Outcome.TOO_LARGE, False),
        (422, Outcome.REFUSED, False),
        (425, Outcome.RETRY, False),
        (429, Outcome.RETRY, False),
        (500, Outcome.RETRY, True),
        (503, Outcome.RETRY, True),
        (599, Outcome.RETRY, True),
    ],
)
def test_statuses(status: int, outcome: Outcome, is_fault: bool) -> None:
    """Without rules, the status says it all; the rows' faults do not count against health."""
    (verdict,) = judged(AnswerRules(), answer(status))
    assert (verdict.outcome, verdict.is_fault) == (outcome, is_fault)


def test_rules_come_before_the_status() -> None:
    """Each of them, in its order."""
    rules = AnswerRules(
        ok="status = 200 and code = 0", retry="code = 7", done="status = 409", drop="code = 9"
    )
    outcomes = [
        verdict.outcome
        for verdict in judged(
            rules,
            answer(200, {"code": 0}),
            answer(200, {"code": 1}),
            answer(200, {"code": 7}),
            answer(409),
            answer(503, {"code": 9}),
            answer(200),
            answer(200, "text"),
            answer(500, {"code": 0}),
        )
    ]
    assert outcomes == [
        Outcome.TAKEN,
        Outcome.REFUSED,
        Outcome.RETRY,
        Outcome.TAKEN,
        Outcome.REFUSED,
        Outcome.REFUSED,
        Outcome.REFUSED,
        Outcome.RETRY,
    ]


@pytest.mark.parametrize(
    ("rule", "body"),
    [
        ("ok", {"ok": True}),
        ("ok = true", {"ok": True}),
        ("not failed", {"failed": False}),
        ("status_text = 'done'", {"status_text": "done"}),
        ("n >= 0 and n < 10", {"n": 9}),
        ("json_array_length(errors) = 0", {"errors": []}),
        ("(response->>'$.a.b') = 'x'", {"a": {"b": "x"}}),
        ("coalesce(errors, '[]') = '[]'", {"other": 1}),
        ('"odd name" = 1', {"odd name": 1}),
    ],
)
def test_members_of_an_answer_are_names(rule: str, body: object) -> None:
    """Of the type that the rule expects."""
    (verdict,) = judged(AnswerRules(ok=rule), answer(200, body))
    assert verdict.outcome is Outcome.TAKEN


def test_headers_are_json() -> None:
    """With names in lower case."""
    rules = AnswerRules(
        ok="(headers->>'x-result') = 'taken'", retry_after="(headers->>'x-wait')::int"
    )
    taken, waits = judged(rules, answer(200, {}, "X-Result: taken"), answer(429, {}, "X-Wait: 17"))
    assert taken.outcome is Outcome.TAKEN
    assert waits.delay == 17


@pytest.mark.parametrize("wait", ["-5", "nan", "x", None])
def test_rule_that_gives_no_time(wait: str | None) -> None:
    """Then the headers that all know count."""
    rules = AnswerRules(retry_after="try_cast(wait as double)")
    (verdict,) = judged(rules, answer(429, {"wait": wait}, "Retry-After: 9"))
    assert verdict.delay == 9


@pytest.mark.parametrize(
    ("failed", "by", "items"),
    [
        ([{"index": 2, "m": "bad"}], "index", [FailedItem(2, "bad")]),
        ([{"index": "2", "m": "bad"}], "index", [FailedItem(2, "bad")]),
        ([{"context": {"index": 1}, "m": "x"}], "context.index", [FailedItem(1, "x")]),
        ([0, 3], "index", [FailedItem(0, "0"), FailedItem(3, "3")]),
        ([{"id": 'a"b', "m": "x y"}], "id", [FailedItem('a"b', "x y")]),
        ([{"e": [{"id": "u1"}]}], "e[0].id", [FailedItem("u1", '{"e": [{"id": "u1"}]}')]),
        ([{"other": 1}], "index", []),
        ([{"index": 1}, {"other": 1}], "index", []),
        ({"index": 1}, "index", []),
        (None, "index", []),
    ],
)
def test_failed_items(failed: object, by: str, items: list[FailedItem]) -> None:
    """By index or id, under any path; another form names none."""
    rules = AnswerRules(partial="true", failed="failed", failed_by=by, failed_error="m")
    (verdict,) = judged(rules, answer(207, {"failed": failed}))
    assert (verdict.outcome, list(verdict.failed)) == (Outcome.PARTIAL, items)


@pytest.mark.parametrize(("status", "outcome"), [(207, Outcome.TAKEN), (400, Outcome.PARTIAL)])
def test_answer_that_names_no_failed_item(status: int, outcome: Outcome) -> None:
    """An empty list in a success means that all were taken."""
    (verdict,) = judged(
        AnswerRules(partial="true", failed="failed"), answer(status, {"failed": []})
    )
    assert verdict.outcome is outcome


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("status =", r"p.yml:3: ok: 'status =' is not SQL"),
        ("nothing(status)", r"p.yml:3: ok: 'nothing\(status\)': .*nothing"),
        ("1; drop table x", r"is not SQL|p.yml:3"),
        ("read_text('/etc/passwd') = ''", r"p.yml:3: ok"),
        ("(select content from read_text('/etc/hosts')) = ''", r"p.yml:3: ok"),
        ("a = 1 and b = 2 and c = 3 and d = 4 and e = 5", r"names 5 members"),
    ],
)
def test_wrong_rule(rule: str, message: str) -> None:
    """The line of the file, the rule and the reason are named before anything is sent."""
    with pytest.raises(ConfigError, match=message):
        Judge(AnswerRules(ok=rule), "p.yml:3")


RULES = AnswerRules(
    ok="status = 200 and ok",
    partial="json_array_length(errors) > 0",
    failed="errors",
    failed_by="at.index",
    failed_error="message",
    retry="code = 7 or error = 'ratelimited'",
    retry_after="(response->>'$.wait')::double",
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["ok", "errors", "code", "error", "wait", "at", "index", "retry_after"])
            | st.text(max_size=3),
            children,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def strict() -> Judge:
    return Judge(RULES, "p.yml:3")


@settings(deadline=None)
@given(
    status=st.sampled_from([200, 201, 207, 302, 400, 401, 404, 410, 413, 429, 500, 999]),
    body=JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=30),
    head=st.binary(max_size=40),
)
def test_any_answer_has_a_verdict(strict: Judge, status: int, body: bytes, head: bytes) -> None:
    """Whatever JSON, bytes or headers a server sends; its message is one printable line."""
    raw = HttpAnswer(status, body, b"HTTP/1.1 200 OK\r\n" + head, 0.1)
    for judge in (strict, Judge(AnswerRules(), "p.yml:3")):
        (verdict,) = judge.judge([raw], NOW)
        assert verdict.error.isprintable()
        assert verdict.delay is None or verdict.delay >= 0
        assert all(item.error.isprintable() for item in verdict.failed)


def test_message_is_one_printable_line() -> None:
    """Whatever the answer has in it."""
    raw = HttpAnswer(400, b"a\r\nb\x1b[31mred\x00" + b"x" * 9_000, b"HTTP/1.1 400 X\r\n\r\n", 0.1)
    (verdict,) = judged(AnswerRules(), raw)
    assert verdict.error.startswith("400 a b?[31mred?xxx")
    assert len(verdict.error) < 250
    assert verdict.error.isprintable()


def test_equal_answers_are_judged_once() -> None:
    """Most answers are the same, and a rule takes longer than a request."""
    judge = Judge(AnswerRules(ok="status = 200 and n = 1"), "p.yml:3")
    assert judge._sql is not None
    asked: list[int] = []
    values = judge._sql.values
    judge._sql.values = lambda answers: asked.append(len(answers)) or values(answers)  # type: ignore[method-assign,func-returns-value]  # counts the calls
    for _ in range(5):
        verdicts = judge.judge([answer(200, {"n": 1})] * 10, NOW)
        assert {verdict.outcome for verdict in verdicts} == {Outcome.TAKEN}
    assert asked == [1]
