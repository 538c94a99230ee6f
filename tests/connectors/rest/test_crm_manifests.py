"""The shipped manifests, each against a server written from its API's documentation.

Every record arrives, changes from a cursor on are asked for as documented and lose none, a rate
limit is waited for, and a wrong token is one line.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from support.api_chargebee import chargebee
from support.api_github import github
from support.api_hubspot import hubspot
from support.api_intercom import intercom
from support.api_linear import linear
from support.api_reading import read, since, source
from support.api_revenuecat import revenuecat
from support.api_salesforce import salesforce
from support.api_server import ApiRequest, Number, Reply, serving, written
from support.api_system import at, milliseconds
from support.api_zendesk import zendesk

from cdpsync import query, sync
from cdpsync.connector.http import HttpClient, retries
from cdpsync.errors import ConnectorError
from cdpsync.model.verification import VerifyStatus
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from support.api_system import System

SYSTEMS = (chargebee, github, hubspot, intercom, linear, revenuecat, salesforce, zendesk)
MAIN = {
    "chargebee": "customers",
    "github": "issues",
    "hubspot": "contacts",
    "intercom": "contacts",
    "linear": "issues",
    "revenuecat": "products",
    "salesforce": "accounts",
    "zendesk": "tickets",
}
"""A table of each system that has several pages."""

TABLES = [(make, table) for make in SYSTEMS for table in sorted(make().rows)]
CHANGES = [(make, table) for make in SYSTEMS for table in sorted(make().changes)]


def _name(value: object) -> str:
    return getattr(value, "__name__", str(value))


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are not held back; what the rates are is in test_requests.py."""
    monkeypatch.setattr(retries, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(HttpClient, "limit", lambda *_: None)


@pytest.fixture
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    made: System = request.param()
    with serving(made.server):
        yield made


def opened(system: System, **options: Any) -> Any:
    return source(system.type, **{**system.options(), "rate": "1000/s", **options})


def _is_equal(in_lake: Any, at_source: Any) -> bool:
    """Whether a value that was read is the one that the API sent."""
    if isinstance(in_lake, datetime):
        if isinstance(at_source, int):
            return in_lake == datetime.fromtimestamp(at_source, UTC)
        return in_lake == datetime.fromisoformat(at_source)
    if isinstance(at_source, dict | list):
        own = json.loads(written(at_source), parse_float=Decimal)
        return bool(json.loads(in_lake, parse_float=Decimal) == own)
    if isinstance(at_source, Number):
        return Decimal(str(in_lake).strip('"')) == Decimal(at_source)
    if isinstance(at_source, int | float) and not isinstance(at_source, bool):
        return Decimal(str(in_lake)) == Decimal(str(at_source))
    return bool(in_lake == at_source)


def check_rows(
    rows: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]], key: Sequence[str]
) -> None:
    """Assert that each record was read once, with each value as the API has it."""

    def key_of(row: Mapping[str, Any]) -> tuple[str, ...]:
        values = dict(row) if key[-1] != "user_id" else {**row, "user_id": _user(row)["id"]}
        return tuple(str(values[name]) for name in key)

    by_key = {key_of(row): row for row in rows}
    assert len(rows) == len(by_key)
    assert sorted(by_key) == sorted(map(key_of, expected))
    for record in expected:
        row = by_key[key_of(record)]
        wrong = [name for name, value in record.items() if not _is_equal(row.get(name), value)]
        assert wrong == [], (wrong, row, record)


def _user(row: Mapping[str, Any]) -> Any:
    user = row["user"]
    return json.loads(user) if isinstance(user, str) else user


@pytest.mark.parametrize(("system", "table"), TABLES, indirect=["system"], ids=_name)
def test_every_record_is_read(system: System, table: str) -> None:
    check_rows(read(opened(system), table), system.rows[table], system.key_of(table))
    if table == MAIN[system.type]:
        assert len(system.server.requests) > 2


@pytest.mark.parametrize("system", SYSTEMS, indirect=True, ids=_name)
def test_the_server_has_every_table(system: System) -> None:
    """No table of a manifest is untested."""
    assert {stream.name for stream in opened(system).discover()} == set(system.rows)
    assert all(stream.primary_key for stream in opened(system).discover())


@pytest.mark.parametrize(("system", "table"), CHANGES, indirect=["system"], ids=_name)
@pytest.mark.parametrize("number", [2, 61])
def test_changes_are_asked_for_and_none_is_lost(system: System, table: str, number: int) -> None:
    """Of two rows with the cursor's own time, both come again."""
    changes = system.changes[table]
    rows = read(opened(system), table, **since(changes.field, at(number)))
    if table in system.repeating:
        rows = list({row["id"]: row for row in rows}.values())
    expected = [row for row in system.rows[table] if changes.time_of(row) >= at(number)]
    check_rows(rows, expected, system.key_of(table))
    if changes.asked is not None:
        asked = {changes.asked(r) for r in system.server.requests if _is_list(system, r, table)}
        assert changes.sent(at(number)) in asked


def _is_list(system: System, request: ApiRequest, table: str) -> bool:
    """Whether a request is for records of the table, and not for a token or a parent."""
    if system.type == "salesforce":
        return "q" in request.query
    return system.type != "github" or table.split("_")[-1] in request.path


@pytest.mark.parametrize("system", SYSTEMS, indirect=True, ids=_name)
def test_a_rate_limit_is_waited_for(system: System) -> None:
    table, before = MAIN[system.type], system.server.before
    times = iter(range(100))

    def limited(request: ApiRequest) -> Reply | None:
        early = before(request)
        return system.limited() if early is None and next(times) == 2 else early

    system.server.before = limited
    if not system.limit_passes:
        with pytest.raises(ConnectorError, match="Limit exceeded"):
            read(opened(system), table)
        return
    rows = read(opened(system), table)
    check_rows(rows, system.rows[table], system.key_of(table))


@pytest.mark.parametrize("system", SYSTEMS, indirect=True, ids=_name)
def test_a_wrong_token_is_one_line(system: System) -> None:
    wrong = opened(system, **{system.secret: "wrong-and-secret"})
    for use in (wrong.check, lambda: read(wrong, MAIN[system.type])):
        with pytest.raises(ConnectorError) as raised:
            use()
        assert system.refusal in raised.value.message
        assert "\n" not in raised.value.message
        assert "wrong-and-secret" not in raised.value.message


@pytest.mark.parametrize("system", SYSTEMS, indirect=True, ids=_name)
def test_a_table_is_loaded_followed_and_verified(system: System, tmp_path: Path) -> None:
    table = MAIN[system.type]
    field = system.changes[table].field if table in system.changes else None
    mode = {"mode": "incremental", "cursor_field": field} if field else {"mode": "full_table"}
    options = {"type": system.type, "rate": "1000/s", **system.options(), "tables": {table: mode}}
    file = tmp_path / "cdpsync.yml"
    file.write_text(json.dumps({"sources": {"it": options}}))
    results = [sync.run(file).tables[0] for _ in range(2)]
    assert [result.error for result in results] == [None, None]
    assert results[0].rows_in_table == len(system.rows[table])
    (verified,) = verify(file)
    assert verified.status is VerifyStatus.EQUAL


def test_records_that_change_while_the_list_is_read_come_with_the_next_run(tmp_path: Path) -> None:
    """One behind the reader, whose change is missed, and one ahead of it, with a later time."""
    system = hubspot()
    contacts, before = system.rows["contacts"], system.server.before

    def busy(request: ApiRequest) -> Reply | None:
        if request.query.get("after") == "100" and "changed" not in contacts[0]["properties"]:
            now = datetime.now(UTC)
            for row, moment in ((contacts[0], now), (contacts[150], now + timedelta(seconds=5))):
                row["properties"] = {**row["properties"], "changed": "yes", "custom_score": "9"}
                row["updatedAt"] = milliseconds(moment)
        return before(request)

    system.server.before = busy
    table = {"mode": "incremental", "cursor_field": "updatedAt", "lookback": "0s"}
    file = tmp_path / "cdpsync.yml"
    with serving(system.server):
        options = {"type": "hubspot", "rate": "1000/s", **system.options()}
        options["tables"] = {"contacts": table}
        file.write_text(json.dumps({"sources": {"it": options}}))
        results = [sync.run(file).tables[0] for _ in range(2)]
    assert [result.error for result in results] == [None, None]
    changed = query(
        "select id from it.contacts where properties ->> 'custom_score' = '9' order by id", file
    )
    assert changed == [("1",), ("151",)]
