"""Judges answers: whether the changes of a request were taken, refused, or are to be tried again.

A destination without rules is judged by the status alone. Rules are SQL, which DuckDB evaluates
for all answers that came together.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import duckdb

from cdpsync.destinations.delivery import limits
from cdpsync.destinations.delivery.connections import LONG_ANSWER
from cdpsync.engine import connect, first_line
from cdpsync.errors import ConfigError
from cdpsync.sql import quote_name, quote_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from cdpsync.destinations.delivery.connections import HttpAnswer
    from cdpsync.model.destinations import AnswerRules

_RETRIED = {408, 425, 429}
_FIRST_ERROR = 400
_KEPT = 4_096  # bytes of an answer in a dead letter
_SHOWN = 200  # characters of an answer in a message
_REMEMBERED = 1_000  # verdicts on answers that were the same


class Outcome(StrEnum):
    """What an answer means for the changes of its request."""

    TAKEN = "taken"
    PARTIAL = "partial"
    RETRY = "retry"
    REFUSED = "refused"
    TOO_LARGE = "too large"
    UNAUTHORIZED = "unauthorized"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class FailedItem:
    """An item that was not taken, by its index in the batch or by its own id.

    `again`: it may be taken another time.
    """

    by: int | str
    error: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, and what belongs to it. `delay`: the seconds that the answer asks to wait.

    `is_fault`: the destination itself failed, which counts against its health. `found`: the id of
    a record that was looked for.
    """

    outcome: Outcome
    error: str = ""
    delay: float | None = None
    failed: tuple[FailedItem, ...] = ()
    is_fault: bool = False
    found: str | None = None


TAKEN = Verdict(Outcome.TAKEN)


class Judge:
    """Judges the answers of one destination by its rules."""

    def __init__(self, rules: AnswerRules, location: str, find_id: str | None = None) -> None:
        """Bind the rules; raise ConfigError if one of them is wrong."""
        self._rules = rules
        expressions = {
            "unauthorized": rules.unauthorized,
            "done": rules.done,
            "partial": rules.partial,
            "failed": rules.failed,
            "retry": rules.retry,
            "drop": rules.drop,
            "ok": rules.ok,
            "retry_after": rules.retry_after,
            "found": find_id,
        }
        self._expressions = {name: text for name, text in expressions.items() if text is not None}
        self._sql = _Rules(self._expressions, location) if self._expressions else None
        self._remembered: dict[tuple[int, str, bytes, bytes], dict[str, Any]] = {}

    @property
    def reads_answers(self) -> bool:
        """Whether the rules look into the bodies of answers."""
        return self._sql is not None

    def close(self) -> None:
        """Close the connection of the rules."""
        if self._sql is not None:
            self._sql.close()

    def judge(self, answers: Sequence[HttpAnswer], now: datetime) -> list[Verdict]:
        """Return the verdict on each answer."""
        if self._sql is None:
            return [
                TAKEN if 200 <= a.status < 300 and a.error is None else self._judged(a, {}, now)
                for a in answers
            ]
        values = self._values(answers)
        return [self._judged(a, v, now) for a, v in zip(answers, values, strict=True)]

    def _values(self, answers: Sequence[HttpAnswer]) -> list[dict[str, Any]]:
        """Return the values of the rules for each answer, which are often the same."""
        assert self._sql is not None  # noqa: S101 - the caller has looked
        keys = [(a.status, a.method, a.body, self._sql.relevant_headers(a)) for a in answers]
        fresh = {
            key: answer
            for key, answer in zip(keys, answers, strict=True)
            if key not in self._remembered and answer.error is None
        }
        if fresh:
            if len(self._remembered) > _REMEMBERED:
                self._remembered.clear()
            values = self._sql.values(tuple(fresh.values()))
            self._remembered.update(zip(fresh, values, strict=True))
        return [self._remembered.get(key, {}) for key in keys]

    def _judged(self, answer: HttpAnswer, values: dict[str, Any], now: datetime) -> Verdict:
        status = answer.status
        if answer.error is not None:
            outcome = Outcome.REFUSED if answer.is_final else Outcome.RETRY
            return Verdict(outcome, answer.error, is_fault=not answer.is_final)
        if answer.is_cut and self._sql is not None and status < _FIRST_ERROR:
            return Verdict(Outcome.RETRY, f"{status} with more than {LONG_ANSWER >> 20} MB")
        if values.get("unauthorized"):
            return Verdict(Outcome.UNAUTHORIZED, described(answer))
        if values.get("done"):
            return TAKEN
        if values.get("partial"):
            failed = _failed_items(values.get("failed"), self._rules)
            if failed == () and status < _FIRST_ERROR:
                return TAKEN
            return Verdict(Outcome.PARTIAL, described(answer), failed=failed or ())
        is_retried = status in _RETRIED or status >= 500
        if values.get("retry") or (is_retried and not values.get("drop")):
            delay = values.get("retry_after")
            if delay is None or not delay >= 0:  # NaN is not either
                delay = limits.asked_delay(answer.headers, _json(answer.body), now)
            return Verdict(Outcome.RETRY, described(answer), delay, is_fault=status >= 500)
        if not values.get("drop") and self._is_ok(status, values):
            return Verdict(Outcome.TAKEN, found=values.get("found"))
        return Verdict(_refusal(status), described(answer))

    def _is_ok(self, status: int, values: dict[str, Any]) -> bool:
        return bool(values.get("ok")) if self._rules.ok is not None else 200 <= status < 300


def _refusal(status: int) -> Outcome:
    match status:
        case 401 | 403:
            return Outcome.UNAUTHORIZED
        case 410:
            return Outcome.GONE
        case 413:
            return Outcome.TOO_LARGE
        case _:
            return Outcome.REFUSED


def described(answer: HttpAnswer) -> str:
    """Return an answer on one line: its status and the beginning of its text."""
    if 300 <= answer.status < 400:
        target = answer.headers.get("location", "another address")
        return f"{answer.status}, a redirect to {target}, which is not followed: check the url"
    kind = answer.headers.get("content-type", "")
    text = " ".join(answer.body[:_KEPT].decode("utf-8", "replace").split())
    if "html" in kind.lower() or text[:15].lower().startswith(("<!doctype html", "<html")):
        return f"{answer.status} with a page of HTML, as a proxy or a login page answers"
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return f"{answer.status} {_printable(shown)}".rstrip()


def kept_text(answer: HttpAnswer) -> str:
    """Return the beginning of an answer, as a dead letter has it."""
    return answer.body[:_KEPT].decode("utf-8", "replace")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _failed_items(text: str | None, rules: AnswerRules) -> tuple[FailedItem, ...] | None:
    """Return the items that an answer names as failed; None if it names one in another form."""
    items = _json((text or "").encode())
    if not isinstance(items, list):
        return None
    failed = [_failed_item(item, rules) for item in items]
    known = tuple(item for item in failed if item is not None)
    return known if len(known) == len(failed) else None


def _failed_item(item: object, rules: AnswerRules) -> FailedItem | None:
    by = item if isinstance(item, int | str) else _at(item, rules.failed_by)
    if isinstance(by, str) and rules.failed_by.split(".")[-1] == "index" and by.isdigit():
        by = int(by)
    if isinstance(by, bool) or not isinstance(by, int | str):
        return None
    error = _at(item, rules.failed_error) if rules.failed_error else None
    again = _at(item, rules.failed_again) if rules.failed_again else False
    return FailedItem(by, _words(item if error is None else error), again in (True, "true"))


def _at(value: object, path: str) -> object:
    """Return the value at a path such as `context.id` or `$.errors[0].message`, or None."""
    for step in path.removeprefix("$").removeprefix(".").replace("[", ".").split("."):
        name = step.removesuffix("]").strip('"')
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def _words(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = _printable(" ".join(text.split()))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


_TYPES = {"failed": "varchar", "found": "varchar", "retry_after": "double"}
_MEMBER_TYPES = ("{}", "try_cast({} as double)", "try_cast({} as boolean)")
_MOST_MEMBERS = 4  # because each may be of each type
_GIVEN = ("status", "method", "response", "headers")


class _Rules:
    """Rules as queries over answers."""

    def __init__(self, expressions: dict[str, str], location: str) -> None:
        self._con = connect(threads=1)
        self._con.execute("set enable_external_access = false; set lock_configuration = true")
        self._queries = {
            name: self._query(name, text, location) for name, text in expressions.items()
        }
        self._reads_headers = any("headers" in text for text in expressions.values())

    def _query(self, name: str, text: str, location: str) -> str:
        """Return the query of a rule. Names that are no column are members of the answer.

        JSON does not say which type a rule expects, so the first that it takes is the one.
        """
        members = sorted(self._members(name, text, location))
        if len(members) > _MOST_MEMBERS:
            raise ConfigError(
                f"{location}: {name}: {text!r} names {len(members)} members of the answer, and may "
                f"name {_MOST_MEMBERS}. Use response->>'name' instead."
            )
        reason = ""
        for casts in itertools.product(_MEMBER_TYPES, repeat=len(members)):
            columns = "".join(
                f", {cast.format(_member(member))} as {quote_name(member)}"
                for cast, member in zip(casts, members, strict=True)
            )
            kind = _TYPES.get(name, "boolean")
            query = f"select ({text})::{kind} from (select *{columns} from given)"
            try:
                self._ask(query, [200], ["POST"], [None], ["{}"])
            except duckdb.Error as error:
                reason = reason or first_line(error)
            else:
                return query
        raise ConfigError(f"{location}: {name}: {text!r}: {reason}")

    def _members(self, name: str, text: str, location: str) -> set[str]:
        row = self._con.execute(
            f"select json_serialize_sql({quote_text(f'select ({text})')})"
        ).fetchone()
        tree: dict[str, Any] = json.loads(row[0]) if row else {}
        if tree.get("error", True) or len(tree["statements"]) != 1:
            reason = tree.get("error_message", "it is not an expression")
            raise ConfigError(f"{location}: {name}: {text!r} is not SQL: {reason}")
        return {names[0] for names in _column_names(tree) if names[0].lower() not in _GIVEN}

    def relevant_headers(self, answer: HttpAnswer) -> bytes:
        """Return the headers, if the rules look into them."""
        return answer.raw_headers if self._reads_headers else b""

    def values(self, answers: Sequence[HttpAnswer]) -> list[dict[str, Any]]:
        """Return the values of the rules; of an answer on which they fail, none."""
        bodies = [answer.body.decode("utf-8", "replace") for answer in answers]
        texts = [body if _json(body.encode()) is not None else None for body in bodies]
        headers = [json.dumps(a.headers) if self._reads_headers else "{}" for a in answers]
        statuses, methods = [a.status for a in answers], [a.method for a in answers]
        try:
            columns = [
                self._ask(query, statuses, methods, texts, headers)
                for query in self._queries.values()
            ]
        except duckdb.Error:
            if len(answers) == 1:
                return [{}]
            return [self.values((answer,))[0] for answer in answers]
        return [dict(zip(self._queries, row, strict=True)) for row in zip(*columns, strict=True)]

    def _ask(
        self,
        query: str,
        statuses: Sequence[int],
        methods: Sequence[str],
        responses: Sequence[str | None],
        headers: Sequence[str],
    ) -> list[Any]:
        """Return the values of a rule. Parameters would make DuckDB import numpy and pyarrow."""
        given = f"""
            select
                unnest({list(statuses)}::integer[]) as status,
                unnest({_texts(methods)}::varchar[]) as method,
                unnest({_texts(responses)}::varchar[])::json as response,
                unnest({_texts(headers)}::varchar[])::json as headers
        """
        rows = self._con.execute(f"with given as ({given}) {query}").fetchall()
        return [row[0] for row in rows]

    def close(self) -> None:
        """Close the connection of the rules."""
        self._con.close()


def _member(name: str) -> str:
    return f"(response ->> {quote_text('$.' + quote_name(name))})"


def _texts(values: Sequence[str | None]) -> str:
    return f"[{', '.join('null' if v is None else quote_text(v) for v in values)}]"


def _column_names(tree: object) -> Iterator[list[str]]:
    """Yield the names of columns in a statement that DuckDB parsed."""
    if isinstance(tree, dict):
        if tree.get("class") == "COLUMN_REF":
            yield tree["column_names"]
        for value in tree.values():
            yield from _column_names(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _column_names(value)
