"""Shipped manifests against servers written from each vendor's documentation."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from support.api_billing import Paddle, Polar
from support.api_cloud import DoIt, Frankfurter
from support.api_crm import Attio, Vitally
from support.api_messaging import CustomerIo, Mailjet
from support.api_reading import read, source, stream_of
from support.api_server import Number, serving, written

from cdpsync.connector.http import retries
from cdpsync.errors import ConnectorError
from cdpsync.model import Cursor, CursorType, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.api_vendor import Row, VendorServer

VENDORS: list[type[VendorServer]] = [
    *(Polar, Paddle, CustomerIo, Mailjet, Attio, Vitally, DoIt, Frankfurter)
]

ADDED: dict[str, Callable[[Row], Row]] = {
    "attio.objects": lambda row: ids(row, "object_id"),
    "attio.records": lambda row: {
        **ids(row, "object_id", "record_id"),
        "object_slug": Attio.slugs[int(row["id"]["object_id"][-1])],
    },
    "attio.people": lambda row: ids(row, "record_id"),
    "attio.companies": lambda row: ids(row, "record_id"),
    "attio.lists": lambda row: ids(row, "list_id"),
    "attio.list_entries": lambda row: {
        **ids(row, "list_id", "entry_id"),
        "list_slug": f"list-{row['id']['list_id'][-1]}",
    },
    "attio.workspace_members": lambda row: ids(row, "workspace_member_id"),
    "attio.notes": lambda row: ids(row, "note_id"),
    "attio.tasks": lambda row: ids(row, "task_id"),
    "mailjet.campaign_statistics": lambda row: {"CampaignID": row["SourceID"]},
}
"""The columns that a table has beside the fields that the vendor sends."""

LEFT_OUT = {"attio.deals"}  # among the records


def ids(row: Row, *names: str) -> Row:
    return {name: row["id"][name] for name in names}


def streams() -> list[Any]:
    return [
        pytest.param(vendor, stream, id=f"{vendor.type}.{stream}")
        for vendor in VENDORS
        for stream in vendor().rows
        if f"{vendor.type}.{stream}" not in LEFT_OUT
    ]


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[type[VendorServer], VendorServer]]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield {vendor: stack.enter_context(serving(vendor())) for vendor in VENDORS}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_FIRST_PAUSE", 0.001)


def opened(server: VendorServer, **options: Any) -> Any:
    server.requests.clear()
    return source(server.type, **{**server.options, "rate": "1000/s", **options})


def expected(server: VendorServer, stream: str) -> list[Row]:
    add = ADDED.get(f"{server.type}.{stream}", lambda _: {})
    return [row | add(row) for row in server.rows[stream]]


def exact(value: object) -> object:
    """Return a value of a record, its numbers exact and its times as times."""
    if isinstance(value, dict | list):
        return json.loads(written(value), parse_float=Decimal)
    return number(value) if isinstance(value, int | Number) else value


def plain(value: object, model: object) -> object:
    """Return a value of the lake in the form of its model, the value that the server sent."""
    if isinstance(value, datetime):
        if isinstance(model, str):
            return model if datetime.fromisoformat(model) == value else value
        unit = 1000 if Decimal(str(model)) > 10**11 else 1
        return Decimal(str(model)) if value.timestamp() * unit == model else value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(model, dict | list):
        return json.loads(str(value), parse_float=Decimal)
    return number(value) if isinstance(value, int | Decimal) else value


def number(value: object) -> object:
    return value if isinstance(value, bool) else Decimal(str(value))


def assert_same(rows: list[Row], wanted: list[Row], key: tuple[str, ...]) -> None:
    """Assert that the rows are those wanted: each once, with every value."""

    def by_key(some: list[Row]) -> dict[tuple[str, ...], Row]:
        keyed = {tuple(str(row[name]) for name in key): row for row in some}
        assert len(keyed) == len(some), "a row came twice"
        return keyed

    read_rows, wanted_rows = by_key(rows), by_key(wanted)
    assert set(read_rows) == set(wanted_rows)
    for row_key, model in wanted_rows.items():
        row = read_rows[row_key]
        assert {name: plain(v, model.get(name)) for name, v in row.items() if v is not None} == {
            name: exact(v) for name, v in model.items() if v is not None
        }


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.type)
def test_streams_are_the_lists_of_the_server(servers: Any, vendor: type[VendorServer]) -> None:
    server = servers[vendor]
    names = {stream.name for stream in opened(server).discover()}
    assert {f"{vendor.type}.{name}" for name in server.rows} - LEFT_OUT == {
        f"{vendor.type}.{name}" for name in names
    }
    assert len(server.requests) == 1  # which finds out whether the credentials are good


@pytest.mark.parametrize(("vendor", "stream"), streams())
def test_every_row_is_read_once(servers: Any, vendor: type[VendorServer], stream: str) -> None:
    server = servers[vendor]
    connector = opened(server)
    key = stream_of(connector, stream).primary_key
    assert key != ()
    assert_same(read(connector, stream), expected(server, stream), key)


CURSORS = [(vendor, stream) for vendor in VENDORS for stream in vendor.cursors]


@pytest.mark.parametrize("later", [0, 2], ids=["at a value", "at the next"])
@pytest.mark.parametrize(
    ("vendor", "stream"), CURSORS, ids=[f"{vendor.type}.{stream}" for vendor, stream in CURSORS]
)
def test_changes_are_asked_for(
    servers: Any, vendor: type[VendorServer], stream: str, later: int
) -> None:
    """From a value that several rows share: each of them comes again, and all later ones."""
    server = servers[vendor]
    connector = opened(server)
    field, param = vendor.cursors[stream]
    values = sorted(time_of(row[field]) for row in server.rows[stream])
    low = values[len(values) // 2 + later]
    type_ = CursorType.TIMESTAMPTZ if isinstance(low, datetime) else CursorType.DATE
    cursor = Cursor(type_, low)
    fields = {"window": Window(field, cursor), "cursor_field": field, "saved_cursor": cursor}
    rows = read(connector, stream, **fields)
    wanted = [row for row in expected(server, stream) if time_of(row[field]) >= low]
    assert 0 < len(wanted) < len(values)
    assert_same(rows, wanted, stream_of(connector, stream).primary_key)
    for asked in (request.query[param] for request in server.requests):
        if param == "sortBy":
            assert asked == field
        else:
            assert low - timedelta(seconds=2) <= time_of(asked) <= low


def time_of(value: object) -> Any:
    if isinstance(value, str) and not value.isdigit():
        return date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
    number = int(str(value))
    return datetime.fromtimestamp(number / 1000 if number > 10**11 else number, UTC)


SMALL = {
    "polar": "products",
    "paddle": "transactions",
    "customerio": "newsletters",
    "attio": "people",
    "mailjet": "contacts",
    "vitally": "users",
    "doit": "anomalies",
    "exchange_rates": "rates",
}


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.type)
def test_a_rate_limit_is_waited_for(servers: Any, vendor: type[VendorServer]) -> None:
    server, stream = servers[vendor], SMALL[vendor.type]
    connector = opened(server)
    server.limited = 2
    assert len(read(connector, stream)) == len(server.rows[stream])
    assert server.limited == 0


SAYS = {
    "polar": "refused the credentials (status 401): Not authenticated",
    "paddle": "does not permit this (status 403): Invalid API key",
    "customerio": "refused the credentials (status 401): unauthorized",
    "attio": "refused the credentials (status 401): The access token is invalid",
    "mailjet": "refused the credentials (status 401): API key authentication/authorization failure",
    "vitally": "refused the credentials (status 401): Authorization header not valid",
    "doit": "refused the credentials (status 401): The token is not valid",
}


@pytest.mark.parametrize("vendor", VENDORS[:-1], ids=lambda vendor: vendor.type)
def test_a_revoked_token_is_one_line(servers: Any, vendor: type[VendorServer]) -> None:
    server = servers[vendor]
    connector = opened(server, **server.wrong_options)
    for use in (connector.check, lambda: read(connector, SMALL[vendor.type])):
        with pytest.raises(ConnectorError) as raised:
            use()
        assert SAYS[vendor.type] in raised.value.message
        assert "\n" not in raised.value.message
        assert "revoked-1234" not in raised.value.message
    assert len(server.requests) <= 4  # Paddle: 403, so that other lists are asked for


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.type)
def test_check_asks_for_a_page(servers: Any, vendor: type[VendorServer]) -> None:
    server = servers[vendor]
    opened(server).check()
    assert len(server.requests) == 1


def test_rates_of_some_currencies(servers: Any) -> None:
    connector = opened(servers[Frankfurter], start="2026-02-01", quotes="USD,GBP")
    rows = read(connector, "rates")
    assert {(row["quote"], row["date"].month) for row in rows} == {("USD", 2), ("GBP", 2)}
    assert servers[Frankfurter].requests[0].query == {
        "base": "EUR",
        "quotes": "USD,GBP",
        "from": "2026-02-01",
    }


def test_a_tenant_is_a_header(servers: Any) -> None:
    server = servers[DoIt]
    with pytest.raises(ConnectorError, match="The token is not valid"):  # it wants no tenant
        read(opened(server, tenant="t-1"), "assets")
    assert server.requests[0].headers["X-Tenant-Id"] == "t-1"
